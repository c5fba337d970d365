"""Headless Chromium over a pipe: real clicks and keys, sizes, schemes, screenshots; nothing from the network."""

import base64
import itertools
import json
import os
import shutil
import subprocess
from fcntl import F_DUPFD_CLOEXEC, fcntl

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
CODES = {"Enter": ("\r", 13), " ": (" ", 32), "Tab": ("", 9), "Home": ("", 36), "End": ("", 35)}
CODES |= {"ArrowRight": ("", 39), "ArrowLeft": ("", 37), "ArrowDown": ("", 40)}


class Chromium:
    """One browser process; every page gets a tab of its own."""

    def __init__(self, profile):
        pipes = [*os.pipe(), *os.pipe()]
        read, self.to_browser, self.from_browser, write = (fcntl(end, F_DUPFD_CLOEXEC, 10) for end in pipes)

        def wire():
            os.dup2(read, 3)
            os.dup2(write, 4)

        self.process = subprocess.Popen(
            [CHROMIUM, *FLAGS, f"--user-data-dir={profile}"],
            preexec_fn=wire,
            close_fds=False,
            stderr=subprocess.DEVNULL,
        )
        for end in (*pipes, read, write):
            os.close(end)
        self.numbers, self.buffer, self.events = itertools.count(1), b"", []

    def call(self, method, session=None, **params):
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        while (answer := self.read()).get("id") != number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def read(self):
        while b"\0" not in self.buffer:
            part = os.read(self.from_browser, 1 << 20)
            assert part, "the browser has ended"
            self.buffer += part
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def open(self, path, **options):
        return Page(self, path, **options)

    def close(self):
        self.call("Browser.close")
        self.process.wait(timeout=20)
        os.close(self.to_browser)
        os.close(self.from_browser)


class Page:
    """One page of a width, in light or dark, with or without script."""

    def __init__(self, browser, path, *, width=1200, height=900, is_dark=False, has_script=True):
        self.browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.resize(width, height)
        self.emulate("screen", is_dark=is_dark)
        self.call("Emulation.setScriptExecutionDisabled", value=not has_script)
        browser.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not any(e.get("method") == "Page.loadEventFired" for e in browser.events):
            browser.events.append(browser.read())

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def resize(self, width, height):
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def emulate(self, media, *, is_dark=False):
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def see(self, expression):
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def texts(self, selector):
        wanted = json.dumps(selector)
        return self.see(f"Array.from(document.querySelectorAll({wanted}), (e) => e.innerText.trim())")

    def click(self, selector):
        wanted = json.dumps(selector)
        box = self.see(
            f"(() => {{const e = document.querySelector({wanted}); e.scrollIntoView({{block: 'center', behavior: "
            "'instant'}); const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]})()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def focus(self, selector):
        self.see(f"document.querySelector({json.dumps(selector)}).focus()")

    def press(self, key):
        text, code = CODES[key]
        options = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", **options, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **options)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def console(self):
        self.see("0")
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [e["params"] for e in self.browser.events if e.get("method") in kinds]

    def screenshot(self, path, *, is_whole=False):
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=is_whole)
        path.write_bytes(base64.b64decode(shot["data"]))
        return path
