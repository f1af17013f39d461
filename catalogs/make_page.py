"""What `make page` runs: the README's picture of the map page, in Debian's Chromium."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from PIL import Image

import mosaic
from mosaic.gateway.app import Gateway
from mosaic.gateway.options import Options
from tests.interop.roots import get
from tests.support.browser import browser
from tests.support.scenes import landscape, seam_scenes, write_scenes

PATH = Path(__file__).with_name("page.png")
WIDTH, HEIGHT, NARROW = 1180, 760, 380
"""Pixels of a large screen, and the width of a small one."""
VIEW = "map=10/47.5/12.0&rescale=100,1300"
READY = "document.querySelector('#map')?.ariaBusy === 'false' && !!document.querySelector('.tile')"


def main() -> None:
    """Writes catalogs/page.png: the page on a light screen, and on a small dark one."""
    root = get("trixie", "browser")
    shots = []
    with tempfile.TemporaryDirectory() as work:
        items = write_scenes(Path(work) / "scenes", seam_scenes(640, 40.0), landscape)
        stack = ["B04", "B03", "B02"]
        mosaic.build(items, Path(work) / "alps", stacks=[stack], resampling="bilinear")
        with (
            Gateway({"alps": Path(work) / "alps"}, Options(port=0)) as gateway,
            browser(lambda words: root.command(["chromium-headless-shell", *words])) as tab,
        ):
            for told, width, scheme in (
                (VIEW, WIDTH, "light"),
                ("map=9/47.5/12.0&show=expression&rescale=-0.1,0.3", NARROW, "dark"),
            ):
                tab.open("about:blank")
                tab.until("location.href === 'about:blank'")
                media = {"prefers_color_scheme": scheme, "prefers_reduced_motion": "reduce"}
                tab.open(f"{gateway.url}/map/alps#{told}", width, HEIGHT, **media)
                tab.until(READY)
                if width == WIDTH:
                    tab.click(450, 300)
                    tab.until("document.querySelectorAll('#items .item').length > 0")
                tab.run("new Promise((done) => setTimeout(done, 2500))")  # figures of it all
                tab.run("document.querySelector('#panel').scrollTo(0, 0)")
                shots.append(Image.open(io.BytesIO(tab.png())).convert("RGB"))
    whole = Image.new("RGB", (WIDTH + 20 + NARROW, HEIGHT), "white")
    whole.paste(shots[0], (0, 0))
    whole.paste(shots[1], (WIDTH + 20, 0))
    whole.quantize(160, dither=Image.Dither.NONE).save(PATH, optimize=True)
    print(f"{PATH}: {PATH.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
