"""Small VRTs that a tile index needs where a tile can't be read as it is.

Four cases: a tile that a mosaic shows in pieces (on both sides of the antimeridian, round a
pole) or that GDAL would place wrongly (rotated, south-up), as a warped VRT of each piece; a file
that doesn't declare the nodata value its item does; one whose numbers are encoded otherwise than
the index's; and a stack of single-band indexes.
Source: GDAL's VRT driver documentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape

from affine import Affine

from mosaic.catalog.radiometry import Recoding
from mosaic.catalog.source import GDAL_TYPES, Band

WARP_ALGORITHMS = {
    "nearest": "NearestNeighbour",
    "bilinear": "Bilinear",
    "cubic": "Cubic",
    "cubic_spline": "CubicSpline",
    "lanczos": "Lanczos",
    "average": "Average",
    "rms": "RootMeanSquare",
    "mode": "Mode",
}
"""rasterio's resampling names to those of GDAL's warped VRT."""

_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Tile:
    """A file as a VRT needs to know it, so that nothing is opened before it is read."""

    location: str
    """GDAL name of the file, relative to the VRT or absolute."""
    relative: bool
    """Whether ``location`` is relative to the VRT."""
    crs: str
    """Name of its CRS."""
    shape: tuple[int, int]
    """Height and width in pixels."""
    transform: tuple[float, ...]
    """Affine a, b, c, d, e, f."""
    bands: tuple[Band, ...]
    """Its bands; nodata as the index is to treat it."""


def number(value: float) -> str:
    """A number as GDAL reads it back exactly."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(value)


def geotransform(affine: Affine | tuple[float, ...]) -> str:
    """An affine in GDAL's order: c, a, b, f, d, e."""
    a, b, c, d, e, f = tuple(affine)[:6]
    return ", ".join(number(value) for value in (c, a, b, f, d, e))


def _tag(name: str, value: float | None) -> str:
    return "" if value is None else f"<{name}>{number(value)}</{name}>"


def _source(tile: Tile) -> str:
    return f'relativeToVRT="{int(tile.relative)}">{escape(tile.location)}'


def masked(tile: Tile) -> str:
    """A VRT of one file whose nodata value is declared in its stead."""
    return recoded(tile, tuple(Recoding(1.0, 0.0, b.nodata, b.nodata) for b in tile.bands))


def recoded(tile: Tile, recodings: tuple[Recoding, ...]) -> str:
    """A VRT of one file with its bands' numbers brought to another encoding, and their nodata.

    Where a band that changes has no nodata value, the file's own mask, if it has one, is kept.
    """
    height, width = tile.shape
    rect = f'xOff="0" yOff="0" xSize="{width}" ySize="{height}"'

    def source(kind: str, band: str, dtype: str, more: str) -> str:
        return (
            f"<{kind}><SourceFilename {_source(tile)}</SourceFilename>"
            f"<SourceBand>{band}</SourceBand>"
            f'<SourceProperties RasterXSize="{width}" RasterYSize="{height}" '
            f'DataType="{dtype}" BlockXSize="{_BLOCK}" BlockYSize="{_BLOCK}"/>'
            f"<SrcRect {rect}/><DstRect {rect}/>{more}</{kind}>"
        )

    bands = []
    for index, (band, how) in enumerate(zip(tile.bands, recodings, strict=True), 1):
        dtype = GDAL_TYPES[band.dtype]
        kind = "SimpleSource" if how.nodata_in is None and not how.changes else "ComplexSource"
        scaling = (
            f"<ScaleOffset>{number(how.shift)}</ScaleOffset>"
            f"<ScaleRatio>{number(how.ratio)}</ScaleRatio>"
            if how.changes
            else ""
        )
        bands.append(
            f'<VRTRasterBand dataType="{dtype}" band="{index}">'
            + _tag("NoDataValue", how.nodata_out)
            + ("<ColorInterp>Alpha</ColorInterp>" if band.color == "Alpha" else "")
            + source(kind, str(index), dtype, scaling + _tag("NODATA", how.nodata_in))
            + "</VRTRasterBand>"
        )
    mask = ""
    alpha = any(band.color == "Alpha" for band in tile.bands)
    if not alpha and any(how.changes and how.nodata_in is None for how in recodings):
        first = GDAL_TYPES[tile.bands[0].dtype]
        inner = source("SimpleSource", "mask,1", first, "")
        mask = f'<MaskBand><VRTRasterBand dataType="Byte">{inner}</VRTRasterBand></MaskBand>'
    return (
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>{escape(tile.crs)}</SRS>'
        f"<GeoTransform>{geotransform(tile.transform)}</GeoTransform>{''.join(bands)}{mask}"
        "</VRTDataset>"
    )


