"""The HTML report printed to PDF by a browser of this machine: the page that a person would print."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from withstand.core import SpecError

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
    "msedge",
)
"""Looked for on PATH, in this order. All print by the same switches."""

SECONDS = 180


def pdf(page: str, browser: str = "") -> bytes:
    """`page` as a PDF. browser: path of a Chromium; "" finds one. Raises `SpecError` if there is none or it fails."""
    program = browser or next(filter(None, map(shutil.which, BROWSERS)), "")
    if not program:
        raise SpecError(
            "no browser was found to print a PDF with: looked on PATH for " + ", ".join(BROWSERS),
            hint="install chromium or name one in CHROMIUM; or write the report as .html and print it from a browser",
        )
    with tempfile.TemporaryDirectory(prefix="withstand-", ignore_cleanup_errors=True) as folder:
        source, target = Path(folder, "report.html"), Path(folder, "report.pdf")
        source.write_text(page, encoding="utf-8")
        command = [
            program,
            *_SWITCHES,
            f"--user-data-dir={folder}/profile",
            f"--print-to-pdf={target}",
            source.as_uri(),
        ]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # it refuses to start for root; the page's own policy still holds
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise SpecError(f"{program} did not print the report in {SECONDS} s", hint=_HINT) from error
        except OSError as error:
            raise SpecError(f"{program} cannot be started: {error.strerror}", hint=_HINT) from error
        if not target.is_file():
            output = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
            raise SpecError(f"{program} printed no PDF: {output[:300]}", hint=_HINT)
        return target.read_bytes()


_HINT = "write the report as .html and print it from a browser"
_SWITCHES = (
    "--headless", "--disable-gpu", "--no-first-run", "--disable-extensions", "--disable-background-networking",
    "--disable-sync", "--no-pdf-header-footer", "--virtual-time-budget=20000",
)  # fmt: skip
