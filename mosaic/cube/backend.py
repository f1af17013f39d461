"""``xr.open_dataset(path, engine="mosaic")``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import xarray as xr
from xarray.backends import BackendEntrypoint

from mosaic.catalog.layout import CATALOG, COLLECTION, is_mosaic
from mosaic.cube.opening import open_cube

_OPTIONS = (
    "bbox crs resolution geobox like bands datetime groupby resampling dtype method over best mask "
    "mask_dilate errors raw where gate via"
).split()


class MosaicBackend(BackendEntrypoint):
    """Opens a built mosaic, with the options of :func:`mosaic.open`."""

    description = "Virtual mosaics of satellite scenes"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", *_OPTIONS)

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        **options: Any,
    ) -> xr.Dataset:
        """A lazy dataset; xarray adds its cache and chunks."""
        found = open_cube(filename_or_obj, cache=False, **options)
        return found if drop_variables is None else found.drop_vars(drop_variables)

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether it is the folder of a mosaic, or its collection; only files are looked at."""
        if not isinstance(filename_or_obj, str | os.PathLike):
            return False
        text = os.fspath(filename_or_obj)
        if "://" in text:
            return False
        path = Path(text).expanduser()
        return is_mosaic(path.parent if path.name in (COLLECTION, CATALOG) else path)