def warped(tile: Tile, crs: str, shape: tuple[int, int], affine: Affine, resampling: str) -> str:
    """A warped VRT of one file on a piece of the mosaic's grid, exact to 1/100 pixel.

    Without a nodata value an alpha band tells where the file has pixels, as GTI itself does.
    """
    height, width = shape
    nodata = [band.nodata for band in tile.bands]
    has_nodata = all(value is not None for value in nodata)
    source_alpha = next((i for i, b in enumerate(tile.bands, 1) if b.color == "Alpha"), None)
    data = [(i, b) for i, b in enumerate(tile.bands, 1) if i != source_alpha]
    bands, mappings = [], []
    for out, (index, band) in enumerate(data, 1):
        declared = _tag("NoDataValue", band.nodata if has_nodata else None)
        bands.append(
            f'<VRTRasterBand dataType="{GDAL_TYPES[band.dtype]}" band="{out}" '
            f'subClass="VRTWarpedRasterBand">{declared}</VRTRasterBand>'
        )
        values = "".join(
            _tag(f"{side}NoDataReal", band.nodata) + f"<{side}NoDataImag>0</{side}NoDataImag>"
            for side in ("Src", "Dst")
            if has_nodata
        )
        mappings.append(f'<BandMapping src="{index}" dst="{out}">{values}</BandMapping>')
    alpha = ""
    if not has_nodata or source_alpha:
        out = len(data) + 1
        dtype = GDAL_TYPES[tile.bands[0].dtype]
        bands.append(
            f'<VRTRasterBand dataType="{dtype}" band="{out}" subClass="VRTWarpedRasterBand">'
            "<ColorInterp>Alpha</ColorInterp></VRTRasterBand>"
        )
        alpha = f"<DstAlphaBand>{out}</DstAlphaBand>"
        if source_alpha:
            alpha = f"<SrcAlphaBand>{source_alpha}</SrcAlphaBand>{alpha}"
    init = "NO_DATA" if has_nodata else "0"
    inverse, target = ~Affine(*tile.transform[:6]), ~affine
    return (
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}" subClass="VRTWarpedDataset">'
        f"<SRS>{escape(crs)}</SRS><GeoTransform>{geotransform(affine)}</GeoTransform>"
        f"{''.join(bands)}<BlockXSize>512</BlockXSize><BlockYSize>128</BlockYSize>"
        "<GDALWarpOptions><WarpMemoryLimit>6.7e+07</WarpMemoryLimit>"
        f"<ResampleAlg>{WARP_ALGORITHMS[resampling]}</ResampleAlg>"
        f'<Option name="INIT_DEST">{init}</Option>'
        '<Option name="UNIFIED_SRC_NODATA">PARTIAL</Option>'
        '<Option name="ERROR_OUT_IF_EMPTY_SOURCE_WINDOW">FALSE</Option>'
        # round a pole a strip of the target is a ring of the source: 21 samples miss its rim
        '<Option name="SAMPLE_GRID">YES</Option><Option name="SAMPLE_STEPS">100</Option>'
        '<Option name="SOURCE_EXTRA">10</Option>'
        f"<SourceDataset {_source(tile)}</SourceDataset>"
        "<Transformer><ApproxTransformer><MaxError>0.01</MaxError><BaseTransformer>"
        "<GenImgProjTransformer>"
        f"<SrcGeoTransform>{geotransform(tile.transform)}</SrcGeoTransform>"
        f"<SrcInvGeoTransform>{geotransform(inverse)}</SrcInvGeoTransform>"
        f"<DstGeoTransform>{geotransform(affine)}</DstGeoTransform>"
        f"<DstInvGeoTransform>{geotransform(target)}</DstInvGeoTransform>"
        "<ReprojectTransformer><ReprojectionTransformer>"
        f"<SourceSRS>{escape(tile.crs)}</SourceSRS><TargetSRS>{escape(crs)}</TargetSRS>"
        "</ReprojectionTransformer></ReprojectTransformer>"
        "</GenImgProjTransformer></BaseTransformer></ApproxTransformer></Transformer>"
        f"<BandList>{''.join(mappings)}</BandList>{alpha}"
        "</GDALWarpOptions></VRTDataset>"
    )


