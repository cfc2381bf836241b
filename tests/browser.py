"""A headless Chromium that opens files and evaluates scripts in them, by the DevTools protocol over two pipes."""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --remote-debugging-pipe --hide-scrollbars"


class Browser:
    """One tab. `errors` collects exceptions, console errors and refusals of the content security policy."""

    def __init__(self, profile):
        to_child, self._write = os.pipe()
        self._read, from_child = os.pipe()
        flags = f"{_FLAGS} --user-data-dir={profile} about:blank"
        # The protocol is spoken on file descriptors 3 and 4.
        script = f"exec {CHROMIUM} {flags} 3<&{to_child} 4>&{from_child} >/dev/null 2>&1"
        self._process = subprocess.Popen(["bash", "-c", script], pass_fds=(to_child, from_child))
        os.close(to_child)
        os.close(from_child)
        self._number, self._buffer, self._session, self.errors = 0, b"", None, []
        (page,) = [one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        self._session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            found = self._receive()
            if found.get("id") == self._number:
                assert "error" not in found, f"{method}: {found}"
                return found["result"]
            self._note(found)

    def _receive(self):
        while b"\0" not in self._buffer:
            piece = os.read(self._read, 1 << 20)
            assert piece, "the browser has ended"
            self._buffer += piece
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event):
        match event:
            case {"method": "Runtime.exceptionThrown", "params": found}:
                self.errors.append(found["exceptionDetails"])
            case {"method": "Runtime.consoleAPICalled", "params": {"type": "error" | "warning"} as found}:
                self.errors.append(found["args"])
            case {"method": "Log.entryAdded", "params": {"entry": {"level": "error" | "warning"} as found}}:
                self.errors.append(found)

    def open(self, path, width=1280, height=900, dark=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call("Page.navigate", url=Path(path).resolve().as_uri())
        self.wait("document.readyState == 'complete' && document.getElementById('list')?.childElementCount > 0")

    def evaluate(self, script):
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, f"{script}: {found['exceptionDetails']}"
        return found["result"].get("value")

    def wait(self, script, seconds=20):
        end = time.monotonic() + seconds
        while not self.evaluate(script):
            assert time.monotonic() < end, script
            time.sleep(0.05)

    def press(self, key):
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text="\r" if key == "Enter" else "")
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def screenshot(self, path, full=True):
        found = self.call("Page.captureScreenshot", captureBeyondViewport=full)
        Path(path).write_bytes(base64.b64decode(found["data"]))

    def close(self):
        self._process.kill()
        self._process.wait()
        os.close(self._write)
        os.close(self._read)
