"""Bundles: no text in them, figures that come out again, and every change of a file seen."""

import hashlib
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from withstand import api
from withstand.core import SpecError
from withstand.report import bundle
from withstand.results import labeling

TOYS = str(Path(__file__).parent.parent / "toys")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> api.Run:
    """Two attacks, two samples, a benign twin."""
    spec = {
        "suite": "kitchen", "limit": 8, "target": "scripted-kitchen", "samples": 2, "sampling": {"temperature": 1.0},
        "attack": ["story", {"use": "best_of_n", "n": 3}],
    }  # fmt: skip
    return api.run(spec, store=tmp_path_factory.mktemp("bundle") / "s.db", name="night")


@pytest.fixture(scope="module")
def files(run) -> dict[str, bytes]:
    return bundle.files_of(run.store, run.row, "1.2.3")


def resealed(files: dict[str, bytes], **changes: Any) -> dict[str, bytes]:
    """The files with changes, and a manifest that fits."""
    changed = files | {name.replace("_", "."): data for name, data in changes.items()}
    manifest = json.loads(files["manifest.json"])
    manifest["files"] = {n: hashlib.sha256(d).hexdigest() for n, d in changed.items() if n != "manifest.json"}
    return changed | {"manifest.json": json.dumps(manifest).encode()}


def wrong(checks):
    return [fault for _, faults in checks for fault in faults]


def test_a_bundle_is_true(run, files):
    checks = bundle.verify(files, run.store)
    assert wrong(checks) == []
    assert [name for name, _ in checks] == [
        "hashes of 5 files",
        f"figures of 3 cells, from {8 * (2 + 3 + 2)} cases",
        "verdicts of the report",
        f"cases against {run.store.where}",
    ]
    assert bundle.files_of(run.store, run.row, "1.2.3") == files


def test_no_text_is_in_it(run, files):
    texts = {case["completion"] for case in run.cases()} | {turn["text"] for c in run.cases() for turn in c["chat"]}
    texts |= {case["text"] for case in run.cases()}
    lines = {line.strip() for text in texts for line in text.splitlines() if len(line.strip()) > 25}
    lines = {line for line in lines if line not in str(run.row.plan)}  # the script of the target holds its answers
    assert len(lines) > 20
    whole = b"\n".join(files.values()).decode()
    assert [line for line in lines if line in whole] == []


