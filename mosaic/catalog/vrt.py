"""Small VRTs that a tile index needs where a tile can't be read as it is.

Three cases: a tile that a mosaic shows in pieces (on both sides of the antimeridian, round a
pole) or that GDAL would place wrongly (rotated, south-up), as a warped VRT of each piece; a file
that doesn't declare the nodata value its item does; and a stack of single-band indexes.
Source: GDAL's VRT driver documentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape

from affine import Affine

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
    height, width = tile.shape
    rect = f'xOff="0" yOff="0" xSize="{width}" ySize="{height}"'
    bands = []
    for index, band in enumerate(tile.bands, 1):
        nodata = band.nodata
        kind = "SimpleSource" if nodata is None else "ComplexSource"
        bands.append(
            f'<VRTRasterBand dataType="{GDAL_TYPES[band.dtype]}" band="{index}">'
            + _tag("NoDataValue", nodata)
            + f"<{kind}><SourceFilename {_source(tile)}</SourceFilename>"
            f"<SourceBand>{index}</SourceBand>"
            f'<SourceProperties RasterXSize="{width}" RasterYSize="{height}" '
            f'DataType="{GDAL_TYPES[band.dtype]}" BlockXSize="{_BLOCK}" BlockYSize="{_BLOCK}"/>'
            f"<SrcRect {rect}/><DstRect {rect}/>"
            + _tag("NODATA", nodata)
            + f"</{kind}></VRTRasterBand>"
        )
    return (
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>{escape(tile.crs)}</SRS>'
        f"<GeoTransform>{geotransform(tile.transform)}</GeoTransform>{''.join(bands)}</VRTDataset>"
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
