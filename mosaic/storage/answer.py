"""What an HTTP answer to a range request means: pure. Source: RFC 9110."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mosaic.errors import (
    AccessError,
    ContentEncodingError,
    ContentRangeError,
    MissingError,
    NoRangesError,
    OutOfRangeError,
    ProtocolError,
    ServerError,
)
from mosaic.storage.ranges import Span
from mosaic.storage.retry import Failure, Kind

_PATIENCE = 300.0
"""Seconds of a Retry-After at most."""
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Meta:
    """What identifies one version of an object."""

    size: int | None = None
    """Bytes of the whole object, where the server told."""
    etag: str = ""
    """Its ETag, or empty."""
    modified: str = ""
    """Its Last-Modified as the server spelled it, or empty."""

    @property
    def version(self) -> str:
        """The validator as one text: the strongest that is known."""
        return self.etag or self.modified or (f"size={self.size}" if self.size is not None else "")

    def conflicts(self, other: Meta) -> bool:
        """Whether both can't be the same version; what one of them doesn't know decides nothing."""
        return (
            (None not in (self.size, other.size) and self.size != other.size)
            or bool(self.etag and other.etag and self.etag != other.etag)
            or bool(self.modified and other.modified and self.modified != other.modified)
        )

    def filled(self, other: Meta) -> Meta:
        """This one, with what only the other knows."""
        return replace(
            self,
            size=other.size if self.size is None else self.size,
            etag=self.etag or other.etag,
            modified=self.modified or other.modified,
        )


@dataclass(frozen=True, slots=True)
class Promise:
    """What the head of a good answer promises."""

    meta: Meta
    """The version it comes from."""
    length: int | None
    """Bytes of the body; None where only its end will tell (a whole object without length)."""
    whole: bool = False
    """The server ignored the range and sends the whole object."""
    unchanged: bool = False
    """304: the version that was asked about still holds."""


def promised(status: int, headers: Mapping[str, str], asked: Span, now: float) -> Promise:
    """What an answer promises; header names in lower case, ``now`` in seconds since the epoch.

    Raises Failure for everything that isn't the range asked for, its beginning where the object
    ends earlier, or the whole object.
    """
    if status == 304:
        return Promise(_meta(headers, None), 0, unchanged=True)
    if status not in (200, 206):
        raise _refusal(status, headers, asked, now)
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise Failure(
            Kind.FINAL,
            f"Content-Encoding {encoding[:40]!r}",
            status=status,
            error=ContentEncodingError,
            advice="have the server send the object as it is stored",
        )
    length = _count(headers.get("content-length"))
    if status == 200:
        return Promise(_meta(headers, length), length, whole=True)
    return _part(headers, asked, length)


def _part(headers: Mapping[str, str], asked: Span, length: int | None) -> Promise:
    text = headers.get("content-range", "").strip()
    match = _CONTENT_RANGE.fullmatch(text)
    if not match:
        raise _lie(f"no usable Content-Range ({text[:60]!r})")
    start, stop = int(match[1]), int(match[2]) + 1
    size = None if match[3] == "*" else int(match[3])
    if size is not None and stop > size:
        raise _lie(f"Content-Range {text} ends behind the object's end")
    if start != asked.start or stop > asked.stop:
        raise _lie(f"bytes {asked.start}-{asked.stop - 1} asked for, {text} sent")
    if stop < asked.stop and stop != size:
        raise _lie(f"bytes {asked.start}-{asked.stop - 1} asked for, only {text} sent")
    if length is not None and length != stop - start:
        raise _lie(f"Content-Range {text} with a Content-Length of {length}")
    return Promise(_meta(headers, size), stop - start)


def _meta(headers: Mapping[str, str], size: int | None) -> Meta:
    etag, modified = headers.get("etag", "").strip(), headers.get("last-modified", "").strip()
    return Meta(size, _plain(etag), _plain(modified))


def _plain(text: str) -> str:
    """A validator as it may stand in files and headers of ours: still another one for another."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if " " <= c <= "~" else f"\\x{ord(c):02x}" for c in text)


def _lie(cause: str) -> Failure:
    return Failure(Kind.FINAL, cause, status=206, error=ContentRangeError)


def too_large(status: int, most: int) -> Failure:
    """The failure of an object without ranges that exceeds ``most`` bytes."""
    return Failure(
        Kind.FINAL,
        f"the server knows no ranges, and the object exceeds {most} bytes",
        status=status,
        error=NoRangesError,
        advice="raise CacheSettings.whole to read it whole, or copy it to a server with ranges",
    )


def _refusal(status: int, headers: Mapping[str, str], asked: Span, now: float) -> Failure:
    cause = f"status {status}"
    if status in (429, 503):
        wait = retry_after(headers.get("retry-after"), now)
        return Failure(Kind.REFUSED, cause, status=status, retry_after=wait)
    if status in (401, 403):
        return Failure(
            Kind.FORBIDDEN,
            cause,
            status=status,
            error=AccessError,
            advice="check the credentials, or that the object exists",
        )
    if status in (404, 410):
        advice = "check the href; the catalog may be older than the file"
        return Failure(Kind.FINAL, cause, status=status, error=MissingError, advice=advice)
    if status == 416:
        what = f"{cause}: the object ends before byte {asked.start}"
        return Failure(Kind.FINAL, what, status=status, error=OutOfRangeError)
    if status == 408:
        return Failure(Kind.TIMEOUT, cause, status=status)
    if status >= 500:
        return Failure(Kind.SERVER, cause, status=status)
    region = headers.get("x-amz-bucket-region", "")
    if re.fullmatch(r"[a-z0-9-]{1,40}", region) and status in (301, 400):
        advice = f"set AWS_REGION={region}, where its bucket lies"
        return Failure(Kind.FINAL, cause, status=status, error=ServerError, advice=advice)
    if status == 400:  # S3's word for a token that has expired, among other things
        return Failure(Kind.FORBIDDEN, cause, status=status, error=ServerError)
    error = ServerError if status >= 400 else ProtocolError
    return Failure(Kind.FINAL, cause, status=status, error=error)


def retry_after(text: str | None, now: float) -> float | None:
    """Seconds that a Retry-After asks for, as a number or a date; at most 300.

    A longer one would block an origin for as long as a broken clock says. Source: RFC 9110, 10.2.3.
    """
    if not text:
        return None
    text = text.strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII):
        return min(_PATIENCE, float(text))
    try:
        date = email.utils.parsedate_to_datetime(text)
        return min(_PATIENCE, max(0.0, date.timestamp() - now))
    except (ValueError, TypeError, OverflowError, OSError):
        return None


def _count(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"\d{1,18}", text.strip(), re.ASCII) else None