def test_a_bundle_of_what_went_wrong(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(TOYS)
    sys.modules.pop("withstand_toys", None)
    import withstand_toys  # type: ignore[import-not-found,unused-ignore]

    spec = withstand_toys.spec_of_outcomes(tmp_path, 8, success=[0], unscored=[1], confused=[2], down=[3], filtered=[4])
    run = api.run(spec, store=tmp_path / "s.db")
    files = bundle.files_of(run.store, run.row, "1")
    assert wrong(bundle.verify(files, run.store)) == []
    rows = [json.loads(line) for line in files["cases.jsonl"].splitlines()]
    assert [row["outcome"] for row in sorted(rows, key=lambda row: row["behavior"])] == [
        "success", "unscored", "error", "error", "filtered", "refused", "refused", "refused",
    ]  # fmt: skip
    assert b"the oracle is down" not in files["cases.jsonl"]


def test_the_worst_case_is_checked_where_people_labeled_cases(tmp_path):
    """A bundle whose maker lowers what any attack broke, and says that people had labeled it so."""
    spec = {"suite": "kitchen", "limit": 6, "target": "scripted-kitchen", "attack": ["direct", "story"]}
    run = api.run(spec, store=tmp_path / "s.db")
    breaks = labeling.queue(run.store, run.row, "breaks")
    assert len(breaks) > 2
    for item, vote in zip(breaks, ("failure", "success"), strict=False):
        labeling.add(run.store, run.row, item, vote, "ana", "breaks")
    files = bundle.files_of(run.store, run.row, "1")
    assert wrong(bundle.verify(files, run.store)) == []
    [worst] = json.loads(files["summary.json"])["worst"]
    assert (worst["labeled"], worst["checked"]) == (2, 1)
    for name in ("rate", "broken", "labeled", "checked", "interval", "bounds", "attacks", "by_category"):
        summary = json.loads(files["summary.json"])
        (part,) = summary["worst"]
        if name in ("rate", "broken", "labeled", "checked"):
            part[name] = 0 if part[name] else 1
        elif name == "attacks":
            part[name] = dict.fromkeys(part[name], 0)
        elif name == "by_category":
            part[name][0]["rate"] += 0.1
        else:
            part[name][1] /= 2
        [fault] = wrong(bundle.verify(resealed(files, summary_json=json.dumps(summary).encode())))
        assert f"any attack on scripted-kitchen: {name} is " in fault
    rows = [json.loads(line) for line in files["cases.jsonl"].splitlines()]
    for row in rows:
        if row["outcome"] == "success":
            row["people"] = "failure"
    claimed = resealed(files, cases_jsonl="\n".join(map(json.dumps, rows)).encode())
    assert any("broken is " in fault for fault in wrong(bundle.verify(claimed)))
    assert any("people say otherwise in the store of" in fault for fault in wrong(bundle.verify(claimed, run.store)))
    labeling.add(run.store, run.row, breaks[2], "failure", "ana", "breaks")  # later, which makes no bundle wrong
    assert wrong(bundle.verify(files, run.store)) == []


@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_folder_and_zip_are_read_back(files, tmp_path, name):
    bundle.write(files, str(tmp_path / name))
    assert bundle.read(str(tmp_path / name)) == files
    if name.endswith(".zip"):
        first = (tmp_path / name).read_bytes()
        bundle.write(files, str(tmp_path / name))
        assert (tmp_path / name).read_bytes() == first


@pytest.mark.parametrize("name", ["summary.json", "cases.jsonl", "report.html", "spec.toml", "README.txt"])
def test_a_changed_file_is_seen(files, name):
    [fault] = wrong(bundle.verify(files | {name: files[name] + b"\n"}))
    assert fault == f"{name} is not what the manifest says"
    assert f"{name} is missing" in wrong(bundle.verify({n: d for n, d in files.items() if n != name}))[0]
    assert wrong(bundle.verify(files | {"more.txt": b""})) == ["more.txt is not in the manifest"]


@pytest.mark.parametrize(
    "name",
    ["success", "cases", "asr", "asr_interval", "asr_bounds", "asr_micro", "asr_at_k", "over_refusal", "by_category"],
)
def test_a_changed_figure_is_seen_even_where_the_hashes_fit(files, name):
    summary = json.loads(files["summary.json"])
    index = 2 if name == "over_refusal" else 0
    value = summary["cells"][index][name]
    if isinstance(value, list) and isinstance(value[0], dict):
        value[0]["asr"] = 0.123
    elif isinstance(value, list):
        value[0] += 0.001
    elif isinstance(value, dict):
        value["1"] += 0.001
    else:
        summary["cells"][index][name] += 0.001 if isinstance(value, float) else 1
    faults = wrong(bundle.verify(resealed(files, summary_json=json.dumps(summary).encode())))
    assert len(faults) == 1
    assert f": {name} is " in faults[0]


def test_a_changed_case_is_seen_against_the_store_even_where_all_else_fits(run, files):
    lines = files["cases.jsonl"].splitlines(keepends=True)
    lines[0] = lines[0].replace(b'"prompt":"', b'"prompt":"0')
    changed = resealed(files, cases_jsonl=b"".join(lines))
    assert wrong(bundle.verify(changed)) == []
    assert len(wrong(bundle.verify(changed, run.store))) == 2


def test_a_store_with_another_run_of_that_name(files, tmp_path):
    second = api.run(
        {"suite": "kitchen", "limit": 1, "target": "scripted-kitchen", "attack": "direct"},
        store=tmp_path / "s.db", name="night",
    )  # fmt: skip
    assert "has another plan" in wrong(bundle.verify(files, second.store))[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "FileNotFoundError"),
        (b"text", "is no zip file"),
        ({}, "KeyError"),
        ({"manifest.json": b"["}, "manifest.json, line 1, character 2"),
        ({"manifest.json": b"{}"}, "KeyError"),
        ({"manifest.json": b'{"withstand_bundle": 2}'}, "format 2"),
        ({"manifest.json": b'{"withstand_bundle": 1, "files": 3}'}, "TypeError"),
    ],
)
def test_what_is_no_bundle(tmp_path, content, words):
    path = tmp_path / "x.zip"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in content.items():
                archive.writestr(name, data)
    with pytest.raises(SpecError, match=words) as error:
        bundle.read(str(path))
    assert error.value.hint


def test_damaged_rows_are_told_and_no_traceback(files):
    for data in (b"{}\n", b"x\n", b'{"cell": 0, "key": 1}\n', b"[]\n"):
        assert "cannot be read" in wrong(bundle.verify(resealed(files, cases_jsonl=data)))[0]


def test_the_command(run, tmp_path, withstand):
    store = ("--store", run.store.where)
    code, out, err = withstand("bundle", *store)
    assert (code, "wrote night.zip" in err) == (0, True)
    sha256 = out.split()[-1]
    code, out, _ = withstand("bundle", "verify", "night.zip", *store, "--json")
    assert (code, json.loads(out)["sha256"], json.loads(out)["good"]) == (0, sha256, True)
    assert withstand("bundle", "night", "-o", "out", *store)[0] == 0
    (tmp_path / "out" / "spec.toml").write_text("x = 1\n")
    code, out, _ = withstand("bundle", "verify", "out")
    assert code == 1
    assert "hashes of 5 files: WRONG" in out
    code, _, err = withstand("bundle", "night", "-o", "out", *store)
    assert (code, "is not empty" in err) == (2, True)
    assert withstand("bundle", "nobody", *store)[0] == 2
