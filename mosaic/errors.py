"""The one tree of errors.

::

    MosaicError
    ├── UsageError            an argument that can't be meant (also a ValueError)
    ├── InputError            what was given can't be indexed; carries a Problem per item
    │   └── NoItemsError      nothing was found where items were looked for
    ├── CatalogError          a mosaic's folder can't be read or written
    │   ├── NotACatalogError  the folder holds no mosaic
    │   ├── CatalogExistsError  it holds one already, or files of somebody else
    │   ├── BrokenCatalogError  a mosaic breaks its own rules; carries a Problem each
    │   └── DatabaseError     PostGIS can't be reached, or refuses
    ├── SearchError           a STAC API can't be searched, or its answers can't be believed
    │   ├── UnknownCollectionError  it has no such collection (also a LookupError)
    │   └── PagingError       its pages don't end, or change while they are read
    ├── RecipeError           a recipe breaks its schema; carries file, line and key
    ├── SourceMismatchError   an item and its file contradict each other
    ├── HeaderError           a raster's header can't be read
    ├── ReadError             pixels can't be had; carries a Problem each, and its cause
    ├── CompositeError        a composite's function failed; carries items and window
    ├── WorkerError           a worker lacks mosaic, or has another version
    ├── ExportError           an export can't be written, or isn't what was read
    │   ├── ExportExistsError   its target is there already (also a FileExistsError)
    │   └── UnfinishedError     another export of the target was begun; carries what differs
    ├── TiffError             a TIFF breaks its format, or its own word; carries href, what, advice
    │   ├── TiffUnsupportedError  a sound TIFF of a kind that must be read through GDAL
    │   └── TiffBlockError    a block that can't be decoded, or lies outside the file
    ├── ForeignError          GDAL can't open or read a file; carries href, what, advice
    └── StorageError          bytes can't be had; carries href, status, attempts, cause
        ├── UnknownSchemeError    no transport for such an href (also a ValueError)
        ├── UnreachableError      no such host, refused, or reset until patience ended
        ├── DeadlineError         no answer in time (also a TimeoutError)
        ├── AccessError           401 or 403, also after signing anew (also a PermissionError)
        │   └── CredentialsError  credentials can't be found or refreshed
        ├── MissingError          404 or 410 (also a FileNotFoundError)
        ├── OutOfRangeError       416: the range begins behind the end
        ├── ThrottledError        429 or 503 until patience ended
        ├── ServerError           any other refusal of the server
        ├── SourceChanged         the object changed while it was read
        └── ProtocolError         the server breaks HTTP
            ├── NoRangesError         no ranges, and too large to be read whole
            ├── ContentRangeError     other bytes than those asked for
            ├── ContentEncodingError  bytes that were encoded on the way
            ├── BodyError             a body that is too short, or doesn't end
            └── RedirectError         a loop, too many hops, or a target that can't be meant

Every message names the item, the asset and the href as far as they are known, says
what to do, and never shows a secret: hrefs pass through :func:`redact`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

E = TypeVar("E", bound="MosaicError")


def redact(href: str) -> str:
    """An href without what may be secret: user, password, query and fragment."""
    if "://" not in href:
        return href
    try:
        parts = urlsplit(href)
    except ValueError:
        scheme, _, rest = href.split("?", 1)[0].partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def _line(where: str, what: str, advice: str) -> str:
    text = f"{where}: {what}" if where else what
    return f"{text}; {advice}" if advice else text


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
        return _line(where, self.what, self.advice)

    def as_dict(self) -> dict[str, str]:
        """The problem as JSON-ready strings, without secrets."""
        return {**asdict(self), "href": redact(self.href)}


class MosaicError(Exception):
    """Anything that mosaic raises on purpose. It comes whole from other processes."""

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[E], args: tuple[Any, ...], told: dict[str, Any]) -> E:
    error = kind.__new__(kind)  # without its __init__, whose arguments it doesn't keep
    error.args = args
    error.__dict__.update(told)
    return error


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


class BrokenCatalogError(CatalogError):
    """A mosaic that a check found broken."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class DatabaseError(CatalogError):
    """A mosaic's database that can't be reached, or that refuses."""


class SearchError(MosaicError):
    """A STAC API that can't be searched, or whose answers can't be believed."""

    def __init__(self, what: str, advice: str = "", *, status: int | None = None) -> None:
        self.what = what
        self.advice = advice
        self.status = status
        super().__init__(f"{what}; {advice}" if advice else what)


class UnknownCollectionError(SearchError, LookupError):
    """A collection that an API doesn't have."""


class PagingError(SearchError):
    """Pages that don't end, or that change while they are read."""


class RecipeError(MosaicError):
    """A recipe that breaks its schema."""

    def __init__(self, what: str, *, file: str, line: int = 0, key: str = "") -> None:
        self.what = what
        self.file = file
        self.line = line
        self.key = key
        where = f"{file} line {line}" if line else file
        super().__init__(f"{where}: {key}: {what}" if key else f"{where}: {what}")


