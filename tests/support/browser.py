"""A headless Chromium, driven by its DevTools protocol through a pair of pipes."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

__all__ = ["BrowserError", "Page", "browse", "find_browser", "page"]

PATIENCE = 60.0
"""Seconds that an answer may take before it counts as a hang."""

BETWEEN_PAGES = ("navigated or closed", "context was destroyed", "default execution context")
"""Words of the answers to a script that is evaluated while another page takes the place of its."""

QUIET = (
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
)


START = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Starts Chromium, which reads orders from descriptor 3 and answers on 4."""


class BrowserError(Exception):
    """An error that the browser answered, or that the script of the page raised."""


def find_browser() -> str | None:
    """Return the path of a Chromium, or None."""
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        if (path := shutil.which(name)) is not None:
            return path
    return None


class Page:
    """One tab.

    Attributes:
        errors: what the console said of errors, and exceptions of the page's script.
        requests: every address that was asked for.
        dialogs: texts of the alerts that came up.
    """

    def __init__(self, answers: int, orders: int) -> None:
        self._answers = answers
        self._orders = orders
        self._buffer = b""
        self._last = 0
        self._session: str | None = None
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.dialogs: list[str] = []

    def attach(self) -> Self:
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        answer = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = answer["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        return self

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Give an order and wait for its answer."""
        self._last += 1
        order = {"id": self._last, "method": method, "params": params}
        if self._session is not None:
            order["sessionId"] = self._session
        text = memoryview(json.dumps(order).encode() + b"\0")
        while text:
            text = text[os.write(self._orders, text) :]
        while True:
            message = self._receive()
            if message.get("id") == order["id"]:
                if "error" in message:
                    raise BrowserError(f"{method}: {message['error']['message']}")
                result: dict[str, Any] = message["result"]
                return result

    def open(
        self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False
    ) -> float:
        """Load the file, and return the seconds until all of its parts are built."""
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        began = time.monotonic()
        self.send("Page.navigate", url=path.as_uri())
        self.until("document.documentElement?.dataset.ready === 'true'")
        # After two frames, everything that was drawn is on the screen.
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return time.monotonic() - began

    def resize(self, width: int, height: int) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page, and wait for that of a promise."""
        answer = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise BrowserError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until the expression is true, also over the moment in which a page is loaded."""
        deadline = time.monotonic() + PATIENCE
        while not self._is_true(script):
            if time.monotonic() > deadline:
                raise BrowserError(f"never true: {script}\n" + "\n".join(self.errors))
            time.sleep(0.01)

    def _is_true(self, script: str) -> bool:
        try:
            return bool(self.run(script))
        except BrowserError as error:
            if any(words in str(error) for words in BETWEEN_PAGES):
                return False
            raise

    def text(self, selector: str) -> str:
        """Return the visible text of the first element that matches."""
        return str(self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x: float, y: float) -> None:
        self.mouse("mousePressed", x, y, button="left", clickCount=1)
        self.mouse("mouseReleased", x, y, button="left", clickCount=1)

    def key(self, key: str) -> None:
        """Press and release a key such as ``Tab``, ``Enter``, ``+``."""
        codes = {"Enter": (13, "\r"), "Tab": (9, ""), "Escape": (27, "")}
        code, text = codes.get(key, (ord(key[0]), key))
        params = {"key": key, "windowsVirtualKeyCode": code}
        self.send(
            "Input.dispatchKeyEvent", type="keyDown", **params, **({"text": text} if text else {})
        )
        self.send("Input.dispatchKeyEvent", type="keyUp", **params)

    def type(self, text: str) -> None:
        self.send("Input.insertText", text=text)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        answer = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def _receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            if not select.select([self._answers], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise BrowserError("the browser does not answer")
            data = os.read(self._answers, 1 << 20)
            if not data:
                raise BrowserError("the browser is gone")
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.errors.append(json.dumps(params["args"]))
        elif method == "Page.javascriptDialogOpening":
            self.dialogs.append(params["message"])


@contextmanager
def browse(browser: str) -> Iterator[Page]:
    """Start a browser with a profile of its own, and end all its processes at the exit."""
    their_orders, our_orders = os.pipe()
    our_answers, their_answers = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options: tuple[str, ...] = (
            "--headless=new",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
        )
        if os.geteuid() == 0:
            options += ("--no-sandbox",)  # which root cannot have
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", START, str(their_orders), str(their_answers)),
                *(browser, *options, *QUIET, "about:blank"),
            ],
            pass_fds=(their_orders, their_answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": profile},
        )
        os.close(their_orders)
        os.close(their_answers)
        page = Page(our_answers, our_orders)
        try:
            page.attach()
            yield page
        finally:
            try:
                page._session = None
                page.send("Browser.close")
                process.wait(10)
            except (BrowserError, OSError, subprocess.TimeoutExpired):
                process.kill()
                process.wait()
            os.close(our_orders)
            os.close(our_answers)


@pytest.fixture
def page() -> Iterator[Page]:
    """Start a browser; without one skip the test, but fail in CI, which must have one."""
    browser = find_browser()
    if browser is None:
        text = "no Chromium: install the package chromium, or put a Chromium on the PATH"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    with browse(browser) as opened:
        yield opened
