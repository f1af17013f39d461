"""Runs inside a Debian root: reads whole mosaics and windows of each, and tells where they differ.

    python3 windows_job.py JOB.json

The job: a list of {"index", "windows": [[column, row, width, height], ...]}. Prints the same list
as JSON with "filled" (pixels that aren't zero) and "wrong" (windows that differ from the whole).
"""

import json
import sys
from pathlib import Path

import numpy as np
from osgeo import gdal


def wrong(values: np.ndarray, whole: np.ndarray) -> bool:
    """Whether a window shows another scene, or none, where it should show one.

    Single pixels at an edge may differ: GDAL 3.13 warps each window anew, to an eighth of a pixel.
    """
    off = np.pad(values != whole, 1)
    height, width = values.shape
    around = [off[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    solid = bool(np.logical_and.reduce(around).any())
    return solid or int(off.sum()) > max(6, 0.02 * values.size)


def main() -> None:
    gdal.UseExceptions()
    found = []
    for job in json.loads(Path(sys.argv[1]).read_text()):
        dataset = gdal.Open(job["index"])
        whole = dataset.ReadAsArray()
        differ = []
        for window in job["windows"]:
            x, y, width, height = window
            if wrong(dataset.ReadAsArray(*window), whole[y : y + height, x : x + width]):
                differ.append(window)
        found.append({"filled": int(np.count_nonzero(whole)), "wrong": differ})
    print(json.dumps(found))


if __name__ == "__main__":
    main()
