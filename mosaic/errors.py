"""The one tree of errors.

::

    MosaicError
    ├── UsageError            an argument that can't be meant (also a ValueError)
    ├── InputError            what was given can't be indexed; carries a Problem per item
    │   └── NoItemsError      nothing was found where items were looked for
    ├── CatalogError          a mosaic's folder can't be read or written
    │   ├── NotACatalogError  the folder holds no mosaic
    │   └── CatalogExistsError  it holds one already, or files of somebody else
    ├── SourceMismatchError   an item and its file contradict each other
    └── HeaderError           a raster's header can't be read

Every message names the item, the asset and the href as far as they are known, says
what to do, and never shows a secret: hrefs pass through :func:`redact`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit, urlunsplit


def redact(href: str) -> str:
    """An href without what may be secret: user, password, query and fragment."""
    if "://" not in href:
        return href
    try:
        parts = urlsplit(href)
    except ValueError:
        return href.split("?", 1)[0]
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with one item, asset or file."""

    kind: str
    """Machine-readable name of the problem, such as ``ungeoreferenced``."""
    what: str
    """What is wrong, in one clause."""
    advice: str = ""
    """What the user can do about it, in one clause."""
    item: str = ""
    """Id of the item, or empty."""
    asset: str = ""
    """Key of the asset, or empty."""
    href: str = ""
    """Where the file lies, without secrets, or empty."""

    def __str__(self) -> str:
        where = " ".join(
            part
            for part in (
                f"item {self.item}" if self.item else "",
                f"asset {self.asset}" if self.asset else "",
                f"({redact(self.href)})" if self.href else "",
            )
            if part
        )
        text = f"{where}: {self.what}" if where else self.what
        return f"{text}; {self.advice}" if self.advice else text

    def as_dict(self) -> dict[str, str]:
        """The problem as JSON-ready strings, without secrets."""
        return {**asdict(self), "href": redact(self.href)}


class MosaicError(Exception):
    """Anything that mosaic raises on purpose."""


class UsageError(MosaicError, ValueError):
    """An argument that can't be meant."""


class InputError(MosaicError):
    """Items or files that can't be indexed."""

    def __init__(self, problems: Sequence[Problem], hint: str = "") -> None:
        self.problems = tuple(problems)
        self.hint = hint
        lines = [str(problem) for problem in self.problems]
        super().__init__("\n".join([*lines, hint] if hint else lines))


class NoItemsError(InputError):
    """Nothing was found where items were looked for."""


class CatalogError(MosaicError):
    """A mosaic's folder can't be read or written."""


class NotACatalogError(CatalogError):
    """The folder holds no mosaic."""


class CatalogExistsError(CatalogError):
    """The folder holds a mosaic already, or files that are not ours."""


class SourceMismatchError(InputError):
    """An item and its file contradict each other."""


class HeaderError(MosaicError):
    """A raster's header can't be read."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(str(problem))
