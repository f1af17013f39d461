"""Every raster of the shared data by ``mosaic.open_tree``: its node holds what rasterio reads."""

from __future__ import annotations

from pathlib import Path

import rasterio

import mosaic
from mosaic.storage import Gate
from tests.real.test_read import compared, part


def faults(path: Path) -> list[str]:
    """What differs. Raises what opening and reading raise."""
    tree = mosaic.open_tree([path], gate=Gate())
    (node,) = (node.to_dataset() for node in tree.leaves if node.path != "/mosaic")
    with rasterio.open(path) as dataset:
        window = part(dataset)
        pixels, masks = dataset.read(window=window), dataset.read_masks(window=window) > 0
        shape, transform = dataset.shape, dataset.transform
    if node.odc.geobox.shape != shape or node.odc.geobox.affine != transform:
        return [f"{node.odc.geobox} isn't {shape}, {transform}"]
    y, x = node.odc.spatial_dims
    at = {y: slice(window.row_off, window.row_off + window.height)}
    at[x] = slice(window.col_off, window.col_off + window.width)
    found = node.isel(at).load()
    wrong = []
    for band, (name, want, mask) in enumerate(zip(found.data_vars, pixels, masks, strict=True)):
        got = found[name].values[0]
        same = (got == want) | (want != want) | ~mask
        if not same.all():
            wrong.append(f"band {band + 1}: {(~same).sum()} of {same.size} pixels differ")
        nodata = found[name].attrs.get("nodata", 0)
        if not ((got == nodata) | (got != got))[~mask].all():
            wrong.append(f"band {band + 1} shows what is masked")
    return wrong


def test_native_nodes_are_what_rasterio_reads(shared: Path) -> None:
    assert compared(shared, faults) == (219, 11)
