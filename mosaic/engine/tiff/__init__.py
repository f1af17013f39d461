"""TIFF: headers parsed from bytes at hand, blocks decoded. Pure: no I/O, no clock."""

from mosaic.engine.tiff.chunks import Chunks, Need
from mosaic.engine.tiff.decode import blank, decode, room
from mosaic.engine.tiff.header import Level, Tiff, parse
from mosaic.engine.tiff.image import Blocks, Image

__all__ = ["Blocks", "Chunks", "Image", "Level", "Need", "Tiff", "blank", "decode", "parse", "room"]
