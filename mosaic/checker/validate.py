"""STAC documents against their JSON schemas; nothing is fetched here."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import jsonschema
import referencing
import referencing.exceptions
from jsonschema.exceptions import best_match
from referencing.jsonschema import DRAFT7

from mosaic.checker.schemas import Schemas, plain
from mosaic.errors import Problem

Json = dict[str, Any]

_KINDS = {"Feature": "item", "Catalog": "catalog", "Collection": "collection"}


@dataclass(slots=True)
class Validator:
    """Holds documents against the core schema of their version and those of their extensions."""

    schemas: Schemas
    """Where schemas come from."""
    unknown: Counter[str] = field(default_factory=Counter)
    """Schemas that couldn't be had, and how many documents asked for them."""
    _ready: dict[str, Any] = field(default_factory=dict)
    """Validators by address, None for a schema that can't be had."""
    _lost: str = ""
    """The schema that a reference asked for last, and that can't be had."""

    def problems(self, document: Any, name: str, item: str = "") -> list[Problem]:
        """What is wrong with a document.

        ``name``: of its file, as people know it. ``item``: its id, for an item.
        """
        if not isinstance(document, dict):
            return [Problem("stac", f"{name} is no JSON object", "build the mosaic again", item)]
        kind = _KINDS.get(str(document.get("type")))
        if kind is None:
            what = f"{name} has the type {document.get('type')!r:.40}, none that STAC knows"
            return [Problem("stac", what, "build the mosaic again", item)]
        version = str(document.get("stac_version"))
        core = f"https://schemas.stacspec.org/v{version}/{kind}-spec/json-schema/{kind}.json"
        given = document.get("stac_extensions")
        extensions = given if isinstance(given, list) else []
        found = []
        for uri in (core, *(uri for uri in extensions if isinstance(uri, str))):
            errors = self._errors(uri, document)
            if errors is None:
                self.unknown[plain(uri)] += 1
            elif errors:
                found.append(Problem("stac", f"{name}: {errors}", "mend it", item))
        return found

    def _errors(self, uri: str, document: Json) -> str | None:
        """The most telling error against one schema, empty if there is none, None if unknown."""
        if plain(uri) not in self._ready:
            self._ready[plain(uri)] = self._validator(uri)
        validator = self._ready[plain(uri)]
        if validator is None:
            return None
        try:
            error = best_match(validator.iter_errors(document))
        except referencing.exceptions.Unresolvable:
            self.unknown[self._lost or plain(uri)] += 1
            self._lost = ""
            return ""
        if error is None:
            return ""
        at = ".".join(str(part) for part in error.absolute_path)
        message = error.message
        if len(message) > 160:  # it begins with the value itself, which may be a whole document
            message = message.removeprefix(repr(error.instance)).strip()
            message = message if len(message) <= 160 else f"{message[:157]}…"
        return f"{at or 'it'}: {message} ({short(uri)})"

    def _validator(self, uri: str) -> Any:
        schema = self.schemas.get(uri)
        if schema is None:
            return None
        kind = jsonschema.validators.validator_for(schema, jsonschema.Draft7Validator)
        try:
            kind.check_schema(schema)
        except jsonschema.SchemaError:
            return None
        registry: Any = referencing.Registry  # attrs hides what it takes from mypy
        return kind(schema, registry=registry(retrieve=self._retrieve))

    def _retrieve(self, uri: str) -> Any:
        schema = self.schemas.get(uri)
        if schema is None:
            self._lost = plain(uri)
            raise referencing.exceptions.NoSuchResource(uri)
        return _resource(schema)


def _resource(schema: Json) -> Any:
    return referencing.Resource.from_contents(schema, default_specification=DRAFT7)


def short(uri: str) -> str:
    """A schema's name as people say it: ``projection v2.0.0``, ``item v1.1.0``."""
    parts = plain(uri).split("/")
    if parts[-1] == "schema.json" and len(parts) > 4:
        return " ".join(parts[-3:-1])
    return f"{parts[-1].removesuffix('.json')} {parts[3]}" if len(parts) > 4 else plain(uri)
