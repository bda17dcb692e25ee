"""A report in a real browser without a network: what its script does, what it says on the console, what it asks for."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.waiting import PATIENCE

# The first one has no windows, and starts in a third of the processor time.
_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in _NAMES if (path := shutil.which(name))), None)
LATER, DARK = "--virtual-time-budget=5000", "--blink-settings=preferredColorScheme=0"
_RESULT = re.compile(r'<pre id="self-test">(.*?)</pre>', re.DOTALL)
_OWN = re.compile(r"^(https?://)?[a-z0-9.-]*(google|googleapis|gvt1)\.com\b")
# A page has loaded when its last image has: one that the proxy keeps back until the page asks for the other.
_HOST = "http://held.test"
_HELD, _SETTLED = f"{_HOST}/held.svg", f"{_HOST}/settled.svg"
_PICTURE = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


class Proxy:
    """Counts what a browser asks of the world, and answers nothing but the two pictures that hold a page."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        asked, settled = self.asked, threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path not in (_HELD, _SETTLED):
                    asked.append(self.path)
                    self.send_error(502)
                    return
                if self.path == _SETTLED:
                    settled.set()
                settled.wait(PATIENCE)
                self.send_response(200)
                self.send_header("Content-Type", "image/svg+xml")
                self.send_header("Content-Length", str(len(_PICTURE)))
                self.end_headers()
                self.wfile.write(_PICTURE)

            do_CONNECT = do_POST = do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _allowed(element: str) -> str:
    """What the page's policy has to name, so that a script of ours runs beside its own."""
    content = element.removeprefix("<script>").removesuffix("</script>")
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


class CrashedError(RuntimeError):
    """Chromium itself was ended by a signal."""


def run_in_browser(
    report: Path, folder: Path, script: str, width: int = 1280, options: Sequence[str] = (), promised: bool = False
) -> tuple[Any, list[str], list[str]]:
    """Append a script to a copy of the report and run it. Its last expression is a function that returns plain data.

    options: more words of Chromium's command line. Without LATER, what the page asks of a network when it has been
    loaded may come too late to be seen.
    promised: the function returns a promise. It is called when the page has been read, and the page has loaded when
    the promise is kept, however long that takes: with LATER, Chromium's clock may run out before a picture is drawn.
    Returns what it returned, the errors of the page, and the addresses that were asked of a network. Chromium itself
    asks its maker for updates and the time; a page that names no such host cannot be the one who asks.
    """
    page = folder / "page.html"
    collect = "<script>window.faults = []; addEventListener('error', e => faults.push(String(e.message)));</script>"
    hold, settle = (f"new Image().src = '{address}';" if promised else "" for address in (_HELD, _SETTLED))
    moment = "DOMContentLoaded" if promised else "load"
    test = (
        f"<script>{hold} addEventListener('{moment}', async () => {{ let got; try {{ got = await ({script})(); }}"
        "catch (e) { faults.push(e.stack); } const pre = document.createElement('pre'); pre.id = 'self-test';"
        f"pre.textContent = JSON.stringify({{got, faults}}); document.body.appendChild(pre); {settle} }});</script>"
    )
    text = report.read_text().replace("script-src ", f"script-src {_allowed(collect)} {_allowed(test)} ", 1)
    if promised:
        text = text.replace("img-src ", f"img-src {_HOST} ", 1)
    page.write_text(text.replace("<style>", collect + "<style>", 1).replace("</body>", test + "</body>"))
    proxy = Proxy()
    try:
        done = subprocess.run(
            [*_command(folder, proxy.address, width), *options, page.as_uri()],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    finally:
        proxy.close()
    found = _RESULT.search(done.stdout)
    if found is None:
        crashed = done.returncode < 0 or done.returncode > 128  # its wrapper is a shell, which says 128 and the signal
        raise (CrashedError if crashed else RuntimeError)(f"the page did not run: {done.stderr[-2000:]}")
    answer = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return answer.get("got"), answer["faults"] + console, [asked for asked in proxy.asked if not _OWN.search(asked)]


def _command(folder: Path, proxy: str, width: int) -> list[str]:
    return [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--enable-logging=stderr",
        f"--user-data-dir={folder / 'profile'}",
        f"--proxy-server=http://{proxy}",
        "--proxy-bypass-list=<-loopback>",
        f"--window-size={width},900",
        "--dump-dom",
    ]
