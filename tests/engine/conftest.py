"""How properties are tested here."""

from hypothesis import settings

# PROJ opens its database on first use, and CI shares its processors: time is no property
settings.register_profile("mosaic", deadline=None)
settings.load_profile("mosaic")
