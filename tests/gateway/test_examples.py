"""The examples of how a gateway is run: what they say is what it takes."""

from __future__ import annotations

import ast
import configparser
import shlex
from pathlib import Path

from mosaic.gateway.command import configured
from tests.support.verbs import verbs

DOCS = Path(__file__).resolve().parents[2] / "docs/gateway"


def test_the_configuration_is_one(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    text = (DOCS / "gateway.toml").read_text("utf-8")
    text = text.replace("/etc/mosaic/token", str(tmp_path / "token"))
    # what stands there as a comment can be meant too
    text = text.replace("# redirects", "redirects").replace("# origins", "origins")
    (tmp_path / "gateway.toml").write_text(text, "utf-8")
    found = configured(str(tmp_path / "gateway.toml"), {})
    assert (found.host, found.port, found.token) == ("0.0.0.0", 8790, "secret")
    assert found.redirects == ("*.cloudfront.net",)
    assert found.origins == ("https://maps.example.org",)


def test_systemd_starts_what_there_is() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # names have capitals
    unit.read(DOCS / "mosaic-gateway.service", "utf-8")
    program, *arguments = shlex.split(unit["Service"]["ExecStart"])
    assert Path(program).name == "mosaic"
    taken(arguments)
    assert float(unit["Service"]["TimeoutStopSec"]) > configured(None, {}).grace


def test_the_container_starts_what_there_is() -> None:
    lines = (DOCS / "Containerfile").read_text("utf-8").splitlines()
    told = {line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in lines if " " in line}
    start = [*_list(told["ENTRYPOINT"]), *_list(told["CMD"])]
    assert start[0] == "mosaic"
    taken(start[1:])


def taken(arguments: list[str]) -> None:
    """Raises unless the command line knows all of these."""
    name, *rest = arguments
    command = verbs()[name]
    assert command.make_context(name, rest, resilient_parsing=True).params["folder"]


def _list(text: str) -> list[str]:
    found: list[str] = ast.literal_eval(text)
    return found
