"""Reasons, errors and hints are texts, as prompts and completions are: no output that leaves texts out holds one."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

from explorer_web import client, post, replayed, run_path
from withstand import api
from withstand.core import dumps
from withstand.report import bundle, write
from withstand.report.packed import unpack
from withstand.results import labeling
from withstand.results.cases import cases
from withstand.store import tables
from withstand.store.store import Failure, Store

CANARIES = {name: f"canary{name}q7" for name in ("completion", "why", "error", "hint", "judged", "trace")}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Three cases: one judged, one that the judge failed on, one that the target failed on. All texts are canaries."""
    spec = {
        "suite": "kitchen", "limit": 3, "benign": "none", "attack": "direct",
        "target": {"use": "scripted", "rules": [], "reply": "{n}"},
    }  # fmt: skip
    with Store(str(tmp_path / "s.db")) as opened:
        run = api.run(spec, store=opened, name="r")
        w, r = tables.want.c, tables.row.c
        wants = opened.select(sql.select(w.stage, w.behavior, w.key).where(w.run == run.row.key))
        key_of = {(stage, behavior): key for stage, behavior, key in wants}
        gone = [key_of[3, 1], key_of[2, 2], key_of[3, 2]]
        values = {
            key_of[2, 0]: {"text": CANARIES["completion"], "finish": "stop"},
            key_of[3, 0]: {"outcome": "failure", "why": CANARIES["why"]},
        }
        kept = opened.select(sql.select(tables.row).where(r.key.in_(values)))
        with opened.engine.begin() as connection:
            connection.execute(sql.delete(tables.row).where(r.key.in_([*gone, *values])))
        opened.write({tables.row: [{**row._mapping, "value": dumps(values[row.key])} for row in kept]})
        opened.add(
            failures=[
                Failure(gone[0], 3, CANARIES["judged"], CANARIES["hint"], CANARIES["trace"]),
                Failure(gone[1], 2, f"{CANARIES['error']}: no", CANARIES["hint"], CANARIES["trace"]),
            ]
        )
        yield opened


def leaks(text: str) -> list[str]:
    """The canaries in a text, and in the packed blocks of a page."""
    blocks = [str(unpack(block)) for block in re.findall(r">(eJ[A-Za-z0-9+/=]+)<", text)]
    texts = "\n".join([text, *blocks])
    return [name for name, canary in CANARIES.items() if canary in texts]


def test_the_canaries_are_there_for_those_who_may_see_them(store: Store) -> None:
    [run] = store.runs()
    assert set(leaks(write.render(store, run, "csv", with_text=True))) == {"completion", "why", "error", "judged"}
    shown = {"completion", "why", "error", "judged", "hint"}
    assert set(leaks(write.render(store, run, "html", with_text=True))) == shown


@pytest.mark.parametrize("form", write.FORMATS)
def test_a_report_without_texts_has_none(store: Store, form: str) -> None:
    [run] = store.runs()
    if form != "pdf":  # which is made of the HTML
        assert leaks(write.render(store, run, form, with_text=False)) == []


def test_texts_in_a_page_are_hidden_until_asked_for(store: Store) -> None:
    """Each is a part of the case: a label, the text, a note; what stands in the open is the package's own words."""
    [run] = store.runs()
    page = write.render(store, run, "html", with_text=True)
    blocks = [unpack(block) for block in re.findall(r">(eJ[A-Za-z0-9+/=]+)<", page)]
    rows = [row for block in blocks[1:] for row in block]
    assert len(rows) == 3
    for row in rows:
        row[3] = row[4] = None  # prompt and answer, drawn under a cover
    assert leaks(str([rows, blocks[0]])) == []
    assert leaks(re.sub(r">eJ[A-Za-z0-9+/=]+<", "", page)) == []


def test_a_bundle_has_none(store: Store) -> None:
    [run] = store.runs()
    files = bundle.files_of(store, run, "0")
    assert {name: held for name, data in files.items() if (held := leaks(data.decode()))} == {}


def test_the_explorer_shows_none_before_it_is_asked(store: Store) -> None:
    [run] = store.runs()
    item = labeling.queue(store, run, "calibration")[0]
    labeling.add(store, run, item, "success", "ana", "calibration")
    with client(Path(store.path)) as web:
        base = run_path(web, "r")
        spots = [f"{case.cell}.{place}.0.0" for place, case in enumerate(cases(store, run))]
        paths = ["/", base, f"{base}/cases", f"{base}/label", f"{base}/compare", f"{base}/calibration", "/findings"]
        paths += [f"{base}/{page}" for page in ("cases.csv", "summary.json", "cases?text=oven", "cases?outcome=error")]
        paths += [f"{base}/cases/{spot}{tail}" for spot in spots for tail in ("", "/search", "/text?part=3")]
        for spot in spots:
            assert leaks(replayed(web, f"{base}/cases/{spot}/search")) == []
        answers: dict[str, Any] = {path: web.get(path) for path in paths}
        assert {path: held for path, answer in answers.items() if (held := leaks(answer.text))} == {}
        assert {answers[path].status_code for path in paths if "/text?" not in path} == {200}
        post(web, "/reveal", page=base, show="1")
        seen = {name for path in paths for name in leaks(web.get(path).text)}
        assert seen >= {"completion", "why", "error", "judged", "hint"}


@pytest.mark.parametrize("arguments", [("compare", "r", "other"), ("gate", "r", "--max-asr", "1"), ("runs",)])
def test_a_command_prints_none(withstand: Any, store: Store, arguments: tuple[str, ...]) -> None:
    spec = {"suite": "kitchen", "limit": 3, "target": "scripted-kitchen", "attack": "direct"}
    api.run(spec, store=store, name="other")
    done = withstand(*arguments, "--store", store.path)
    assert done.code in (0, 1, 3), done.err
    assert done.out
    assert leaks(done.out + done.err) == []
