"""A headless Chromium for tests of a page: its document after the scripts ran, or a screenshot. No other program."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
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
    "--force-device-scale-factor=1",
    "--enable-logging=stderr",
    "--log-level=0",
    "--virtual-time-budget=3000",
)


@dataclass
class Chromium:
    """Opens pages from the disk, as a user does with a double click."""

    profile: Path

    def document(self, page: Path, chosen: str = "") -> str:
        """The document of a page as it stands after loading; fails where the page complained."""
        return self._run(page, chosen, "--dump-dom").stdout

    def screenshot(self, page: Path, chosen: str = "", size: tuple[int, int] = (1400, 900)) -> np.ndarray:
        """(height, width, 3) uint8."""
        file = self.profile.parent / "screenshot.png"
        self._run(page, chosen, f"--screenshot={file}", f"--window-size={size[0]},{size[1]}")
        with Image.open(file) as image:
            return np.asarray(image.convert("RGB"))

    def evaluated(self, page: Path, script: str, chosen: str = "") -> Any:
        """What a script, the body of an async function, returns once the page is loaded.

        It is put into a copy of the page; as the page's policy would stop it, the copy goes without.
        """
        text, found = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text("utf-8"))
        assert found == 1
        checks = (
            "<script>(async () => { try { return await (async () => {" + script + "})(); }"
            " catch (error) { return {error: String(error.stack)}; } })().then((value) =>"
            " document.documentElement.setAttribute('data-check', JSON.stringify(value)));</script></body>"
        )
        copy = page.with_name(f"checked_{page.name}")
        copy.write_text(text.replace("</body>", checks), encoding="utf-8")
        match = re.search(r'<html[^>]* data-check="([^"]*)"', self.document(copy, chosen))
        assert match is not None, "the script did not come to its end"
        value = json.loads(unescape(match[1]))
        assert not (isinstance(value, dict) and "error" in value), value
        return value

    def _run(self, page: Path, chosen: str, *flags: str) -> subprocess.CompletedProcess[str]:
        assert PROGRAM is not None
        shutil.rmtree(self.profile, ignore_errors=True)
        address = page.absolute().as_uri() + (f"#{chosen}" if chosen else "")
        command = [PROGRAM, *FLAGS, f"--user-data-dir={self.profile}", *flags, address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        assert not complaints, complaints
        return done
