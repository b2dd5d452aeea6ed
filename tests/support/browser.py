"""A headless Chromium, driven through the DevTools protocol over a pair of pipes: no port, no package, no network."""

import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Self

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# The proxy is a closed port, so that no request leaves the machine.
OFFLINE = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
OFFLINE += [
    "--disable-background-networking",
    "--disable-component-update",
    "--proxy-server=127.0.0.1:9",
    "--hide-scrollbars",
]
KEYS = {"Enter": 13, "Tab": 9, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39, " ": 32}
TIMEOUT = 120  # seconds for an answer


class Browser:
    """One tab; `events` are the messages of the page: (method, parameters)."""

    def __init__(self, profile: Path) -> None:
        to_child, self._write = os.pipe()
        self._read, from_child = os.pipe()
        # Chromium reads commands from file descriptor 3 and writes answers to 4.
        command = ["bash", "-c", f'exec "$@" 3<&{to_child} 4>&{from_child}', "bash", str(CHROMIUM), *OFFLINE]
        self._process = subprocess.Popen(
            [*command, f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"],
            pass_fds=(to_child, from_child), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        os.close(to_child)
        os.close(from_child)
        self._buffer, self._number, self._session = b"", 0, ""
        self.events: list[tuple[str, dict[str, Any]]] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        (page,) = (target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End every process of Chromium: one that is left writes into the profile while its owner deletes it."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        # The pipe ends when the last process that held it is gone.
        while select.select([self._read], [], [], TIMEOUT)[0] and os.read(self._read, 1 << 20):
            pass
        os.close(self._write)
        os.close(self._read)

    def _message(self) -> dict[str, Any]:
        end = time.monotonic() + TIMEOUT
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], max(end - time.monotonic(), 0))[0]:
                raise TimeoutError("Chromium did not answer.")
            part = os.read(self._read, 1 << 20)
            if not part:
                raise EOFError("Chromium ended.")
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(text)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the protocol and return its result; AssertionError if it fails."""
        self._number += 1
        session = {"sessionId": self._session} if self._session else {}
        command = {"id": self._number, "method": method, "params": parameters} | session
        left = json.dumps(command).encode() + b"\0"
        while left:
            left = left[os.write(self._write, left) :]
        while True:
            message = self._message()
            if message.get("id") == self._number:
                assert "error" not in message, (method, message)
                return message["result"]
            if "method" in message:
                self.events.append((message["method"], message["params"]))

    def open(self, page: Path, width: int, height: int = 900) -> None:
        """Open a page in a window of this size and wait until it is loaded."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        while "Page.loadEventFired" not in [method for method, _ in self.events]:
            message = self._message()
            self.events.append((message["method"], message["params"]))

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression, a promise's result included; AssertionError if it throws."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press keys of `KEYS`, one after the other, on the element with the focus."""
        for key in keys:
            text = {"Enter": "\r", " ": " "}.get(key, "")
            shared = {"key": key, "windowsVirtualKeyCode": KEYS[key], "code": key}
            self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **shared)
            self.call("Input.dispatchKeyEvent", type="keyUp", **shared)

    def type(self, text: str) -> None:
        """Type text into the element with the focus."""
        self.call("Input.insertText", text=text)

    def place(self, selector: str, x: float = 0.5, y: float = 0.5) -> dict[str, float]:
        """Scroll to the first element of a CSS selector and return a point of it in the window; x, y: 0 to 1."""
        return self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
            "e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect(); "
            f"return {{x: r.left + r.width * {x}, y: r.top + r.height * {y}}}; }})()"
        )

    def click(self, selector: str) -> None:
        """Click with the mouse in the middle of the first element of a CSS selector."""
        place = self.place(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def move(self, selector: str, x: float, y: float) -> None:
        """Move the mouse to a point of the first element of a CSS selector; x, y: 0 to 1."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", **self.place(selector, x, y))

    def complaints(self) -> list[str]:
        """Return errors and warnings of the console and violations of the content security policy."""
        found = []
        for method, values in self.events:
            if method == "Runtime.exceptionThrown":
                found.append(str(values["exceptionDetails"]))
            elif method == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
                found.append(values["entry"]["text"])
            elif method == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning"):
                found.append(str(values["args"]))
        return found

    def requests(self) -> list[str]:
        """Return the addresses of all requests but embedded data."""
        urls = [values["request"]["url"] for method, values in self.events if method == "Network.requestWillBeSent"]
        return [url for url in urls if not url.startswith("data:")]
