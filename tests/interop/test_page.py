"""The map page in Debian's Chromium: what it shows, against the ground truth of the scenes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

import mosaic
from mosaic.gateway.app import Gateway
from mosaic.gateway.options import Options
from mosaic.settings import Retry
from tests.interop.conftest import made_root
from tests.support.browser import Tab, browser
from tests.support.range_server import RangeServer
from tests.support.scenes import Scene, ramp, seam_scenes, utm_scene, write_scenes
from tests.support.upstream import publish

pytestmark = pytest.mark.interop

STACK = ("B04", "B03", "B02")
ZOOM, LON, LAT = 12, 12.0, 47.5
SCALE = 64000
WIDTH, HEIGHT = 1000, 700
HERE = f"map={ZOOM}/{LAT}/{LON}&rescale=0,{SCALE}"
READY = "document.querySelector('#map').ariaBusy === 'false' && !!document.querySelector('.tile')"
NOTHING = (230, 234, 234)
"""What a light map shows where there is no mosaic."""

Open = Callable[..., Tab]


@pytest.fixture(scope="module")
def upstream() -> Iterator[RangeServer]:
    with RangeServer({}) as server:
        yield server


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, upstream: RangeServer) -> Path:
    """The mosaic."""
    scenes = seam_scenes(384, 40.0, STACK, dates=2)
    home = tmp_path_factory.mktemp("page")
    return publish(home, scenes, upstream, stacks=[STACK], resampling="bilinear")


def served(built: Path) -> Gateway:
    retry = Retry(base=0.01, longest=0.1, deadline=5)
    return Gateway({"alps": built}, Options(port=0), retry=retry)


@pytest.fixture(scope="module")
def gateway(built: Path) -> Iterator[Gateway]:
    with served(built) as running:
        yield running


@pytest.fixture(scope="module")
def scattered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Three small scenes, far from each other, of two months and years."""
    places = (("a", 32632, 9.0, "2025-06-01"), ("b", 32633, 15.0, "2025-06-20"))
    told = [*places, ("c", 32636, 33.0, "2026-01-05")]
    scenes = [
        utm_scene(name, crs, lon, 47.5, 64, 10.0, datetime=f"{day}T10:00:00Z")
        for name, crs, lon, day in told
    ]
    yield from small(tmp_path_factory.mktemp("scattered"), scenes, dst_crs="EPSG:4326")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One scene."""
    yield from small(tmp_path_factory.mktemp("alone"), [utm_scene("a", 32632, LON, LAT, 64, 60.0)])


def small(home: Path, scenes: list[Scene], **options: Any) -> Iterator[Gateway]:
    """A gateway of a mosaic of files."""
    mosaic.build(write_scenes(home, scenes), home / "mosaic", **options)
    with served(home / "mosaic") as running:
        yield running


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    root = made_root("trixie", "browser")
    with browser(lambda words: root.command(["chromium-headless-shell", *words])) as running:
        yield running


@pytest.fixture
def show(tab: Tab, gateway: Gateway) -> Open:
    """Opens the page anew with a hash, on a screen of a size, and waits until it rests."""

    def show(
        told: str = "",
        width: int = WIDTH,
        height: int = HEIGHT,
        base: str = gateway.url,
        **media: str,
    ) -> Tab:
        tab.open("about:blank")
        tab.until("location.href === 'about:blank'")
        tab.events.clear()
        media = {"prefers_color_scheme": "light", "prefers_reduced_motion": "reduce", **media}
        tab.open(f"{base}/map/alps#{told}", width, height, **media)
        tab.until("document.querySelector('#map')?.ariaBusy === 'false'")
        return tab

    return show


def seen(tab: Tab, lon: float = LON, lat: float = LAT) -> tuple[np.ndarray, np.ndarray]:
    """(h, w, 3) the map's pixels without what lies over them, and (2, h, w) lon and lat."""
    tab.until(READY)
    tab.run("""(() => {
        document.querySelector('#graticule').style.visibility = 'hidden';
        for (const one of document.querySelectorAll('.leaflet-control-container, #notice'))
            one.style.visibility = 'hidden';
    })()""")
    width, height = tab.run("(({clientWidth: w, clientHeight: h}) => [w, h])(map)")
    pixels = tab.picture()[:height, :width]
    side = 256 * 2**ZOOM
    middle = (lon + 180) / 360 * side, (1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2
    left, top = round(middle[0] - width / 2), round(middle[1] * side - height / 2)
    x, y = np.meshgrid(np.arange(width) + left + 0.5, np.arange(height) + top + 0.5)
    north = np.degrees(np.arctan(np.sinh(math.pi * (1 - 2 * y / side))))
    return pixels, np.stack([x / side * 360 - 180, north])


def shares(places: np.ndarray) -> np.ndarray:
    """(h, w, 3) how bright the three bands are at places, by the scenes' truth."""
    bands = [ramp(*places, band) for band in range(3)]
    return np.stack(bands, axis=-1) / SCALE


def close(pixels: np.ndarray, want: np.ndarray) -> np.ndarray:
    """(h, w) whether pixels show what they should, but for two shades."""
    found: np.ndarray = np.abs(pixels - np.rint(want)).max(-1) <= 2
    return found


def test_it_shows_the_mosaic_and_asks_nobody_else(show: Open, gateway: Gateway) -> None:
    tab = show(f"{HERE}&footprints=0")
    pixels, places = seen(tab)
    assert pixels.size > 1_000_000
    assert close(pixels, 255 * shares(places)).all()
    tab.run("new Promise((done) => setTimeout(done, 2500))")  # it asks for figures meanwhile
    assert {url.startswith(f"{gateway.url}/") for url in tab.requests} == {True}
    assert sum(url.endswith("/metrics.json") for url in tab.requests) >= 2
    assert tab.complaints == []
    assert tab.run("performance.getEntriesByType('resource').length") > 20
    blocked = "document.createElement('img').src = 'http://192.0.2.1/x.png'"
    tab.run(f"new Promise((done) => {{ {blocked}; setTimeout(done, 300); }})")
    assert any("Content Security Policy" in text for text in tab.complaints)  # as it would


def test_degrees_can_be_read_over_any_picture(show: Open) -> None:
    """Letters have the map's ground around them."""
    tab = show(f"{HERE}&footprints=0")
    around = tab.run("""(() => {
        const {width, height} = graticule;
        const {data} = graticule.getContext('2d').getImageData(0, 0, width, height);
        return [...Array(width * height).keys()].filter((one) => data[4 * one + 3] === 255)
            .map((one) => [...data.slice(4 * one, 4 * one + 3)]);
    })()""")
    assert around.count(list(NOTHING)) > 500


def test_footprints_have_the_colours_of_their_crs(show: Open) -> None:
    tab = show(HERE)
    tab.until("document.querySelector('#inview').textContent === '8 in view'")
    zones = tab.run("[...document.querySelectorAll('#zones li')].map((one) => one.innerText)")
    assert [text.split() for text in zones] == [["EPSG:32632", "4"], ["EPSG:32633", "4"]]
    tab.run("new Promise((done) => setTimeout(done, 300))")
    pixels, places = seen(tab)
    other = ~close(pixels, 255 * shares(places))
    assert 0.001 < other.mean() < 0.05  # the edges, drawn over the mosaic
    colours = tab.run(
        "[...document.querySelectorAll('#zones .dot')].map((o) => getComputedStyle(o).background)"
    )
    for text in colours:
        wanted = np.array([int(part) for part in text.split("(")[1].split(")")[0].split(",")])
        near = (np.abs(pixels - wanted).max(-1) < 40) & other
        assert near.sum() > 100
    tab.run("document.querySelector('#footprints').click()")
    tab.until("location.hash.includes('footprints=0')")
    tab.run("new Promise((done) => setTimeout(done, 300))")
    pixels, places = seen(tab)
    assert close(pixels, 255 * shares(places)).all()


def test_the_slider_shows_one_day(show: Open) -> None:
    """The second day's scenes have gaps, through which the first day's show no more."""
    tab = show(f"{HERE}&footprints=0")
    assert tab.run("unit.parentElement.hidden")  # both days are of one month
    tab.run("document.querySelector('#time').focus()")
    for key, code, day in (
        ("ArrowRight", 39, "2025-06-01"),  # all of them are left of the first
        ("ArrowLeft", 37, "all dates"),
        ("End", 35, "2025-06-06"),
    ):
        tab.key(key, code)
        assert tab.run("document.querySelector('#when').textContent") == day
    tab.until("location.hash.includes('time=2025-06-06')")
    tab.until(f"document.querySelectorAll('.leaflet-layer').length === 1 && {READY}")
    assert tab.run("document.querySelector('#when').textContent") == "2025-06-06"
    assert any("/tiles/" in url and "datetime=2025-06-06" in url for url in tab.requests)
    pixels, places = seen(tab)
    there = close(pixels, 255 * shares(places))
    nothing = np.abs(pixels - np.array(NOTHING)).max(-1) <= 1
    assert 0.1 < nothing.mean() < 0.5
    assert (there | nothing).mean() > 0.995  # but for the edges of the gaps
    tab.run("document.querySelector('#all').click()")
    tab.until("!location.hash.includes('time=')")
    tab.until(f"document.querySelectorAll('.leaflet-layer').length === 1 && {READY}")
    pixels, places = seen(tab)
    assert close(pixels, 255 * shares(places)).all()
    assert tab.complaints == []


def test_who_steps_on_waits_for_nothing_passed(
    show: Open, upstream: RangeServer, built: Path
) -> None:
    with served(built) as fresh:
        tab = show(f"{HERE}&show=band&band=B04", base=fresh.url)
        layers = "document.querySelectorAll('.leaflet-layer').length"
        tab.until(f"{layers} === 1 && {READY}")
        upstream.behaviour.latency = 3.0
        try:
            for band in ("B03", "B02"):
                tab.run(f"location.hash = location.hash.replace(/band=B0./, 'band={band}')")
                tab.until(f"{layers} > 1")
                tab.run("new Promise((done) => setTimeout(done, 300))")
                assert tab.run(layers) == 2  # what was seen, and what is awaited
        finally:
            upstream.behaviour.latency = 0.0


def test_what_failed_beyond_180_is_forgotten_when_it_is_left(
    show: Open, upstream: RangeServer, tmp_path: Path
) -> None:
    scenes = [
        utm_scene("west", 32660, 179.9, 5.0, 64, 100.0),
        utm_scene("east", 32601, -179.9, 5.0, 64, 100.0),
    ]
    built = publish(tmp_path, scenes, upstream)
    upstream.behaviour.forbidden = "east/B04.tif"
    try:
        with served(built) as fresh:
            tab = show(f"map=12/5/180.1&rescale=0,{SCALE}", base=fresh.url)
            tab.until("notice.textContent.includes('east')")
            tab.run("location.hash = location.hash.replace(/map=[^&]*/, 'map=12/5/185')")
            tab.until(f"location.hash.includes('/185') && {READY.split(' && ')[0]}")
            tab.until("notice.textContent === ''", 5)
    finally:
        upstream.behaviour.forbidden = ""


def test_a_footprint_over_180_is_one(show: Open, tmp_path: Path) -> None:
    """No edge where it is cut."""
    scene = utm_scene("over", 32660, 179.99, 5.0, 64, 1000.0)
    for running in small(tmp_path, [scene], dst_crs="EPSG:3832"):
        tab = show("map=9/5/180&colormap=gray&rescale=70000,80000", base=running.url)
        tab.until("inview.textContent === '1 in view'")
        tab.run("new Promise((done) => setTimeout(done, 300))")
        tab.run("document.querySelector('#graticule').style.visibility = 'hidden'")
        width, height = tab.run("(({clientWidth: w, clientHeight: h}) => [w, h])(map)")
        row = tab.picture()[height // 2, :width].astype(int)
        edges = np.flatnonzero(np.abs(np.diff(row, axis=0)).max(-1) > 20)
        assert edges.size > 0
        assert np.abs(edges - width / 2).min() > 50


def test_a_time_stays_when_it_is_told_otherwise(show: Open, scattered: Gateway) -> None:
    tab = show("time=2025-06-20&rescale=0,1", base=scattered.url)
    assert tab.run("facts.textContent") == "3 items in EPSG:4326 · 2025-06-01 to 2026-01-05"
    assert not tab.run("unit.parentElement.hidden")
    choose = "(unit.value = '%s', unit.onchange())"
    for unit, want in (("month", "2025-06"), ("year", "2025"), ("day", "2025-06-01")):
        tab.run(choose % unit)
        tab.until(f"location.hash.includes('time={want}&by={unit}')")
        assert tab.run("[document.querySelector('#when').textContent, all.ariaPressed]") == [
            want,
            "false",
        ]
    tab = show("time=1999-01-01&rescale=0,1", base=scattered.url)  # of another build, say
    assert tab.run(
        "[document.querySelector('#when').textContent, location.hash.includes('1999')]"
    ) == ["all dates", False]


def test_where_there_is_one_day_there_is_no_slider(show: Open, alone: Gateway) -> None:
    tab = show("", base=alone.url)
    assert tab.run("timeline.hidden")
    assert tab.run("facts.textContent") == "1 item in EPSG:32632 · 2025-06-01"


def test_the_picker_shows_bands_and_expressions(show: Open) -> None:
    tab = show(f"{HERE}&footprints=0")
    choose = """(([id, value]) => {
        const one = document.getElementById(id);
        one.value = value;
        one.dispatchEvent(new Event(one.type === 'number' ? 'input' : 'change'));
    })"""
    tab.run("document.querySelector('[value=band]').click()")
    tab.run(f"{choose}(['band', 'B03'])")
    tab.until("location.hash.includes('rescale=')")  # what is in view
    for name, value in (("low", "0"), ("high", str(SCALE)), ("colormap", "magma")):
        tab.run(f"{choose}(['{name}', '{value}'])")
        tab.run("new Promise((done) => setTimeout(done, 450))")
    tab.until(f"location.hash.includes('rescale=0,{SCALE}') && location.hash.includes('magma')")
    tab.until(f"document.querySelectorAll('.leaflet-layer').length === 1 && {READY}")
    pixels, places = seen(tab)
    want = mpl.colormaps["magma"](shares(places)[..., 1])[..., :3]
    assert np.mean(np.abs(pixels - 255 * want).max(-1) <= 6) > 0.999

    tab.run("document.querySelector('[value=expression]').click()")
    tab.run(f"{choose}(['expression', 'B04 / B03 +'])")
    tab.until("document.querySelector('#refused').textContent")
    assert "no arithmetic" in tab.run("document.querySelector('#refused').textContent")
    tab.run(f"{choose}(['expression', 'B04 - B03'])")
    tab.until("!document.querySelector('#refused').textContent && location.hash.includes('resc')")
    tab.run(f"{choose}(['low', '1e6'])")
    tab.until("refused.textContent === 'From must be less than To.'")
    tab.run(f"{choose}(['expression', ''])")  # what it began with
    tab.until("!refused.textContent && expression.value === '(B03 - B04) / (B03 + B04)'")
    tab.run(f"{choose}(['expression', 'B04 - B03'])")
    tab.until("expression.value === 'B04 - B03' && location.hash.includes('resc') && high.value")
    low, high = tab.run("[low.valueAsNumber, high.valueAsNumber]")
    tab.until(f"document.querySelectorAll('.leaflet-layer').length === 1 && {READY}")
    pixels, places = seen(tab)
    bands = shares(places) * SCALE
    share = np.clip((bands[..., 0] - bands[..., 1] - low) / (high - low), 0, 1)
    want = mpl.colormaps["magma"](share)[..., :3]
    assert np.mean(np.abs(pixels - 255 * want).max(-1) <= 12) > 0.99


def test_a_click_lists_the_items_there(show: Open) -> None:
    tab = show(HERE)
    width, height = tab.run("(({clientWidth: w, clientHeight: h}) => [w, h])(map)")
    names = "[...document.querySelectorAll('#items summary')].map((one) => one.innerText.trim())"
    tab.click(width / 2 + 250, height / 2 - 200)
    east = tab.until(f"{names}.length && {names}")
    assert east == ["S2_33_0_1", "S2_33_0_0"]  # the newest on top
    said = tab.run("document.querySelector('#items .item').innerText")
    assert "2025-06-06 10:00:00Z · EPSG:32633" in said
    links = tab.run("[...document.querySelectorAll('#items .item a')].map((one) => one.href)")
    assert len(links) == 6
    assert tab.run(f"fetch({links[0]!r}, {{method: 'HEAD'}}).then((one) => one.status)") == 200
    middle = "getComputedStyle(document.querySelector('#cross')).display"
    assert tab.run(middle) == "none"  # it is for the keyboard
    tab.run("map.focus()")
    tab.key("Enter", 13)
    tab.until(f"{names}.length === 8")  # where all of them meet
    assert tab.run(middle) == "block"
    assert tab.complaints == []


def test_what_cant_be_read_is_shown_as_such(show: Open, upstream: RangeServer, built: Path) -> None:
    upstream.behaviour.forbidden = "S2_33_0_1/B04.tif"
    try:
        with served(built) as fresh:
            tab = show(f"{HERE}&show=band&band=B04&footprints=0", base=fresh.url)
            tab.until("document.querySelector('#notice.wrong') !== null")
            notice = tab.run("document.querySelector('#notice').textContent")
            assert "S2_33_0_1" in notice
            failed = "document.querySelectorAll('.tile[data-failed]')"
            assert tab.until(f"{READY} && {failed}.length") > 0
            assert "S2_33_0_1" in tab.run(f"{failed}[0].title")
            assert tab.run("document.querySelectorAll('.tile:not([data-failed])').length") > 0
    finally:
        upstream.behaviour.forbidden = ""


def test_a_picture_is_shown_beside_what_cant_be_read(
    show: Open, upstream: RangeServer, built: Path
) -> None:
    """Also where nobody chose the ends of the scale: those of what can be read."""
    here = f"map={ZOOM}/{LAT}/{LON}&show=band&band=B04&footprints=0"
    try:
        upstream.behaviour.forbidden = "S2_33_0_1/B04.tif"
        with served(built) as fresh:
            tab = show(here, base=fresh.url)
            tab.until(f"location.hash.includes('rescale=') && {READY}")
            assert "S2_33_0_1" in tab.run("notice.textContent")
            assert tab.run("document.querySelectorAll('.tile:not([data-failed])').length") > 0
        upstream.behaviour.forbidden = "B04.tif"
        with served(built) as fresh:
            tab = show(here, base=fresh.url)
            tab.until("notice.className === 'wrong' && notice.textContent.includes('B04.tif')")
            assert "rescale" not in tab.run("location.hash")
    finally:
        upstream.behaviour.forbidden = ""


def test_the_first_scale_is_of_all_that_is_in_view(show: Open) -> None:
    """Of one band hardly anything is cut, wherever the tiles' edges lie."""
    for lon, lat in ((12.0, 47.5), (12.05, 47.47), (11.93, 47.52)):
        tab = show(f"map=12/{lat}/{lon}&show=band&band=B03&footprints=0")
        low, high = tab.until("location.hash.includes('rescale=') && [low.value, high.value]")
        _, places = seen(tab, lon, lat)
        values = shares(places)[..., 1] * SCALE
        assert np.mean((values < float(low)) | (values > float(high))) < 0.06


def test_from_far_it_shows_where_the_mosaic_lies(show: Open) -> None:
    tab = show("map=3/40/10")
    tab.until("!approach.hidden && inview.textContent === '8 in view'")
    assert not any("/tiles/alps/3/" in url for url in tab.requests)
    tab.run("approach.click()")
    tab.until(f"approach.hidden && {READY}")
    assert tab.run("document.querySelector('#notice').textContent") == ""


def test_who_is_lost_finds_back(show: Open) -> None:
    tab = show("map=9/20/20&rescale=0,1&time=2025-06")
    tab.until("notice.textContent === 'Nothing lies here in 2025-06.'")
    tab.run("whole.focus()")
    tab.key("Enter", 13)
    tab.until(f"inview.textContent === '8 in view' && notice.textContent === '' && {READY}")
    _, lat, lon = tab.run("location.hash.match(/map=([^&]*)/)[1]").split("/")
    assert abs(float(lon) - LON) < 0.05
    assert abs(float(lat) - LAT) < 0.05
    assert "rescale=0,1" in tab.run("location.hash")


def test_small_scenes_are_seen_from_far(show: Open, scattered: Gateway) -> None:
    """Each is a dot of its CRS's colour, on every round of the world."""
    told = "[...document.querySelectorAll('#zones .dot')].map((o) => o.style.background)"
    for zoom, rounds in ((5, 1), (0, 3)):
        tab = show(f"map={zoom}/47.5/21&rescale=0,1", base=scattered.url)
        tab.until("inview.textContent === '3 in view'")
        tab.run("new Promise((done) => setTimeout(done, 300))")
        tab.run("approach.style.visibility = 'hidden'")  # of the same colour
        width, height = tab.run("(({clientWidth: w, clientHeight: h}) => [w, h])(map)")
        pixels = tab.picture()[:height, :width]
        for text in tab.run(told):
            wanted = np.array([int(part) for part in text[4:-1].split(",")])
            near = np.abs(pixels - wanted).max(-1) < 40
            columns = np.flatnonzero(near.any(axis=0))
            assert near.sum() >= 4 * rounds, text
            assert 1 + np.sum(np.diff(columns) > 100) == rounds, text


def contrast(*colours: str) -> float:
    """WCAG's, of two opaque colours as CSS writes them."""
    shares = [np.array([int(part) / 255 for part in one[4:-1].split(",")]) for one in colours]
    linear = [
        np.where(one <= 0.04045, one / 12.92, ((one + 0.055) / 1.055) ** 2.4) for one in shares
    ]
    dark, bright = sorted(float(one @ [0.2126, 0.7152, 0.0722]) for one in linear)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_small_screen_and_all_controls_have_names(show: Open, scheme: str) -> None:
    tab = show(HERE, 360, 740, prefers_color_scheme=scheme)
    assert tab.run("document.documentElement.scrollWidth") == 360
    outside = """[...document.querySelectorAll('#panel *, #timeline *')].filter((one) => {
        const {left, right, width} = one.getBoundingClientRect();
        return width > 1 && (left < -1 || right > 361);
    }).length"""
    assert tab.run(outside) == 0
    nodes: list[dict[str, Any]] = tab.call("Accessibility.getFullAXTree")["nodes"]
    kinds = {"button", "combobox", "slider", "textbox", "spinbutton", "checkbox", "radio", "link"}
    found = [n for n in nodes if not n.get("ignored") and n["role"]["value"] in kinds]
    assert len(found) > 15
    assert [n["role"]["value"] for n in found if not n.get("name", {}).get("value")] == []
    ground, text = tab.run(
        "(({backgroundColor: a, color: b}) => [a, b])(getComputedStyle(document.body))"
    )
    brightness = [sum(map(int, c[4:-1].split(","))) for c in (ground, text)]
    assert (brightness[0] > brightness[1]) == (scheme == "light")
    assert abs(brightness[0] - brightness[1]) > 450
    for name in ("select", "button", "input[type=number]", ".tabs input:not(:checked) + span"):
        edge, card = tab.run(
            f"(({{borderTopColor: a, backgroundColor: b}}) => [a, b])"
            f"(getComputedStyle(document.querySelector('#panel {name}')))"
        )
        card = (
            card
            if card != "rgba(0, 0, 0, 0)"
            else tab.run("getComputedStyle(panel).backgroundColor")
        )
        assert contrast(edge, card) > 3, name  # WCAG 1.4.11
    order = []
    for _ in range(15):  # by the keyboard alone, past the map to time and picture
        tab.key("Tab", 9)
        order.append(tab.run("document.activeElement.id || document.activeElement.name"))
    assert [name for name in order if name in ("map", "all", "time", "theme", "mode")] == [
        "map", "all", "time", "theme", "mode",
    ]  # fmt: skip


def test_a_token_may_be_told_in_the_address(show: Open, built: Path) -> None:
    with Gateway({"alps": built}, Options(port=0, token="s3cret")) as running:
        tab = show(HERE, base=running.url.replace("://", "://me:s3cret@"))
        tab.until(READY)
        assert tab.run("notice.textContent") == ""
        assert tab.complaints == []


def test_pages_elsewhere_read_what_they_may(tab: Tab, upstream: RangeServer, built: Path) -> None:
    """A page of a named origin reads a key, a piece, a tile, with the token; others, none."""
    upstream.objects["page.html"] = b"<!doctype html>"
    page = upstream.url("page.html")
    site = page.removesuffix("/page.html")
    tab.open(page)
    tab.until(f"location.origin === '{site}'")
    tried = """(async () => {
        const ask = (path, more = {}) => fetch('%s' + path,
            {headers: {Authorization: 'Bearer s3cret', ...more}}).catch(() => null);
        const key = await ask('/zarr/alps/zarr.json');
        const piece = await ask('/zarr/alps/x/c/0', {Range: 'bytes=0-3'});
        const tile = await ask('/tiles/alps/tilejson.json?bands=B04');
        const none = await ask('/zarr/alps/none/zarr.json');
        return [await key?.json().then(told => told.node_type), piece?.status,
            piece?.headers.get('Content-Range')?.slice(0, 10), !!piece?.headers.get('ETag'),
            await tile?.json().then(told => told.tilejson), none?.status];
    })()"""
    refused = [None, None, None, False, None, None]
    allowed = ["group", 206, "bytes 0-3/", True, "3.0.0", 404]
    for origins, want in (((site,), allowed), (("https://a.example",), refused), ((), refused)):
        with Gateway({"alps": built}, Options(port=0, origins=origins, token="s3cret")) as running:
            assert tab.run(tried % running.url) == want, origins
