"""Runs inside a Debian root under QGIS's Python: renders layers, and reads their raw values.

The only argument is a JSON file with a list of jobs::

    {"layer": path, "out": stem, "extent": [xmin, ymin, xmax, ymax], "size": [width, height],
     "crs": "EPSG:3857" or "", "stretch": [low, high]}

Each job writes ``<out>.png`` (the map, on nothing) and ``<out>.npz``: ``image`` (h, w, 4: RGBA),
``raw`` (bands, h, w: values in the map's CRS, without rendering), ``valid`` (bands, h, w),
``identified`` (bands: values in the middle of the extent). What QGIS says of the layers goes to
standard output as JSON. A job with ``tiles`` (a URL of WMTS capabilities) instead of ``layer`` has
an ``image`` alone.
"""

import json
import sys
from pathlib import Path
from urllib.parse import quote

import numpy as np
from qgis.core import (
    QgsApplication,
    QgsContrastEnhancement,
    QgsCoordinateReferenceSystem,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsMultiBandColorRenderer,
    QgsProject,
    QgsProviderRegistry,
    QgsRaster,
    QgsRasterLayer,
    QgsRasterProjector,
    QgsRectangle,
    QgsSingleBandGrayRenderer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor, QImage

TYPES = {
    1: np.uint8,
    2: np.uint16,
    3: np.int16,
    4: np.uint32,
    5: np.int32,
    6: np.float32,
    7: np.float64,
}


def stretch(provider, band, low, high):
    """Values between two numbers as 0 to 255, nothing estimated from the data."""
    found = QgsContrastEnhancement(provider.dataType(band))
    found.setContrastEnhancementAlgorithm(QgsContrastEnhancement.StretchToMinimumMaximum)
    found.setMinimumValue(low)
    found.setMaximumValue(high)
    return found


def renderer(layer, low, high):
    provider = layer.dataProvider()
    if layer.bandCount() == 1:
        gray = QgsSingleBandGrayRenderer(provider, 1)
        gray.setContrastEnhancement(stretch(provider, 1, low, high))
        return gray
    color = QgsMultiBandColorRenderer(provider, 1, 2, 3)
    color.setRedContrastEnhancement(stretch(provider, 1, low, high))
    color.setGreenContrastEnhancement(stretch(provider, 2, low, high))
    color.setBlueContrastEnhancement(stretch(provider, 3, low, high))
    return color


def render(layer, crs, extent, size):
    """(h, w, 4) what QGIS's canvas would show."""
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(crs)
    settings.setOutputSize(QSize(*size))
    settings.setExtent(extent)
    settings.setBackgroundColor(QColor(0, 0, 0, 0))
    settings.setFlag(QgsMapSettings.Antialiasing, False)
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    assert not job.errors(), [error.message for error in job.errors()]
    image = job.renderedImage().convertToFormat(QImage.Format_RGBA8888)
    bits = image.constBits()
    bits.setsize(image.sizeInBytes())
    rows = np.frombuffer(bits, np.uint8).reshape(image.height(), image.bytesPerLine())
    return image, rows[:, : 4 * image.width()].reshape(image.height(), image.width(), 4).copy()


def raw(source, band, extent, size):
    """(h, w) values and where they are valid, as a provider or projector gives them."""
    block = source.block(band, extent, *size)
    values = np.frombuffer(bytes(block.data()), TYPES[int(block.dataType())])
    values = values.reshape(size[1], size[0])
    empty = [[block.isNoData(r, c) for c in range(size[0])] for r in range(size[1])]
    return values, ~np.array(empty)


def run_tiles(job):
    """By QGIS's own WMTS client, as its browser would add the layer that the capabilities offer."""
    words = {"crs": "EPSG:3857", "format": "image/png", "layers": job["name"], "styles": "default"}
    words |= {"tileMatrixSet": "WebMercatorQuad", "url": quote(job["tiles"], safe="")}
    text = "&".join(f"{name}={value}" for name, value in words.items())
    layer = QgsRasterLayer(text, "layer", "wms")
    assert layer.isValid(), layer.error().message()
    extent = QgsRectangle(*job["extent"])
    _, pixels = render(layer, layer.crs(), extent, job["size"])
    np.savez(job["out"] + ".npz", image=pixels)
    return {"crs": layer.crs().authid(), "finest": layer.dataProvider().nativeResolutions()[0]}


def run(job):
    if "tiles" in job:
        return run_tiles(job)
    layer = QgsRasterLayer(job["layer"], "layer", "gdal")
    assert layer.isValid(), layer.error().message()
    provider = layer.dataProvider()
    layer.setRenderer(renderer(layer, *job["stretch"]))
    crs = QgsCoordinateReferenceSystem(job["crs"]) if job["crs"] else layer.crs()
    extent = QgsRectangle(*job["extent"])
    image, pixels = render(layer, crs, extent, job["size"])
    assert image.save(job["out"] + ".png")
    source = provider
    if crs != layer.crs():
        source = QgsRasterProjector()
        source.setInput(provider)
        source.setCrs(layer.crs(), crs, QgsProject.instance().transformContext())
        source.setPrecision(QgsRasterProjector.Exact)
    bands = [raw(source, band, extent, job["size"]) for band in range(1, layer.bandCount() + 1)]
    identified = []
    if crs == layer.crs():
        found = provider.identify(extent.center(), QgsRaster.IdentifyFormatValue).results()
        identified = [found[band] for band in sorted(found)]
    np.savez(
        job["out"] + ".npz",
        image=pixels,
        raw=np.stack([values for values, _ in bands]),
        valid=np.stack([valid for _, valid in bands]),
        identified=np.array(identified, float),
    )
    box = layer.extent()
    return {
        "layer": job["layer"],
        "crs": layer.crs().authid(),
        "extent": [box.xMinimum(), box.yMinimum(), box.xMaximum(), box.yMaximum()],
        "size": [layer.width(), layer.height()],
        "bands": layer.bandCount(),
        "offered": [
            (one.providerKey(), one.name())
            for one in QgsProviderRegistry.instance().querySublayers(job["layer"])
        ],
        "scale": [provider.bandScale(1), provider.bandOffset(1)],
    }


def main():
    application = QgsApplication([], False)
    application.initQgis()
    jobs = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps([run(job) for job in jobs]))
    application.exitQgis()


main()
