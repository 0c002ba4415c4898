"""Headless Chromium, driven over a pipe by its own protocol: no driver, no server, no package.

The pipe carries JSON messages that end in a zero byte (``--remote-debugging-pipe``). Keys, clicks
and the wheel are the browser's own input events, so what a test does is what a person does.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-extensions", "--no-first-run"]
FLAGS += ["--disable-dev-shm-usage", "--disable-background-networking", "--hide-scrollbars"]
FLAGS += ["--force-color-profile=srgb", "--remote-debugging-pipe"]
CODES = {"Enter": 13, "Escape": 27, " ": 32, "End": 35, "Home": 36}
CODES |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9}
SECONDS = 40


def found():
    """The path of a Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Chromium:
    """One browser process; ``with Chromium() as browser: tab = browser.open(path)``."""

    def __init__(self, executable=None):
        self._profile = tempfile.TemporaryDirectory(prefix="chromium")
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # The child finds the pipes at 3 and 4; until then they must be out of the way.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (theirs_in, theirs_out)]
        os.close(theirs_in)
        os.close(theirs_out)
        command = [executable or found(), *FLAGS, f"--user-data-dir={self._profile.name}"]
        shell = f'exec "$@" 3<&{high[0]} 4>&{high[1]}'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "bash", *command, "about:blank"],
            pass_fds=high, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        for fd in high:
            os.close(fd)
        self._count, self._buffer, self._answers, self.events = 0, b"", {}, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.send("Browser.close")
            self._process.wait(10)
        except (OSError, RuntimeError, TimeoutError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)
        self._profile.cleanup()

    def send(self, method, session=None, **parameters):
        """One command, and its answer."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        wanted, until = self._count, time.monotonic() + SECONDS
        while wanted not in self._answers:
            self._read(until, method)
        answer = self._answers.pop(wanted)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _read(self, until, why):
        left = until - time.monotonic()
        if left <= 0 or not select.select([self._in], [], [], left)[0]:
            raise TimeoutError(f"Chromium did not answer {why} within {SECONDS} s")
        data = os.read(self._in, 1 << 16)
        if not data:
            raise RuntimeError(f"Chromium ended before it answered {why}")
        *whole, self._buffer = (self._buffer + data).split(b"\0")
        for text in whole:
            message = json.loads(text)
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self.events.append(message)

    def open(self, page, at="", size=(1440, 900), dark=False):
        """A tab with the file ``page``, once its script has run."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session, target)
        for domain in ("Runtime", "Log", "Page", "Network"):
            tab.send(f"{domain}.enable")
        tab.send(
            "Emulation.setDeviceMetricsOverride",
            width=size[0], height=size[1], deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        calm = {"name": "prefers-reduced-motion", "value": "reduce"}
        tab.send("Emulation.setEmulatedMedia", features=[scheme, calm])
        url = Path(page).resolve().as_uri() + (f"#{at}" if at else "")
        tab.send("Page.navigate", url=url)
        tab.wait("document.readyState === 'complete' && location.protocol === 'file:'")
        return tab

    def frame(self):
        """The one inline frame that is open."""
        targets = self.send("Target.getTargets")["targetInfos"]
        (target,) = [t["targetId"] for t in targets if t["type"] == "iframe"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Tab(self, session, target)


class Tab:
    """A page in the browser."""

    def __init__(self, browser, session, target):
        self._browser, self._session, self._target = browser, session, target

    def send(self, method, **parameters):
        return self._browser.send(method, self._session, **parameters)

    def close(self):
        self._browser.send("Target.closeTarget", targetId=self._target)

    def js(self, expression):
        """The value of an expression in the page, as JSON."""
        found = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def wait(self, condition):
        """Until an expression is true; TimeoutError says which."""
        until = time.monotonic() + SECONDS
        while not self.js(condition):
            if time.monotonic() > until:
                raise TimeoutError(condition)
            time.sleep(0.02)

    def text(self, selector):
        return self.js(f"document.querySelector({json.dumps(selector)}).textContent")

    def count(self, selector):
        return self.js(f"document.querySelectorAll({json.dumps(selector)}).length")

    def middle(self, selector):
        """Where the middle of an element is."""
        box = self.js(
            f"(() => {{ const b = document.querySelector({json.dumps(selector)})"
            ".getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        return box[0], box[1]

    def mouse(self, kind, x, y, **more):
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, selector, times=1):
        found = f"document.querySelector({json.dumps(selector)})"
        self.js(f"{found} instanceof HTMLElement && {found}.scrollIntoView({{block: 'nearest'}})")
        x, y = self.middle(selector)
        self.mouse("mouseMoved", x, y)
        for count in range(1, times + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self.mouse(kind, x, y, button="left", buttons=1, clickCount=count)

    def drag(self, start, stop):
        self.mouse("mouseMoved", *start)
        self.mouse("mousePressed", *start, button="left", buttons=1, clickCount=1)
        for share in (0.3, 0.6, 1.0):
            x, y = (a + (b - a) * share for a, b in zip(start, stop, strict=True))
            self.mouse("mouseMoved", x, y, button="left", buttons=1)
        self.mouse("mouseReleased", *stop, button="left", buttons=1, clickCount=1)

    def key(self, *keys):
        """Press keys one after another: "ArrowRight", "e", " "."""
        for key in keys:
            text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
            code = CODES.get(key, ord(key.upper()) if len(key) == 1 else 0)
            parts = {"key": key, "windowsVirtualKeyCode": code}
            self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **parts)
            self.send("Input.dispatchKeyEvent", type="keyUp", **parts)

    def write(self, text):
        self.send("Input.insertText", text=text)

    def screenshot(self, path):
        data = self.send("Page.captureScreenshot", format="png")["data"]
        Path(path).write_bytes(base64.b64decode(data))

    def complaints(self):
        """Uncaught exceptions, errors on the console, and anything fetched but the page itself."""
        self.js("1")  # what was said before this answer has arrived
        told = []
        for event in self._browser.events:
            if event.get("sessionId") != self._session:
                continue
            parameters = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                told.append(parameters["exceptionDetails"])
            elif event["method"] == "Log.entryAdded":
                told.append(parameters["entry"]["text"])
            elif event["method"] == "Runtime.consoleAPICalled" and parameters["type"] != "log":
                told.append(parameters["args"])
            elif (
                event["method"] == "Network.requestWillBeSent" and parameters["type"] != "Document"
            ):
                told.append(parameters["request"]["url"])
        return told
