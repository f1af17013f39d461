"""What items leave unsaid, said by their recipe. Pure; what an item says itself stays."""

from __future__ import annotations

from typing import Any

from mosaic.catalog.facts import asset_for
from mosaic.catalog.stac import extensions
from mosaic.recipes.recipe import BandRule, Recipe

Json = dict[str, Any]


def filled(item: Json, recipe: Recipe) -> Json:
    """A STAC 1.1 item whose bands tell names, data type, nodata, scale and offset.

    The input is left alone. Assets with another number of bands than the recipe knows keep theirs.
    """
    assets: dict[str, Json] = item["assets"]
    changed = {}
    for rule in recipe.bands:
        key = key_of(item, rule)
        if key is not None:
            bands = _bands(assets[key], rule)
            if bands is not None:
                changed[key] = {**assets[key], "bands": bands}
    if not changed:
        return item
    assets = {**assets, **changed}
    used = extensions(item["stac_extensions"], item["properties"], list(assets.values()))
    return {**item, "assets": assets, "stac_extensions": used}


def key_of(item: Json, rule: BandRule) -> str | None:
    """Key of a band's asset: the recipe's, else that of the asset with its name or common name."""
    key = rule.key(str(item.get("collection") or ""))
    if key in item["assets"]:
        return key
    return asset_for(item, rule.name) or (
        asset_for(item, rule.common_name) if rule.common_name else None
    )


def _bands(asset: Json, rule: BandRule) -> list[Json] | None:
    """The bands of an asset with what the recipe adds; None where nothing is to be added."""
    told: list[Json] = asset.get("bands") or []
    count = len(rule.names) or 1
    if told and len(told) != count:
        return None
    bands = [dict(band) for band in told] or [{} for _ in range(count)]
    for position, band in enumerate(bands):
        for field, value in _said(rule, position).items():
            if band.get(field) is None and asset.get(field) is None:
                band[field] = value
        is_silent = all(
            one.get(field) is None
            for one in (asset, band)
            for field in ("raster:scale", "raster:offset")
        )
        if rule.encoding == "fixed" and is_silent:
            band |= {"raster:scale": rule.scale, "raster:offset": rule.offset}
    return bands if bands != told else None


def _said(rule: BandRule, position: int) -> Json:
    name = rule.names[position] if rule.names else ""
    nodata: Any = rule.nodata
    if nodata is not None and nodata != nodata:
        nodata = "nan"
    said = {
        "name": name,
        "eo:common_name": rule.common_name,
        "data_type": rule.dtype,
        "nodata": nodata,
        "unit": rule.unit,
    }
    return {field: value for field, value in said.items() if value is not None and value != ""}
