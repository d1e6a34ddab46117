"""Headless Chromium, driven by ChromeDriver's own HTTP protocol (W3C WebDriver), without another package."""

import base64
import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import cv2
import numpy as np
import pytest

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--use-gl=angle"),
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"),
)


class Browser:
    """One window."""

    def __init__(self, address: str, profile: str, dark: bool) -> None:
        options = {"args": [*FLAGS, f"--user-data-dir={profile}", *(["--force-dark-mode"] if dark else [])]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self.address = address
        self.session = ""
        self.session = self._post("", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def _post(self, path: str, what: Any, method: str = "POST") -> Any:
        url = f"{self.address}/session" + (f"/{self.session}{path}" if self.session else "")
        request = Request(url, json.dumps(what).encode() if method == "POST" else None, method=method)
        request.add_header("Content-Type", "application/json")
        with urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def open(self, page: Path, width: int = 1440, height: int = 900) -> None:
        """Opens a page of this machine. Headless Chromium keeps windows above 500 pixels: narrow ones are emulated."""
        window = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.command("Emulation.setDeviceMetricsOverride", **window)
        self._post("/url", {"url": page.resolve().as_uri()})

    def command(self, name: str, **what: Any) -> Any:
        """A command of the browser's own protocol."""
        return self._post("/goog/cdp/execute", {"cmd": name, "params": what})

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a script's `return`."""
        return self._post("/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script: str, seconds: float = 30) -> None:
        """Until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"return Boolean({script})"):
            assert time.monotonic() < end, f"not so after {seconds:.0f} s: {script}; {self.errors()}"
            time.sleep(0.1)

    def screenshot(self, path: Path | None = None, whole: bool = False) -> np.ndarray:
        """RGB (H, W, 3) of the window, or of the whole page."""
        shot = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        data = base64.b64decode(shot)
        if path is not None:
            path.write_bytes(data)
        return np.ascontiguousarray(cv2.imdecode(np.frombuffer(data, np.uint8), 1)[..., ::-1])

    def drag(self, selector: str, dx: int, dy: int) -> None:
        """Presses in the middle of an element, moves, lets go."""
        x, y = self.run(
            "const e = document.querySelector(arguments[0]); e.scrollIntoView({block: 'center'});"
            "const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]",
            selector,
        )
        steps = [
            {"type": "pointerMove", "duration": 0, "x": round(x), "y": round(y)},
            {"type": "pointerDown", "button": 0},
        ]
        steps += [
            {"type": "pointerMove", "duration": 20, "x": round(x + dx * k / 4), "y": round(y + dy * k / 4)}
            for k in range(1, 5)
        ]
        steps.append({"type": "pointerUp", "button": 0})
        mouse = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": steps}
        self._post("/actions", {"actions": [mouse]})

    def press(self, key: str) -> None:
        """A key, to what has the focus."""
        keys = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self._post("/actions", {"actions": [{"type": "key", "id": "keys", "actions": keys}]})

    def errors(self) -> list[str]:
        """What the console said since it was last asked, notes of the browser itself left out."""
        said = self._post("/se/log", {"type": "browser"})
        return [
            line["message"]
            for line in said
            if line["level"] in ("SEVERE", "WARNING") and "GL Driver" not in line["message"]
        ]

    def close(self) -> None:
        """Ends the browser."""
        self._post("", None, "DELETE")


@contextmanager
def browser(dark: bool = False) -> Iterator[Browser]:
    """A browser, ended afterwards; skips the test where there is none."""
    driver = shutil.which("chromedriver")
    if driver is None or not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            window = _connected(f"http://127.0.0.1:{port}", profile, dark)
            try:
                yield window
            finally:
                window.close()
        finally:
            process.terminate()
            process.wait(20)


def _connected(address: str, profile: str, dark: bool) -> Browser:
    """The driver takes a moment to listen."""
    for _ in range(100):
        try:
            return Browser(address, profile, dark)
        except ConnectionRefusedError:
            time.sleep(0.1)
        except OSError as error:
            if "refused" not in str(error):
                raise
            time.sleep(0.1)
    raise TimeoutError("ChromeDriver does not answer.")