class SourceMismatchError(InputError):
    """An item and its file contradict each other."""


class ReadError(MosaicError):
    """Pixels that a mosaic promises and that can't be had."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class CompositeError(MosaicError):
    """A user's function that makes a composite, and that raised, or gave what none can be."""

    def __init__(self, method: str, what: str, items: Sequence[str], window: str) -> None:
        self.method = method
        self.what = what
        self.items = tuple(items)
        self.window = window
        shown = ", ".join(self.items[:8])
        more = f" and {len(self.items) - 8} more" if len(self.items) > 8 else ""
        super().__init__(f"method={method} failed at {window} of items {shown}{more}: {what}")


class ExportError(MosaicError):
    """An export that can't be written, or whose file isn't what was read."""


class ExportExistsError(ExportError, FileExistsError):
    """The target of an export is there already."""


class UnfinishedError(ExportError):
    """Another export of the target was begun, and is neither finished nor the same."""

    def __init__(self, target: str, differences: Sequence[str]) -> None:
        self.target = target
        self.differences = tuple(differences)
        super().__init__(
            f"{target}: an unfinished export differs: {'; '.join(self.differences)}; ask for the "
            "same to go on, or --overwrite to begin anew"
        )


class HeaderError(MosaicError):
    """A raster's header can't be read."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(str(problem))


class WorkerError(MosaicError):
    """A worker of dask's that can't take part."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"{what}; give workers and client the same virtual-mosaic")


class _FileError(MosaicError):
    """What is wrong with one file."""

    advice = ""

    def __init__(self, what: str, *, href: str = "", advice: str | None = None) -> None:
        self.what = what
        self.href = redact(href)
        self.advice = type(self).advice if advice is None else advice
        super().__init__(what)

    def __str__(self) -> str:
        return _line(self.href, self.what, self.advice)


class TiffError(_FileError):
    """A TIFF that breaks its format, or contradicts itself."""

    advice = "the file is damaged: fetch or write it anew"


class TiffUnsupportedError(TiffError):
    """A sound TIFF of a kind that mosaic doesn't decode itself."""

    advice = "read it through GDAL"


class TiffBlockError(TiffError):
    """A block that can't be decoded, or lies outside the file."""


class ForeignError(_FileError):
    """A file that only GDAL reads, and that it can't open or read, or mustn't."""


class StorageError(MosaicError):
    """Bytes that can't be had from storage."""

    def __init__(
        self,
        what: str,
        *,
        href: str = "",
        status: int | None = None,
        attempts: int = 0,
        cause: str = "",
        advice: str = "",
    ) -> None:
        self.what = what
        self.href = redact(href)
        self.status = status
        self.attempts = attempts
        self.cause = cause
        self.advice = advice
        super().__init__(what)

    def __str__(self) -> str:
        told = (self.what, f"status {self.status}")
        known = [
            f"status {self.status}" if self.status is not None else "",
            f"{self.attempts} attempt{'s' if self.attempts > 1 else ''}" if self.attempts else "",
            f"last cause: {self.cause}" if self.cause and self.cause not in told else "",
        ]
        text = ", ".join(part for part in known if part)
        what = f"{self.what} ({text})" if text else self.what
        return _line(self.href, what, self.advice)

    def again(self) -> Self:
        """An equal error: each of a thousand waiters raises its own, with its own traceback."""
        return _again(type(self), self.args, self.__dict__)


class UnknownSchemeError(StorageError, ValueError):
    """An href that no transport can read."""


class UnreachableError(StorageError):
    """A host that doesn't exist, refuses, or resets connections until patience ended."""


class DeadlineError(StorageError, TimeoutError):
    """No answer in time."""


class AccessError(StorageError, PermissionError):
    """401 or 403, also after signing anew."""


class CredentialsError(AccessError):
    """Credentials that can't be found or refreshed."""


class MissingError(StorageError, FileNotFoundError):
    """404 or 410: there is no such object."""


class OutOfRangeError(StorageError):
    """416: the range begins behind the object's end."""


class ThrottledError(StorageError):
    """429 or 503 until patience ended."""


class ServerError(StorageError):
    """Any other refusal of the server."""


class SourceChanged(StorageError):  # noqa: N818 - an event, and named so in the design
    """The object changed while it was read: nothing of the old version is mixed with the new."""


class ProtocolError(StorageError):
    """The server breaks HTTP."""


class NoRangesError(ProtocolError):
    """The server knows no ranges, and the object is too large to be read whole."""


class ContentRangeError(ProtocolError):
    """Other bytes than those that were asked for."""


class ContentEncodingError(ProtocolError):
    """Bytes that were compressed on the way, whose offsets mean nothing."""


class BodyError(ProtocolError):
    """A body that ends too early, or doesn't end."""


class RedirectError(ProtocolError):
    """A redirect loop, too many hops, or a target that can't be meant."""
