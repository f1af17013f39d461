"""Recipes: what is known of well-known collections, as data. See catalogs/README.md."""
