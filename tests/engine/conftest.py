"""How properties are tested here."""

import os

from hypothesis import settings

# PROJ opens its database on first use, and CI shares its processors: time is no property
# CI repeats the same examples each time; elsewhere every run tries others
settings.register_profile("mosaic", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("mosaic")
