"""A mosaic's STAC as JSON files: its items, its catalog, its collection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from mosaic.builder.spool import unpacked
from mosaic.catalog.layout import CATALOG, COLLECTION, ITEM_FILES, VRT, safe
from mosaic.catalog.stac import VERSION

Json = dict[str, Any]
ITEM_MEDIA = "application/geo+json"


def write_item_files(folder: Path, lines: Iterable[bytes], taken: Iterable[str] = ()) -> list[Json]:
    """Items as JSON files; returns the links of the collection to them.

    ``taken``: names of other files there, in small letters and without their ending.
    """
    links = []
    taken = set(taken)
    (folder / ITEM_FILES).mkdir()
    for number, line in enumerate(lines):
        item = unpacked(line)
        name = safe(item["id"])
        while name.lower() in taken:  # ids may differ in what a file name can't hold
            name = f"{name}_{number}"
        taken.add(name.lower())
        for part in (*item["assets"].values(), *item["links"]):
            if part["href"].startswith("./"):
                part["href"] = f".{part['href']}"
        (folder / ITEM_FILES / f"{name}.json").write_bytes(_pretty(item))
        link = {"rel": "item", "href": f"./{ITEM_FILES}/{name}.json", "type": ITEM_MEDIA}
        links.append({**link, "title": item["id"]})
    return links


def write_stac(folder: Path, document: Json) -> None:
    """``catalog.json`` and, last of all, ``collection.json`` with the list of all files."""
    title = document["title"]
    catalog = {
        "type": "Catalog",
        "stac_version": VERSION,
        "id": f"{document['id']}-catalog",
        "title": title,
        "description": document["description"],
        "links": [
            {"rel": "root", "href": f"./{CATALOG}", "type": "application/json"},
            {
                "rel": "child",
                "href": f"./{COLLECTION}",
                "type": "application/json",
                "title": title,
            },
        ],
    }
    (folder / CATALOG).write_bytes(_pretty(catalog))
    files = {asset["href"].removeprefix("./") for asset in document["assets"].values()}
    files |= {CATALOG, COLLECTION, *_below(folder, VRT, "*.vrt"), *_below(folder, ITEM_FILES, "*")}
    (folder / COLLECTION).write_bytes(_pretty({**document, "mosaic:files": sorted(files)}))


def _below(folder: Path, name: str, pattern: str) -> Iterator[str]:
    for path in (folder / name).rglob(pattern):
        yield path.relative_to(folder).as_posix()


def _pretty(document: Json) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
