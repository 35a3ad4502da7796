"""A Markdown report of hostile names is text wherever it is shown: no HTML, link or picture begins in it."""

import re
from pathlib import Path

import pytest

import withstand
from withstand.audits import files
from withstand.report import write
from withstand.report.table import Column, Table
from withstand.store.store import Store

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)> ![x](http://a.invalid/x) | `</b>` &lt;i&gt; <!-- \\<u>"
MARKUP = re.compile(r"<[!/?A-Za-z]|(?<!\\)\[|&lt;i&gt;")
"""What begins HTML, a link or a picture; and an entity of the name itself, which would be read as a character."""


def test_a_report_and_a_gate_escape_hostile_names(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    spec = {
        "suite": "kitchen", "limit": 2, "benign": "none", "attack": {"use": "direct", "alias": EVIL[:60]},
        "target": {"use": "scripted", "rules": [], "reply": "No.", "alias": EVIL[60:]},
    }  # fmt: skip
    with Store(str(tmp_path / "s.db")) as store:
        run = withstand.run(spec, store=store, name=EVIL.replace("/", "")[:60])
        page = write.render(store, run.row, "md")
    assert "script" in page
    assert MARKUP.findall(page) == []
    summary = tmp_path / "gate.md"
    done = request.getfixturevalue("withstand")(
        "gate", run.row.name, "--max-asr", "0.5", "--markdown", summary, "--store", tmp_path / "s.db"
    )
    assert done.code in (0, 1, 3), done.err
    assert "script" in summary.read_text()
    assert MARKUP.findall(summary.read_text()) == []


def test_an_audit_escapes_every_part_of_its_page() -> None:
    table = Table([Column(EVIL)], [[EVIL]], title=EVIL, note=EVIL)
    page = files.markdown(EVIL, [EVIL], [(EVIL, EVIL)], [table], [(EVIL, [EVIL])])
    assert page.count("script") == 2 * 10
    assert MARKUP.findall(page) == []
