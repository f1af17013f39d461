"""What is told of a refusal: the server's word, in one line, without a key."""

from __future__ import annotations

import pytest

from mosaic.searcher.refusal import brief, message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"code": "Bad", "description": "no\\n such  thing"}', "no such thing"),
        (b'{"error": {"message": "deep"}}', "deep"),
        (b'{"detail": [{"loc": ["body"]}]}', '[{"loc":["body"]}]'),
        (b"<html><title>504 Gateway\nTime-out</title>", "HTML (504 Gateway Time-out)"),
        (b"plain", "plain"),
        (b"\xff\xfe", "��"),
        (b"", ""),
        (b'{"description": "at /x?token=hush, why?"}', "at /x?… why?"),
    ],
)
def test_message(content: bytes, said: str) -> None:
    assert message(content) == said


def test_brief() -> None:
    told = (
        "HTTPSConnectionPool(host='a', port=443): Max retries exceeded with url: /s?key=hush (odd)"
    )
    assert brief(OSError(told)) == told.replace("?key=hush", "?…")
    assert brief(OSError("x: [Errno 111] Connection refused')")) == "Connection refused"
    assert brief(ValueError()) == "ValueError"
