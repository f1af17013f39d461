"""What `make sample` runs: the small mosaic in catalogs/sample, and the README's picture.

The mosaic's scenes lie inside it, so that it opens wherever a clone of this repository lies.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from PIL import Image

import mosaic
from catalogs.demo import picture
from tests.support.scenes import landscape, seam_scenes, write_scenes

HERE = Path(__file__).parent
SIZE, RES = 112, 240.0
"""Pixels along a side of a scene, and metres along a side of a pixel."""


def main() -> None:
    """Writes catalogs/sample anew, and catalogs/seam.png."""
    folder = HERE / "sample"
    shutil.rmtree(folder, ignore_errors=True)
    items = write_scenes(folder / "scenes", seam_scenes(SIZE, RES), landscape)
    mosaic.build(items, folder, stacks=[["B04", "B03", "B02"]], resampling="bilinear")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 1e6:.2f} MB")

    with tempfile.TemporaryDirectory() as work:
        items = write_scenes(Path(work) / "scenes", seam_scenes(640, 40.0), landscape)
        built = mosaic.build(
            items, Path(work) / "mosaic", stacks=[["B04", "B03", "B02"]], resampling="bilinear"
        )
        path = HERE / "seam.png"
        picture(Path(built.path), path)
    image = Image.open(path).convert("RGB").quantize(160, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
