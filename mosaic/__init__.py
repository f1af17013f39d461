"""Virtual mosaics: scenes in many CRSs, one index that GDAL, QGIS, R and Python read."""

__version__ = "0.1.0"
