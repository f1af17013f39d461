"""A mosaic's STAC against its schemas: documents, items of the table, items as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson

from mosaic.catalog.layout import CATALOG, COLLECTION, ITEMS
from mosaic.checker.files import dicts
from mosaic.checker.findings import Finding, finding
from mosaic.checker.index import AGAIN, holds_secret
from mosaic.checker.items import Items, spread
from mosaic.checker.schemas import Schemas
from mosaic.checker.validate import Validator, short
from mosaic.errors import Problem

Json = dict[str, Any]


def stac_findings(
    folder: Path, document: Json, items: Items | None, count: int | None, schemas: Schemas
) -> list[Finding]:
    """Whether a mosaic's STAC is valid, as far as schemas are at hand.

    ``document``: its collection. ``count``: items to look at, None for all.
    """
    validator = Validator(schemas)
    problems: list[Problem] = []
    done = 0
    for name in (CATALOG, COLLECTION):
        try:
            read = orjson.loads((folder / name).read_bytes())
        except (OSError, orjson.JSONDecodeError):
            continue  # said among the files
        done += 1
        problems += validator.problems(read, name)
    found = [finding("STAC documents", "valid" if not problems else "not valid", done, problems)]
    if items is not None:
        found.append(_stac_items(items, count, validator))
    linked = _linked(folder, document, items, count, validator)
    if linked:
        found.append(linked)
    if validator.unknown:
        names = ", ".join(sorted(short(uri) for uri in validator.unknown))
        advice = "give them with --schemas, or check once with a network"
        found.append(
            Finding(
                "schemas",
                f"{len(validator.unknown)} not at hand: {names}",
                len(validator.unknown),
                "unknown",
                tuple(
                    Problem("schema", f"{uri} isn't at hand ({asked} asked for it)", advice)
                    for uri, asked in sorted(validator.unknown.items())
                ),
            )
        )
    return found


def _stac_items(items: Items, count: int | None, validator: Validator) -> Finding:
    (rows,) = spread([np.arange(len(items))], count)
    problems: list[Problem] = []
    try:
        for item in items.some(rows):
            if holds_secret(orjson.dumps(item).decode()):
                what = f"{ITEMS}: a URL of it holds a password, token or signature"
                problems.append(Problem("secret", what, AGAIN, str(item["id"])))
            problems += validator.problems(_linked_up(item), "its STAC", str(item["id"]))
    except Exception as error:  # odd columns provoke whatever they like
        what = f"{ITEMS}: its items can't be taken from it ({str(error)[:160]})"
        problems.append(Problem("items", what, AGAIN))
    what = f"{len(rows) - len({one.item for one in problems}):,} of {len(rows):,} valid"
    what += f" ({len(items):,} in all)" if len(rows) < len(items) else ""
    return finding("STAC items", what, len(rows), problems)


def _linked_up(item: Json) -> Json:
    """An item of a table with the link to its collection that the table's place implies."""
    links = item.get("links") or []
    if not item.get("collection") or any(link.get("rel") == "collection" for link in links):
        return {**item, "links": links}
    return {**item, "links": [*links, {"rel": "collection", "href": f"./{COLLECTION}"}]}


def _linked(
    folder: Path, document: Json, items: Items | None, count: int | None, validator: Validator
) -> Finding | None:
    """Items as JSON that the collection links to: valid, and those of ``items.parquet``."""
    hrefs = [
        link["href"].removeprefix("./")
        for link in dicts(document.get("links"))
        if link.get("rel") == "item"
        if isinstance(link.get("href"), str)
    ]
    if not hrefs:
        return None
    known = set(items.id) if items is not None else None
    problems: list[Problem] = []
    if items is not None and len(hrefs) != len(items):
        what = f"{COLLECTION} links to {len(hrefs)} items, {ITEMS} holds {len(items)}"
        problems.append(Problem("items", what, AGAIN))
    (rows,) = spread([np.arange(len(hrefs))], count)
    for row in rows.tolist():
        name = hrefs[row]
        try:
            item = orjson.loads((folder / name).read_bytes())
        except (OSError, orjson.JSONDecodeError) as error:
            problems.append(Problem("items", f"{name} can't be read ({error})", AGAIN))
            continue
        own = str(item.get("id", "")) if isinstance(item, dict) else ""
        problems += validator.problems(item, name, own)
        if known is not None and own not in known:
            problems.append(Problem("items", f"{name} is no item of {ITEMS}", AGAIN, own))
        if holds_secret(orjson.dumps(item).decode()):
            what = f"{name}: a URL of it holds a password, token or signature"
            problems.append(Problem("secret", what, AGAIN, own))
    what = f"{len(rows):,} of {len(hrefs):,} looked at"
    return finding("JSON items", what, len(rows), problems)
