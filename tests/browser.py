"""A headless Chromium for tests, spoken to by its DevTools protocol over one web socket."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_S = 60.0
LISTENING = re.compile(rb"DevTools listening on (ws://\S+)")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # tests may be root's, in a container
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",  # who asks for the microphone gets it, and no other than a fake one
    "--use-fake-device-for-media-stream",
    "--remote-debugging-port=0",
)


class Page:
    """One tab. `complaints`: what its console got that is an error, violations of its policy among them."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._last_id = socket, 0
        self._session: dict[str, str] = {}  # of the browser itself until there is one
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": session}
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, /, **parameters: Any) -> dict[str, Any]:
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": parameters, **self._session}
        self._socket.send(json.dumps(message))
        while True:
            told = json.loads(self._socket.recv(PATIENCE_S))
            self._hear(told)
            if told.get("id") == self._last_id:
                assert "error" not in told, told
                result: dict[str, Any] = told["result"]
                return result

    def _hear(self, told: dict[str, Any]) -> None:
        method, facts = told.get("method"), told.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(facts["exceptionDetails"]))
        elif method == "Log.entryAdded" and facts["entry"]["level"] == "error":
            self.complaints.append(f"{facts['entry']['text']} {facts['entry'].get('url', '')}")

    def run(self, expression: str) -> Any:
        """The value of an expression, awaited."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """Its value, as soon as that is true."""
        deadline = time.monotonic() + PATIENCE_S
        while not (value := self.run(expression)):
            assert time.monotonic() < deadline, f"never came true: {expression}; {self.complaints}"
            time.sleep(0.05)
        return value

    def open(self, url: str) -> None:
        """A new document, even where only the part after # differs."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=url)
        self.wait_for("location.href !== 'about:blank' && document.readyState === 'complete'")

    def reload(self) -> None:
        self.run("window.isOld = true")
        self.call("Page.reload")
        self.wait_for("!window.isOld && document.readyState === 'complete'")

    def click(self, selector: str) -> None:
        self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def choose_file(self, selector: str, path: Path) -> None:
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def drag_file(self, selector: str, path: Path, *events: str) -> None:
        """As from another window. events: dragEnter, dragOver, drop."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{element}.scrollIntoView({{ block: 'center' }})")
        box = self.run(f"{element}.getBoundingClientRect().toJSON()")
        place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for event in events:
            self.call("Input.dispatchDragEvent", type=event, data=data, **place)

    def press(self, key: str, code: int, text: str = "") -> None:
        """A key of the keyboard, and what it writes."""
        facts = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **facts)
        self.call("Input.dispatchKeyEvent", type="keyUp", **facts)

    def look(self, width: int, height: int) -> None:
        """On a screen of this size; a narrow one is a phone's."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **screen)
        self.call("Emulation.setTouchEmulationEnabled", enabled=width < 600)

    def photograph(self, path: Path, *, width: int = 900, height: int = 1_000, scheme: str = "light") -> None:
        """For those who want to see it."""
        self.look(width, height)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        path.write_bytes(b64decode(self.call("Page.captureScreenshot")["data"]))


@contextmanager
def browsing(*options: str) -> Iterator[Page]:
    """Skips the test where there is no browser. options: more of them."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("needs a browser: apt-get install chromium")
    with tempfile.TemporaryDirectory(prefix="audiorec-browser-", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [program, *OPTIONS, *options, f"--user-data-dir={folder}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "HOME": folder},
        )
        assert process.stderr is not None
        try:
            found = next(filter(None, map(LISTENING.search, process.stderr)), None)
            assert found is not None, "the browser has ended"
            with connect(found[1].decode(), max_size=None) as socket:
                yield Page(socket)
        finally:
            process.kill()
            process.wait()
            process.stderr.close()
