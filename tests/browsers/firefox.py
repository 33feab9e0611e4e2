"""Firefox through Marionette: JSON over a local socket, each message after its length in ASCII and a colon."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browsers.session import Session, end_group, needed, waited
from tests.patience import PATIENCE_S

#: No first-run pages, no background traffic; pages on disk keep to themselves, as in a fresh profile of anybody.
PREFERENCES: dict[str, Any] = {
    "marionette.port": 0,
    "security.fileuri.strict_origin_policy": True,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "browser.aboutwelcome.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.enabled": False,
    "app.update.enabled": False,
    "app.normandy.enabled": False,
    "messaging-system.log": "off",  # complains about the missing network in the same words as a page would
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "extensions.getAddons.cache.enabled": False,
    "gfx.color_management.mode": 0,
    "devtools.console.stdout.content": True,  # what the page says to its console lands in the log
    "devtools.console.stdout.chrome": False,
    "webgl.force-enabled": True,
}
#: Runs in the browser itself: notes every connection that a page (not the browser's own services) asks for.
WATCH = """
const asked = Services.wm.getMostRecentWindow("navigator:browser").meshdropAsked = [];
Services.obs.addObserver(subject => {
  const channel = subject.QueryInterface(Ci.nsIHttpChannel);
  if (channel.loadInfo.browsingContextID) asked.push(channel.URI.spec);
}, "http-on-opening-request");
"""
ASKED = 'return Services.wm.getMostRecentWindow("navigator:browser").meshdropAsked;'
SAID = """
return Services.console.getMessageArray().map(one => {
  try { const error = one.QueryInterface(Ci.nsIScriptError);
        if (error.flags & Ci.nsIScriptError.warningFlag) return ["", ""];
        return [error.sourceName + " " + error.category, error.errorMessage]; }
  catch { return ["", String(one.message)]; }
});
"""
KEYS = {
    "ArrowRight": "\ue014",
    "ArrowLeft": "\ue012",
    "ArrowUp": "\ue013",
    "End": "\ue010",
    "Home": "\ue011",
    "Tab": "\ue004",
}


@contextlib.contextmanager
def display() -> Iterator[str]:
    """A screen that nobody sees: without one Firefox has no WebGL."""
    (program,) = needed("Xvfb")
    read, write = os.pipe()
    pid = os.posix_spawn(
        program,
        [program, "-displayfd", "9", "-screen", "0", "1400x1100x24", "-nolisten", "tcp"],
        os.environ,
        setsid=True,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, write, 9),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ],
    )
    os.close(write)
    try:
        if not select.select([read], [], [], PATIENCE_S)[0] or not (number := os.read(read, 16).strip()):
            pytest.fail("Xvfb did not start")
        yield f":{number.decode()}"
    finally:
        os.close(read)
        end_group(pid)


class Firefox(Session):
    """A page in Firefox on a screen of its own; ``webgl=False`` switches it off as a preference."""

    def __init__(
        self, address: str, scratch: Path, *, webgl: bool = True, width: int = 1280, height: int = 900
    ) -> None:
        (program,) = needed("firefox-esr")
        self._stack = contextlib.ExitStack()
        screen = self._stack.enter_context(display())
        self._address, self._log = address, scratch / "firefox.log"
        profile = scratch / "profile"
        profile.mkdir(parents=True)
        preferences = {**PREFERENCES, "webgl.disabled": not webgl}
        lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items())
        (profile / "user.js").write_text("".join(lines), encoding="utf-8")
        arguments = [
            program,
            "--marionette",
            "--remote-allow-system-access",
            "--no-remote",
            "--profile",
            str(profile),
            "--width",
            str(width),
            "--height",
            str(height),
            "about:blank",
        ]
        log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        environment = {
            **os.environ,
            "DISPLAY": screen,
            "HOME": str(scratch),
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "MOZ_CRASHREPORTER_DISABLE": "1",
        }
        environment.pop("WAYLAND_DISPLAY", None)
        self._pid = os.posix_spawn(
            program,
            arguments,
            environment,
            setsid=True,
            file_actions=[(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)],
        )
        os.close(log)
        self._stack.callback(end_group, self._pid)
        self._numbers = itertools.count(1)
        try:
            self._open(profile)
        except BaseException:
            self.close()
            raise

    def _open(self, profile: Path) -> None:
        told = profile / "MarionetteActivePort"
        port = int(waited(lambda: told.exists() and told.read_text(), "Firefox to open its port"))
        self._socket = self._stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        self._socket.settimeout(PATIENCE_S)
        self._stream = self._stack.enter_context(self._socket.makefile("rb"))
        self._message()  # it introduces itself first
        self._call("WebDriver:NewSession", capabilities={"alwaysMatch": {"pageLoadStrategy": "normal"}})
        self._call("WebDriver:SetTimeouts", script=int(PATIENCE_S * 1000), pageLoad=int(PATIENCE_S * 1000))
        self._in_browser(WATCH)
        self._call("WebDriver:Navigate", url=self._address)

    @property
    def requests(self) -> list[str]:
        over_network = self._in_browser(ASKED)
        loaded = self.evaluate("performance.getEntriesByType('resource').map(entry => entry.name.slice(0, 200))")
        return [self.evaluate("location.href"), *over_network, *loaded]

    @property
    def complaints(self) -> list[str]:
        own = Path(self._address).name
        said = [text for where, text in self._in_browser(SAID) if own in where or "Content-Security" in text]
        logged = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return said + [line for line in logged if line.startswith("console.error")]

    def evaluate(self, expression: str) -> Any:
        script = f"const done = arguments[0]; (async () => ({expression}))().then(done, why => done('failed: ' + why));"
        return self._call("WebDriver:ExecuteAsyncScript", script=script, args=[], sandbox=None)["value"]

    def screenshot(self, file: Path, *, whole: bool = False) -> Path:
        answer = self._call("WebDriver:TakeScreenshot", full=whole)
        file.write_bytes(base64.b64decode(answer["value"]))
        return file

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        move = {"type": "pointerMove", "duration": 0, "origin": "viewport"}
        way = [
            {
                **move,
                "x": round(start[0] + (end[0] - start[0]) * k / 8),
                "y": round(start[1] + (end[1] - start[1]) * k / 8),
                "duration": 30,
            }
            for k in range(1, 9)
        ]
        steps = [
            {**move, "x": round(start[0]), "y": round(start[1])},
            {"type": "pointerDown", "button": 0},
            *way,
            {"type": "pointerUp", "button": 0},
        ]
        self._call("WebDriver:PerformActions", actions=[{"type": "pointer", "id": "mouse", "actions": steps}])

    def press(self, key: str) -> None:
        steps = [{"type": kind, "value": KEYS[key]} for kind in ("keyDown", "keyUp")]
        self._call("WebDriver:PerformActions", actions=[{"type": "key", "id": "keys", "actions": steps}])

    def close(self) -> None:
        self._stack.close()

    # -- the wire ------------------------------------------------------------------------------------------------------

    def _in_browser(self, script: str) -> Any:
        self._call("Marionette:SetContext", value="chrome")
        try:
            return self._call("WebDriver:ExecuteScript", script=script, args=[])["value"]
        finally:
            self._call("Marionette:SetContext", value="content")

    def _call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        text = json.dumps([0, number, method, parameters]).encode()
        self._socket.sendall(b"%d:%s" % (len(text), text))
        while True:
            message = self._message()
            if isinstance(message, list) and message[:2] == [1, number]:
                if message[2] is not None:
                    raise AssertionError(f"{method}: {message[2]}")
                return message[3]

    def _message(self) -> Any:
        digits = b""
        while (byte := self._stream.read(1)) != b":":
            if not byte:
                pytest.fail("firefox has ended; see firefox.log in the test's folder")
            digits += byte
        return json.loads(self._stream.read(int(digits)))
