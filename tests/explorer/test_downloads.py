"""Files of a run to keep: whole, without texts unless an admin asks, and audited."""

import csv
import io
import json
import zipfile

import withstand
from explorer_web import auth, client, post, run_path, sign_in
from withstand.explorer import downloads
from withstand.report import bundle, write


def prompts_of(path):
    """What must not leave without texts; a scripted target's answers are fields of its spec."""
    return {case["chat"][-1]["text"] for case in withstand.load("kitchen", path).cases()}


def test_every_file_is_what_the_command_writes_and_holds_no_text(path, monkeypatch):
    monkeypatch.setattr(downloads, "pdf", lambda page, _: page.encode())
    hidden, run = prompts_of(path), withstand.load("kitchen", path)
    assert len(hidden) > 10
    with client(path, auth()) as web:
        sign_in(web, "vera")
        base = run_path(web)
        kept = {file.name: web.get(f"{base}/{file.name}") for file in downloads.DOWNLOADS}
        page = web.get(base).text
        denied = {file.name: post(web, f"{base}/{file.name}").status_code for file in downloads.DOWNLOADS}
    for name, answer in kept.items():
        assert answer.status_code == 200, name
        assert answer.headers["content-disposition"] == f'attachment; filename="kitchen-{name}"'
        assert f"{base}/{name}" in page
        assert not [text for text in hidden if text.encode() in answer.content], name
    for name, form in (("report.md", "md"), ("report.tex", "tex"), ("spec.toml", "toml"), ("cases.csv", "csv")):
        assert kept[name].content.decode() == write.render(run.store, run.row, form)
    assert json.loads(kept["summary.json"].text)["cells"] == run.cells
    assert "@" in kept["references.bib"].text
    with zipfile.ZipFile(io.BytesIO(kept["bundle.zip"].content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    assert not [wrong for _, wrong in bundle.verify(files, run.store) if wrong]
    assert set(denied.values()) <= {403, 405}
    assert run.store.audits(500)[-1]["subject"] == "kitchen, report.html without texts"
    assert len([row for row in run.store.audits(500) if row["action"] == "download"]) == len(kept)


def test_texts_need_an_admin_and_a_server_that_allows_them(path):
    with client(path, auth(), with_text=True) as web:
        sign_in(web, "lea")
        base = run_path(web)
        assert post(web, f"{base}/report.html").status_code == 403
        assert "download with texts" not in web.get(base).text
        sign_in(web, "adam")
        assert "grandfather" in post(web, f"{base}/cases.csv").text
        assert "grandfather" in "".join(map(str, csv.reader(io.StringIO(post(web, f"{base}/cases.csv").text))))
        assert post(web, f"{base}/report.html").status_code == 200
    rows = withstand.load("kitchen", path).store.audits()
    assert rows[0]["subject"].startswith("kitchen, report.html, ")
    assert rows[0]["subject"].endswith(" cases with texts")


def test_a_browser_that_is_not_there_is_a_message(path):
    with client(path, chromium="/nowhere/chromium") as web:
        answer = web.get(f"{run_path(web)}/report.pdf")
    assert answer.status_code == 400
    assert "cannot be started" in answer.text
