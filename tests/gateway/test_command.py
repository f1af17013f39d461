"""`mosaic serve` as its users run it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

import mosaic
from mosaic.cli import main
from mosaic.errors import UsageError
from mosaic.gateway.command import configured
from mosaic.gateway.options import Options
from tests.support.scenes import utm_scene, write_scenes
from tests.support.upstream import ask

SAMPLE = Path(__file__).resolve().parents[2] / "catalogs/sample"


@pytest.mark.parametrize("one", [signal.SIGTERM, signal.SIGINT])
def test_serves_until_it_is_told_to_stop(one: signal.Signals) -> None:
    words = [sys.executable, "-m", "mosaic", "serve", str(SAMPLE), f"again={SAMPLE}", "--port", "0"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        first = server.stderr.readline()
        (url,) = re.findall(r"http://127\.0\.0\.1:\d+", first)
        assert ask(f"{url}/catalogs/again/collection.json")[0] == 200
        server.send_signal(one)
        said = server.stderr.read()
        assert server.wait(20) == 0
    assert f"index    /vsicurl/{url}/catalogs/sample/B04.gti.gpkg" in said
    assert "GET /catalogs/again/collection.json 200" in said


@pytest.mark.parametrize("one", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(tmp_path: Path, one: signal.Signals) -> None:
    """While a client takes its time, who waits before a terminal needn't."""
    items = write_scenes(tmp_path / "scenes", [utm_scene("a", 32632, 9.0, 47.5, 64, 10.0)])
    mosaic.build(items, tmp_path / "mosaic")
    scene = tmp_path / "scenes/a/B04.tif"
    scene.write_bytes(bytes(64 << 20))
    server, url = started(tmp_path, served=tmp_path / "mosaic")
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as end:
        end.sendall(f"GET /raw/file{scene} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        assert end.recv(15) == b"HTTP/1.1 200 OK"
        server.send_signal(one)
        assert server.stderr is not None
        assert any("once more" in line for line in server.stderr)  # it reads no further
        assert server.poll() is None
        server.send_signal(one)
        server.communicate(timeout=5)
    assert server.returncode == -one


def started(folder: Path, *before: str, served: Path = SAMPLE) -> tuple[subprocess.Popen[str], str]:
    """A gateway whose temporary files lie in a folder, and its URL. ``before``: what starts it."""
    words = [*before, sys.executable, "-m", "mosaic", "serve", str(served), "--port", "0"]
    told = {**os.environ, "TMPDIR": str(folder)}
    server = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=told)
    assert server.stderr is not None
    (url,) = re.findall(r"http://127\.0\.0\.1:\d+", server.stderr.readline())
    return server, url


