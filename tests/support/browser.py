"""A headless Chromium, driven by its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import aiohttp
import numpy as np
from PIL import Image

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--remote-debugging-port=0", "--hide-scrollbars", "--force-color-profile=srgb",
)  # fmt: skip


class Tab:
    """A page; what it said and asked for is kept."""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: Any) -> None:
        self._loop, self._socket = loop, socket
        self._last = 0
        self.events: list[dict[str, Any]] = []
        """What the browser told, in order."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the protocol, and its result."""
        return self._loop.run_until_complete(self._call(method, parameters))

    async def _call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._last += 1
        await self._socket.send_json({"id": self._last, "method": method, "params": parameters})
        async with asyncio.timeout(60):
            while True:
                told = json.loads((await self._socket.receive()).data)
                if told.get("id") == self._last:
                    assert "error" not in told, told["error"]
                    return dict(told["result"])
                self.events.append(told)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        told = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def until(self, script: str, seconds: float = 30.0) -> Any:
        """The value of an expression as soon as it is true."""
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(0.05)
        return value

    def open(self, url: str, width: int = 1000, height: int = 700, **media: str) -> None:
        """Show a URL on a screen of a size; ``media``: features, such as prefers_color_scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        features = [{"name": k.replace("_", "-"), "value": v} for k, v in media.items()]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.call("Page.navigate", url=url)

    def click(self, x: float, y: float) -> None:
        """Press and let go of the mouse."""
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def key(self, key: str, code: int) -> None:
        """Press and let go of a key."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
            )

    def picture(self) -> np.ndarray:
        """(h, w, 3) what is seen."""
        return np.array(Image.open(io.BytesIO(self.png())).convert("RGB"))

    def png(self) -> bytes:
        """What is seen, as a file."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    @property
    def requests(self) -> list[str]:
        """URLs that were asked for."""
        return [e["params"]["request"]["url"] for e in self._of("Network.requestWillBeSent")]

    @property
    def complaints(self) -> list[str]:
        """Warnings, errors and whatever else the console shows."""
        said = [e["params"]["entry"]["text"] for e in self._of("Log.entryAdded")]
        said += [str(e["params"]["args"]) for e in self._of("Runtime.consoleAPICalled")]
        thrown = self._of("Runtime.exceptionThrown")
        return said + [str(e["params"]["exceptionDetails"]) for e in thrown]

    def _of(self, method: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event.get("method") == method]


@contextlib.contextmanager
def browser(command: Callable[[Sequence[str]], Sequence[str]]) -> Iterator[Tab]:
    """A tab of a Chromium that ``command`` makes of its arguments a command line for."""
    with tempfile.TemporaryFile("w+") as said, contextlib.ExitStack() as stack:
        argv = command(["--user-data-dir=/tmp/profile", *FLAGS, "about:blank"])
        process = stack.enter_context(
            subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=said)
        )
        stack.callback(process.kill)
        end = time.monotonic() + 30
        while not (found := re.search(r"ws://([\d.:]+)/", _text(said))):
            assert process.poll() is None, _text(said)[-2000:]
            assert time.monotonic() < end, _text(said)[-2000:]
            time.sleep(0.05)
        loop = asyncio.new_event_loop()
        stack.callback(loop.close)
        session = loop.run_until_complete(_session())
        stack.callback(lambda: loop.run_until_complete(session.close()))
        socket = loop.run_until_complete(_tab(session, found[1]))
        yield Tab(loop, socket)


def _text(file: Any) -> str:
    file.seek(0)
    return str(file.read())


async def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession()


async def _tab(session: aiohttp.ClientSession, address: str) -> Any:
    async with session.get(f"http://{address}/json/list") as answer:
        pages = [one for one in await answer.json() if one["type"] == "page"]
    return await session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=64 << 20)