def with_mask(
    inner: str,
    relative: bool,
    bands: tuple[Band, ...],
    crs: str,
    shape: tuple[int, int],
    affine: Affine,
) -> str:
    """A VRT that shows the alpha band of a warped VRT (its last band) as a mask.

    GTI takes a mask from a tile's first band, and GDAL sees an alpha band there only in Byte or
    UInt16 data of two or four bands: any other tile would be valid all over its bounding box.
    ``inner``: name of the warped VRT, or its text.
    """
    height, width = shape
    rect = f'xOff="0" yOff="0" xSize="{width}" ySize="{height}"'

    def source(band: int, dtype: str) -> str:
        return (
            f'<SimpleSource><SourceFilename relativeToVRT="{int(relative)}">{escape(inner)}'
            f"</SourceFilename><SourceBand>{band}</SourceBand>"
            f'<SourceProperties RasterXSize="{width}" RasterYSize="{height}" DataType="{dtype}" '
            f'BlockXSize="512" BlockYSize="128"/><SrcRect {rect}/><DstRect {rect}/></SimpleSource>'
        )

    first = GDAL_TYPES[bands[0].dtype]
    inside = "".join(
        f'<VRTRasterBand dataType="{GDAL_TYPES[band.dtype]}" band="{index}">'
        f"{source(index, GDAL_TYPES[band.dtype])}</VRTRasterBand>"
        for index, band in enumerate(bands, 1)
    )
    mask = f'<VRTRasterBand dataType="Byte">{source(len(bands) + 1, first)}</VRTRasterBand>'
    return (
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>{escape(crs)}</SRS>'
        f"<GeoTransform>{geotransform(affine)}</GeoTransform>{inside}"
        f"<MaskBand>{mask}</MaskBand></VRTDataset>"
    )


def stack(
    members: list[tuple[str, str, Band]], crs: str, shape: tuple[int, int], affine: Affine
) -> str:
    """A VRT whose bands are single-band indexes on one grid.

    ``members``: (file name beside the VRT, name, band) in order. Three members are red, green
    and blue.
    """
    height, width = shape
    rect = f'xOff="0" yOff="0" xSize="{width}" ySize="{height}"'
    colors = ("Red", "Green", "Blue") if len(members) == 3 else ("",) * len(members)
    bands = []
    for index, ((file, name, band), color) in enumerate(zip(members, colors, strict=True), 1):
        dtype = GDAL_TYPES[band.dtype]
        bands.append(
            f'<VRTRasterBand dataType="{dtype}" band="{index}">'
            f"<Description>{escape(name)}</Description>"
            + (
                f"<NoDataValue>{number(band.nodata)}</NoDataValue>"
                if band.nodata is not None
                else ""
            )
            + (f"<ColorInterp>{color}</ColorInterp>" if color else "")
            + (f"<UnitType>{escape(band.unit)}</UnitType>" if band.unit else "")
            + (f"<Offset>{number(band.offset)}</Offset>" if band.offset else "")
            + (f"<Scale>{number(band.scale)}</Scale>" if band.scale != 1 else "")
            + f'<SimpleSource><SourceFilename relativeToVRT="1">{escape(file)}</SourceFilename>'
            "<SourceBand>1</SourceBand>"
            f'<SourceProperties RasterXSize="{width}" RasterYSize="{height}" DataType="{dtype}" '
            'BlockXSize="256" BlockYSize="256"/>'
            f"<SrcRect {rect}/><DstRect {rect}/></SimpleSource></VRTRasterBand>"
        )
    return (
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">\n<SRS>{escape(crs)}</SRS>'
        f"<GeoTransform>{geotransform(affine)}</GeoTransform>\n"
        + "\n".join(bands)
        + "\n</VRTDataset>\n"
    )