def test_what_a_killed_one_leaves_is_swept_by_the_next(tmp_path: Path) -> None:
    """And nothing else: neither a living one's, nor what only has such a name."""
    (tmp_path / "mosaic-gateway-note").write_text("")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "mosaic-serve-old").mkdir()  # of a version that held no lock
    (tmp_path / "mosaic-gateway-link").symlink_to(tmp_path / "elsewhere")
    kept = {path.name for path in tmp_path.iterdir()}
    living, url = started(tmp_path)
    (own,) = {path.name for path in tmp_path.iterdir()} - kept
    killed, _ = started(tmp_path)
    killed.kill()
    killed.communicate()
    (left,) = {path.name for path in tmp_path.iterdir()} - {own, *kept}
    index = ask(f"{url}/catalogs/sample/B04.gti.gpkg")[2]
    third, _ = started(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert own in names
    assert left not in names
    assert ask(f"{url}/catalogs/sample/B04.gti.gpkg")[2] == index
    for one in (living, third):
        one.terminate()
        one.communicate(timeout=20)
        assert one.returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_few_open_files(tmp_path: Path) -> None:
    """More connections than files: some are told 503, the others go on, and no log is flooded."""
    server, url = started(tmp_path, "prlimit", "--nofile=256:256")
    host, _, port = url.removeprefix("http://").partition(":")
    with contextlib.ExitStack() as stack:
        ends = [
            stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(300)
        ]
        assert ask(f"{url}/healthz")[0] == 503
        ends[0].sendall(b"GET /catalogs/sample/B04.gti.gpkg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        ends[0].settimeout(10)
        assert ends[0].recv(15) == b"HTTP/1.1 200 OK"
    statuses = iter(lambda: ask(f"{url}/healthz")[0], 200)
    for _ in zip(statuses, range(100), strict=False):  # until it has seen that they are closed
        time.sleep(0.1)
    assert ask(f"{url}/healthz")[0] == 200
    server.terminate()
    assert "Too many open files" not in server.communicate(timeout=20)[1]


def test_as_many_files_as_it_needs_where_it_may(tmp_path: Path) -> None:
    """1024 is what most systems allow unless asked: fewer than its connections."""
    server, _ = started(tmp_path, "prlimit", "--nofile=256:8192")
    limits = Path(f"/proc/{server.pid}/limits").read_text()
    server.terminate()
    server.communicate(timeout=20)
    (soft,) = re.findall(r"Max open files +(\d+)", limits)
    assert Options().connections < int(soft) < 8192


def test_where_it_cant_listen_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = CliRunner().invoke(main, ["serve", str(SAMPLE), "--port", str(port)])
    assert done.exit_code == 1
    assert f"mosaic: can't listen on 127.0.0.1:{port} (Address already in use)\n" in done.output


def test_what_cant_be_meant_is_said(tmp_path: Path) -> None:
    for words, why in (
        ([str(tmp_path)], f"{tmp_path} holds no mosaic; make one with: mosaic build"),
        ([str(SAMPLE), str(SAMPLE)], "NAME="),
        ([str(SAMPLE), "--host", "0.0.0.0"], "--token-file"),
        ([str(SAMPLE), "--url", "ftp://x"], "--url"),
        ([str(SAMPLE), "--url", "http://["], "--url"),
        ([str(SAMPLE), "--url", "http://x:99999"], "--url"),
        ([str(SAMPLE), "--token-file", ""], "names no file"),
        ([str(SAMPLE), "--busy", "0"], "can't be meant"),
        ([str(SAMPLE), "--token-file", str(tmp_path / "none")], "token can't be read"),
        ([str(SAMPLE), "--host", "203.0.113.7", "--token-file", __file__], "printable"),
    ):
        done = CliRunner().invoke(main, ["serve", *words])
        assert done.exit_code == 1, words
        assert why in done.output
        assert "Traceback" not in done.output


def test_settings_of_a_file_and_flags(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    file = tmp_path / "gateway.toml"
    file.write_text(
        f'port = 9000\nbusy = 3\nredirects = ["a.b"]\ntoken_file = "{tmp_path}/token"\n'
    )
    told = configured(str(file), {"port": 9001, "busy": None})
    assert told == Options(port=9001, busy=3, redirects=("a.b",), token="s3cret")
    assert "s3cret" not in repr(told)
    file.write_text("colour = 3")
    with pytest.raises(UsageError, match=r"colour; it may set host, .*, token_file"):
        configured(str(file), {})
    for text, why in (
        ('port = "x"', "port must be a whole number"),
        ("port = 8790.5", "port must be a whole number"),
        ("port = 70000", "no port 70000"),
        ("busy = true", "busy must be a whole number"),
        ('stall = "60"', "stall must be a number"),
        ("stall = nan", "positive"),
        ("token = 5", "token must be a text"),
        ("token_file = 5", "token_file must be a text"),
        ("url = 5", "url must be a text"),
        ('url = "http://me:pw@x"', "no user"),
        ('redirects = "*.example.org"', "redirects must be a list"),  # not all hosts, by its star
        ('origins = "https://a.example"', "origins must be a list"),
        ("origins = [1]", "origins must be a list"),
        ("redirects = [1]", "redirects must be a list"),
    ):
        file.write_text(text)
        with pytest.raises(UsageError, match=why):
            configured(str(file), {})
    file.write_text("port")
    with pytest.raises(UsageError, match="can't be read"):
        configured(str(file), {})
