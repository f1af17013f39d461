"""What a search keeps survives a kill at any byte, and is never taken for another search's."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import orjson
import pytest

from mosaic.searcher import kept as module
from mosaic.searcher.kept import KEEP, KEEP_DONE, STATE, keeping
from mosaic.searcher.pages import Step

FOLLOWING = Step("https://stac.example.com/search?token=hush", "POST", '{"limit":2}')


def two_pages(folder: Path) -> None:
    with keeping(folder, "d1") as kept:
        kept.add([b'{"id":"a"}\n', b'{"id":"b"}\n'], following=FOLLOWING, pages=1, asked=("x",))
        kept.add([b'{"id":"c"}\n'], pages=2, replaced=(0,), counts=((3, None, 3),))


def test_what_was_kept_is_found(tmp_path: Path) -> None:
    two_pages(tmp_path / "s")
    with keeping(tmp_path / "s", "d1") as kept:
        assert (kept.resumed, kept.count) == (2, 2)
        assert kept.state.following == FOLLOWING
        assert kept.state.counts == ((3, None, 3),)
        assert [orjson.loads(line)["id"] for line in kept.lines()] == ["b", "c"]
    assert stat.S_IMODE((tmp_path / "s" / STATE).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o700


def test_half_a_page_is_cut_off(tmp_path: Path) -> None:
    """A kill between the lines and the state that counts them."""
    two_pages(tmp_path)
    with (tmp_path / "items.ndjson").open("ab") as stream:
        stream.write(b'{"id":"d"}\n{"id":')
    with keeping(tmp_path, "d1") as kept:
        kept.add([b'{"id":"e"}\n'], pages=3)
        assert [orjson.loads(line)["id"] for line in kept.lines()] == ["b", "c", "e"]


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", b'{"version":1}', b'{"version":9}'])
def test_a_state_that_cannot_be_understood_begins_anew(tmp_path: Path, broken: bytes) -> None:
    two_pages(tmp_path)
    (tmp_path / STATE).write_bytes(broken)
    with keeping(tmp_path, "d1") as kept:
        assert (kept.resumed, kept.count, list(kept.lines())) == (0, 0, [])


def test_items_that_are_gone_begin_anew(tmp_path: Path) -> None:
    """Lines that a crash of the machine lost, though the state counts them."""
    two_pages(tmp_path)
    os.truncate(tmp_path / "items.ndjson", 5)
    with keeping(tmp_path, "d1") as kept:
        assert kept.count == 0


def test_another_search_or_an_old_one_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_pages(tmp_path / "one")
    with keeping(tmp_path / "one", "d2") as kept:
        assert kept.count == 0
    for done, age, found in ((False, KEEP - 60, 2), (False, KEEP + 60, 0),
                             (True, KEEP_DONE - 60, 2), (True, KEEP_DONE + 60, 0)):  # fmt: skip
        folder = tmp_path / f"{done}{age}"
        two_pages(folder)
        if done:
            with keeping(folder, "d1") as kept:
                kept.add([], done=True)
        now = time.time()
        monkeypatch.setattr(module.time, "time", lambda now=now, age=age: now + age)
        with keeping(folder, "d1") as kept:
            assert kept.count == found, (done, age)
        monkeypatch.undo()
