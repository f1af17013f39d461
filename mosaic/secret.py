"""What of an href is secret, and hrefs without it. Pure."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus, urlsplit, urlunsplit

SECRET_PARAMETERS = frozenset(
    # Azure SAS
    "sig se sp sv sr st spr skoid sktid skt ske sks skv ses srt ss sip si "
    # AWS query signing, v2 and v4; CloudFront; Google
    "awsaccesskeyid signature expires policy key-pair-id googleaccessid x-amz-security-token "
    # what people put into URLs all the same
    "token access_token apikey api_key api-key key password subscription-key jwt auth".split()
)
"""Names of query parameters (lower case) that sign or authorise a request."""

_MAY_SIGN = re.compile("[?@#]")
_SECRET_PREFIXES = ("x-amz-", "x-goog-", "x-ms-")
_CONTAINERS = ("abfs", "abfss")


def unsigned(href: str) -> str:
    """An href without user, password, and query parameters that sign or authorise."""
    if "://" not in href or not _MAY_SIGN.search(href):
        return href
    try:
        parts = urlsplit(href)
    except ValueError:  # no URL, but what follows may be a secret all the same
        return href.split("?", 1)[0]
    # what stays is left as it is written: another spelling may be another object
    query = "&".join(part for part in parts.query.split("&") if not _signs(part))
    user, _, host = parts.netloc.rpartition("@")
    if parts.scheme in _CONTAINERS and ":" not in user:
        host = parts.netloc  # container@account: whose it is, not who asks
    return urlunsplit((parts.scheme, host, parts.path, query, ""))


def _signs(part: str) -> bool:
    """Whether a part of a query, ``name=value``, signs or authorises."""
    name = unquote_plus(part.partition("=")[0]).lower()
    return name in SECRET_PARAMETERS or name.startswith(_SECRET_PREFIXES)
