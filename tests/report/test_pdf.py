"""The report as a PDF: by a real browser where there is one, and clear words where there is none."""

import os
import re
import shutil
import stat
from pathlib import Path

import pytest

from withstand.core import SpecError
from withstand.report.pdf import BROWSERS, pdf

from .test_html import html, kitchen_run

CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), "")


@pytest.mark.skipif(not CHROMIUM, reason="NO BROWSER: no PDF was printed; put chromium on PATH or name it in CHROMIUM")
def test_a_pdf_of_the_whole_report() -> None:
    values, cases = kitchen_run()
    page = html(values, cases, len(cases))
    printed = pdf(page, CHROMIUM)
    assert printed.startswith(b"%PDF-")
    assert printed.rstrip().endswith(b"%%EOF")
    pages = max(map(int, re.findall(rb"/Count (\d+)", printed)))
    assert 5 <= pages <= 20


def test_without_a_browser_it_says_what_to_do(monkeypatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(
        SpecError, match="no browser was found to print a PDF with: looked on PATH for chromium"
    ) as caught:
        pdf("<p>page")
    assert caught.value.hint.startswith("install chromium or name one in CHROMIUM")
    with pytest.raises(SpecError, match="nowhere/chromium cannot be started: No such file"):
        pdf("<p>page", "/nowhere/chromium")


def test_a_browser_that_prints_nothing_is_quoted(tmp_path: Path) -> None:
    fake = tmp_path / "browser"
    fake.write_text("#!/bin/sh\necho first >&2\necho 'no usable display' >&2\nexit 7\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(SpecError, match="printed no PDF: no usable display"):
        pdf("<p>page", str(fake))
    fake.write_text("#!/bin/sh\nexit 7\n")
    with pytest.raises(SpecError, match="printed no PDF: exit code 7"):
        pdf("<p>page", str(fake))
