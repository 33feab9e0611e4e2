"""Chromium through the DevTools protocol over two pipes: JSON messages, each ended by a zero byte."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import select
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.browsers.session import Session, end_group, needed
from tests.patience import PATIENCE_S

#: Nothing but the page itself: no updates, no safe browsing, no first-run pages; OpenGL in software.
FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--mute-audio",
    "--password-store=basic",
)
SOFTWARE_3D = ("--enable-unsafe-swiftshader", "--use-angle=swiftshader", "--ignore-gpu-blocklist")
NO_3D = ("--disable-3d-apis", "--disable-gpu")
#: Virtual key codes of the keys that tests press.
KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "ArrowUp": 38, "End": 35, "Home": 36, "Tab": 9}


class Chromium(Session):
    """A page in Chromium. ``dark`` asks for the dark scheme; ``width`` and ``height`` are those of the window."""

    def __init__(
        self,
        address: str,
        scratch: Path,
        *,
        webgl: bool = True,
        width: int = 1280,
        height: int = 900,
        dark: bool = False,
        script: bool = True,
    ) -> None:
        (program,) = needed("chromium")
        to_child, self._write = os.pipe()
        self._read, from_child = os.pipe()
        # out of the way of 3 and 4, where Chromium expects them
        high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20) for end in (to_child, from_child)]
        scratch.mkdir(parents=True, exist_ok=True)
        log = os.open(scratch / "chromium.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        root = ("--no-sandbox",) if os.geteuid() == 0 else ()
        flags = (*FLAGS, *(SOFTWARE_3D if webgl else NO_3D), *root, f"--user-data-dir={scratch}/profile", "about:blank")
        self._pid = os.posix_spawn(
            program,
            [program, *flags],
            {**os.environ, "HOME": str(scratch)},
            setsid=True,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, high[0], 3),
                (os.POSIX_SPAWN_DUP2, high[1], 4),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
            ],
        )
        for end in (to_child, from_child, *high, log):
            os.close(end)
        self._numbers = itertools.count(1)
        self._answers: dict[int, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._buffer = b""
        self._session: str | None = None
        self._requests: list[str] = []
        self._complaints: list[str] = []
        try:
            self._open(address, width, height, dark, script)
        except BaseException:
            self.close()
            raise

    def _open(self, address: str, width: int, height: int, dark: bool, script: bool) -> None:
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime", "Audits"):
            self._call(f"{domain}.enable")
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        if not script:
            self._call("Emulation.setScriptExecutionDisabled", value=True)
        self._call("Page.navigate", url=address)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def resize(self, width: int, height: int) -> None:
        """Another window size, in CSS pixels."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def emulate_print(self) -> None:
        """Lay the page out as on paper."""
        self._call("Emulation.setEmulatedMedia", media="print")

    @property
    def requests(self) -> list[str]:
        self._drain()
        return self._requests

    @property
    def complaints(self) -> list[str]:
        self._drain()
        return self._complaints

    def evaluate(self, expression: str) -> Any:
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def screenshot(self, file: Path, *, whole: bool = False) -> Path:
        answer = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(answer["data"]))
        return file

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self._mouse("mouseMoved", start)
        self._mouse("mousePressed", start)
        for step in range(1, 9):
            self._mouse("mouseMoved", tuple(a + (b - a) * step / 8 for a, b in zip(start, end, strict=True)))
        self._mouse("mouseReleased", end)

    def _mouse(self, kind: str, at: tuple[float, ...]) -> None:
        clicks = {} if kind == "mouseMoved" else {"clickCount": 1}
        self._call("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button="left", buttons=1, **clicks)

    def press(self, key: str) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key])

    def close(self) -> None:
        end_group(self._pid)
        for end in (self._read, self._write):
            os.close(end)

    # -- the wire ------------------------------------------------------------------------------------------------------

    def _call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + PATIENCE_S
        while number not in self._answers:
            if not self._receive(1.0) and time.monotonic() > end:
                pytest.fail(f"chromium did not answer {method}")
        answer = self._answers.pop(number)
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    def _drain(self) -> None:
        while self._receive(0.05):
            pass

    def _receive(self, wait_s: float) -> bool:
        """Take in what is there; False when nothing came."""
        if not select.select([self._read], [], [], wait_s)[0]:
            return False
        chunk = os.read(self._read, 1 << 20)
        if not chunk:
            pytest.fail("chromium has ended; see chromium.log in the test's folder")
        *whole, self._buffer = (self._buffer + chunk).split(b"\0")
        for text in whole:
            message = json.loads(text)
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self._heard(message["method"], message["params"])
        return True

    def _heard(self, method: str, facts: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self._requests.append(facts["request"]["url"][:200])
        elif method == "Log.entryAdded" and facts["entry"]["level"] == "error":
            self._complaints.append(facts["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            details = facts["exceptionDetails"]
            self._complaints.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and facts["type"] in ("error", "assert"):
            self._complaints.append(" ".join(str(item.get("value", item.get("description"))) for item in facts["args"]))
        elif method == "Audits.issueAdded" and facts["issue"]["code"] == "ContentSecurityPolicyIssue":
            self._complaints.append(json.dumps(facts["issue"]["details"]))
