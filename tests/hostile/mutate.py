"""Changes small valid files as accidents and strangers do, from a seed, and tells what each reader made of the change.

python tests/hostile/mutate.py [NUMBER] [SEED]      what `make hostile` runs: 10,000 changes, exit code 1 on a failure
"""

import io
import json
import random
import shutil
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from withstand.core import Message, WithstandError, to_json
from withstand.explorer import security
from withstand.formats import finetuning, harmbench, jailbreakbench, labels, published
from withstand.formats.recorded import chat_of, tag_of
from withstand.redteam.coverage import cells as coverage
from withstand.redteam.findings import sheet_files, sheet_import, sheets
from withstand.redteam.incidents import records as incidents
from withstand.redteam.lifecycle import file as lifecycle
from withstand.redteam.lifecycle import pilots
from withstand.redteam.plan import check as plan_check
from withstand.redteam.plan import records as plan
from withstand.redteam.policy import check as policy_check
from withstand.registry import find
from withstand.report import bundle
from withstand.results import baselines, cases, summary
from withstand.runner import spec, transfer
from withstand.store.attempts import Attempt, Rating, Turn
from withstand.store.store import Store

GOLDEN = Path(__file__).parent.parent / "golden"
RED_TEAM = Path(__file__).parent.parent.parent / "examples" / "redteam"

# --- changes -----------------------------------------------------------------------------------------------------

INSERTED = (
    b"\0", b"\xef\xbb\xbf", b"\xff\xfe", rb"\ud800", b"\xed\xa0\x80", b"9" * 400, b"1e999", b"NaN", b"-1", b"[" * 500,
    b'{"a":' * 200, b"\r", b'"', b"'''", b"\\", b"=", b",", b".a" * 300, b"\xe2\x80\xae", b"null", b"{}", b"[]",
)  # fmt: skip
OTHERS = (None, True, 0, -1, 10**30, 1.5, "", "x", "\ud800", [], {}, [[]], [None], {"a": {}}, ["x"], "9" * 50)


def changed(data: bytes, draw: random.Random) -> bytes:
    """The data after one to three changes."""
    for _ in range(draw.randint(1, 3)):
        data = draw.choice((truncated, flipped, inserted, doubled, deleted, retyped, retyped, retyped))(data, draw)
    return data


def truncated(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def flipped(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.randint(1, 4) if data else 0):
        changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def inserted(data: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(data) + 1)
    return data[:place] + draw.choice(INSERTED) + data[place:]


def doubled(data: bytes, draw: random.Random) -> bytes:
    lines = data.split(b"\n")
    place = draw.randrange(len(lines))
    return b"\n".join([*lines[: place + 1], *lines[place:]])


def deleted(data: bytes, draw: random.Random) -> bytes:
    lines = data.split(b"\n")
    del lines[draw.randrange(len(lines))]
    return b"\n".join(lines)


def retyped(data: bytes, draw: random.Random) -> bytes:
    """One value of the JSON, or of one line of JSON, replaced by one of another type, or left out."""
    lines = data.split(b"\n")
    place = draw.randrange(len(lines))
    for text, joined in ((data, lambda new: new), (lines[place], lambda new: b"\n".join([*lines[:place], new]))):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            continue
        spots = list(_spots(value))
        if spots:
            holder, name = draw.choice(spots)
            if draw.random() < 0.2:
                del holder[name]
            else:
                holder[name] = draw.choice(OTHERS)
        return joined(json.dumps(value).encode())
    return data


def _spots(value: Any) -> Iterator[tuple[Any, Any]]:
    names = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    for name in names:
        yield value, name
        yield from _spots(value[name])


# --- files and their readers -------------------------------------------------------------------------------------

CHATS = {
    "openai": {"messages": [{"role": "system", "content": "Cook."}, {"role": "user", "content": "Bread?"},
                            {"role": "assistant", "content": "Flour.", "weight": 1}]},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "Bread?"}]},
                           {"role": "assistant", "content": "Flour."}]},
    "sharegpt": {"conversations": [{"from": "human", "value": "Bread?"}, {"from": "gpt", "value": "Flour."}]},
    "preference": {"prompt": "Bread?", "chosen": [{"role": "assistant", "content": "Flour."}], "rejected": "Nails."},
    "alpaca": {"instruction": "Bread?", "input": "Rye.", "output": "Flour."},
}  # fmt: skip
VALIDATION = {"test_case": "Bread?", "generation": "Flour.", "human_0": 1, "human_1": 0}
LABELS = {
    "text": "Bread?",
    "behavior": "bread",
    "completion": "Flour.",
    "label_1": "yes",
    "label_2": "no",
    "target": "m",
}
HARMBENCH = {"bread": [{"test_case": "Bread?", "generation": "Flour.", "label": 1}], "rice": []}
JAILBREAKS = {
    "parameters": {"method": "PAIR", "model": "m", "method_parameters": {"max_tokens": 150}},
    "jailbreaks": [{"behavior": "bread", "goal": "Bread?", "category": "c", "prompt": "Bake.", "response": "Flour.",
                    "jailbroken": True}],
}  # fmt: skip
CASES = {"bread": ["Bread?", [{"role": "user", "content": "Bake."}]], "rice": []}
SUITE = {"id": "bread", "text": "Bread?", "category": "c", "tags": ["a", "b"]}
STRATEGY = {"strategy": "s", "definition": "d", "example": "e", "rise": 0.5, "answer": "a"}
TOKENS = '[[person]]\nname = "ada"\nrole = "admin"\ntoken = "0123456789abcdef0123"\n'


def lines(*values: Any) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def parquet() -> bytes:
    import pyarrow
    from pyarrow import parquet as writer

    buffer = io.BytesIO()
    writer.write_table(pyarrow.Table.from_pylist([CHATS["alpaca"]] * 3), buffer)
    return buffer.getvalue()


def packed(data: bytes, draw: random.Random) -> bytes:
    """A bundle or a workbook with one of its files changed, or the bytes of the whole."""
    if draw.random() < 0.3:
        return changed(data, draw)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    often = [name for name in files if name in ("cases.jsonl", "summary.json") or name.startswith("xl/worksheets/")]
    name = draw.choice([*files, *often * len(files)])
    files[name] = changed(files[name], draw)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def read_store(path: str) -> None:
    with Store(path, create=False) as store:
        for run in store.runs():
            summary.summarize(store, run).to_json()
            list(cases.cases(store, run))


def read_baseline(path: str) -> None:
    with closing(Store(str(Path(path).with_name("empty.db")))) as store:
        for cell in baselines.side_of(store, path).cells:
            cell.columns()
            hash((cell.suite, cell.target, cell.defense, cell.attack, cell.judge_key, cell.measures))


def read_person(path: str) -> None:
    Path(path).chmod(0o600)
    security.read_people(path)


ATTEMPT = Attempt(
    "F-1", (Turn("user", "Bread?"),), "Flour.", "harmful", "m1", 1.77e9, 1.77e9, plan="kitchen-assistant-spring",
    round="r1", layer="base", harm="baking", severity=3, ratings=(Rating("m2", 2, 1.77e9),), due="2026-03-01",
)  # fmt: skip
CASE = {
    "id": "F-1", "text": "Bread?", "category": "c", "parent": "F-1", "judge": "kitchen", "status": "accepted",
    "tags": [tag_of([Message("user", "Hi"), Message("assistant", "Hello."), Message("user", "Bread?")])],
}  # fmt: skip
INCIDENT = """schema = "withstand.incident/1"
revision = 1
[incident]
opened = 2026-02-03T10:00:00Z
first_event = 2026-02-01
detected_by = "report"
category = "uncovered"
foreseen = "no"
severity = 3
harm_described = "recipes for guests"
actors = 12
[[incident.response]]
ts = 2026-02-03T11:00:00Z
action = "the filter was mended"
means = "block"
"""
LIFECYCLE = """schema = "withstand.lifecycle/1"
[system]
name = "Kitchen"
owner = "mara"
targets = ["scripted-kitchen"]
[[intended]]
status = "research"
use = "answers cooks"
since = 2026-01-10
[[item]]
id = "baseline"
status = "done"
owner = "mara"
date = 2026-02-02
expires = 2026-12-31
evidence = ["gate:release", "https://kitchen.example/report"]
[[pilot]]
id = "long-answers"
use_case = "menus"
owner = "mara"
population = "cooks"
cap = 400
hypothesis = "long answers are used as short ones are"
starts = 2026-02-01
ends = 2026-03-01
stop = { above = 0.05, severe = 1 }
success = { below = 0.02, least = 200 }
[[pilot.count]]
date = 2026-02-10
users = 100
violating = 0
violations = 0
severe = 0
"""


@cache
def the_plan() -> plan.Plan:
    return plan.read_plan(RED_TEAM / "plan.toml")


def read_plan(path: str) -> None:
    """With what commands make of it: the check without targets, and the cells."""
    content = plan.read_plan(path)
    if not any(problem.level == "error" for problem in plan_check.check(content, None, targets=False)):
        coverage.coverage(None, content)


def read_lifecycle(path: str) -> None:
    content = lifecycle.read_lifecycle(path, evidence=True)
    list(lifecycle.warnings(content, date(2026, 2, 20)))
    for pilot in content.pilots:
        pilots.judge(pilot, date(2026, 2, 20))


def read_sheet(path: str) -> None:
    with closing(Store(str(Path(path).with_name("empty.db")))) as store:
        sheet_import.planned(store, the_plan(), path, "ada", 1.78e9)


def formats() -> dict[str, tuple[str, bytes, Callable[[str], Any], Callable[..., bytes]]]:
    """By name: how the file is called, a valid one, its reader, and what changes it."""
    golden = {name: (GOLDEN / name).read_bytes() for name in ("baseline.json", "bundle.zip", "old-store.sqlite")}
    tune: Callable[[str], Any] = lambda path: finetuning.read(path).training()  # noqa: E731
    every: dict[str, tuple[str, bytes, Callable[[str], Any], Callable[..., bytes]]] = {
        f"fine-tuning, {name}": ("rows.jsonl", lines(row, row), tune, changed) for name, row in CHATS.items()
    }
    table = b'prompt,completion\n"Bread?\nRye?",Flour.\nRice?,Water.\n'
    exported = [sheets.row_of(ATTEMPT), sheets.row_of(ATTEMPT) | {"id": ""}]
    suite = b"id,text,category\nbread,Bread?,c\nrice,Rice?,c\n"
    return every | {
        "fine-tuning, list": ("rows.json", json.dumps([CHATS["openai"]] * 2).encode(), tune, changed),
        "fine-tuning, csv": ("rows.csv", table, tune, changed),
        "fine-tuning, parquet": ("rows.parquet", parquet(), tune, changed),
        "labels, jsonl": ("l.jsonl", lines(LABELS, LABELS), lambda path: labels.read_labels(path, {}), changed),
        "labels, json": (
            "l.json", json.dumps({"bread": [LABELS]}).encode(), lambda path: labels.read_labels(path, {}), changed,
        ),
        "labels, csv": (
            "l.csv", b"text,completion,label\nBread?,Flour.,yes\n", lambda path: labels.read_labels(path, {}), changed,
        ),
        "labels, harmbench": ("v.json", json.dumps({"bread": [VALIDATION]}).encode(), published.harmbench, changed),
        "labels, jailbreakbench": (
            "j.csv", b"goal,target_response,human1,human2\nBread?,Flour.,1,0\n", published.jailbreakbench, changed,
        ),
        "harmbench": ("m.json", json.dumps(HARMBENCH).encode(), harmbench.read, changed),
        "jailbreakbench": ("j.json", json.dumps(JAILBREAKS).encode(), lambda p: jailbreakbench.read((p,)), changed),
        "test cases": ("c.json", json.dumps(CASES).encode(), transfer.cases_file, changed),
        "suite, csv": ("s.csv", suite, lambda p: find.build("suite", {"use": "csv", "path": p}).load(), changed),
        "suite, jsonl": (
            "s.jsonl", lines(SUITE, {**SUITE, "id": "rice"}),
            lambda p: find.build("suite", {"use": "jsonl", "path": p, "tags": "tags"}).load(), changed,
        ),
        "spec": (
            "r.toml", (GOLDEN / "specs" / "searches.toml").read_bytes(),
            lambda path: spec.run_spec(spec.read_spec(path)).written(), changed,
        ),
        "baseline": ("b.json", golden["baseline.json"], read_baseline, changed),
        "bundle": ("b.zip", golden["bundle.zip"], lambda path: bundle.verify(bundle.read(path)), packed),
        "tokens": ("t.toml", TOKENS.encode(), read_person, changed),
        "plan": ("plan.toml", (RED_TEAM / "plan.toml").read_bytes(), read_plan, changed),
        "policy": ("policy.toml", (RED_TEAM / "policy.toml").read_bytes(), policy_check.check, changed),
        "lifecycle": ("lifecycle.toml", LIFECYCLE.encode(), read_lifecycle, changed),
        "incident": ("incident.toml", INCIDENT.encode(), incidents.read_incident, changed),
        "findings, csv": ("f.csv", sheet_files.write("f.csv", exported), read_sheet, changed),
        "findings, xlsx": ("f.xlsx", sheet_files.write("f.xlsx", exported), read_sheet, packed),
        "findings, cases": (
            "c.jsonl", lines(CASE, CASE | {"id": "F-2", "judge": "canary:x"}),
            lambda p: [chat_of(case) for case in find.build("suite", {"use": "findings", "path": p}).load()], changed,
        ),
        "findings, jsonl": ("f.jsonl", lines(to_json(ATTEMPT), to_json(ATTEMPT)), read_sheet, changed),
        "store": ("s.db", golden["old-store.sqlite"], read_store, changed),
    }  # fmt: skip


def failures(number: int, seed: int, least_stores: bool = True) -> tuple[Counter[str], list[str]]:
    """How many changes of each format were tried, and each that ended otherwise than well or in a `WithstandError`
    with a hint. least_stores: stores take their turn more seldom, since reading one takes as long as 50 others."""
    draw = random.Random(seed)
    table = formats()
    names = [name for name in table if name != "store"]
    tried: Counter[str] = Counter()
    failed = []
    folder = Path(tempfile.mkdtemp())
    try:
        for step in range(number):
            name = "store" if step % (100 if least_stores else 20) == 50 % 20 else names[step % len(names)]
            file, data, read, change = table[name]
            path = folder / file
            path.unlink(missing_ok=True)
            path.write_bytes(change(data, draw))
            tried[name] += 1
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    read(str(path))
            except WithstandError as error:
                if not str(error) or not error.hint:
                    failed.append(f"{name}: change {step} of seed {seed}: no hint: {error}")
            except Exception:  # noqa: BLE001 - what is looked for
                failed.append(f"{name}: change {step} of seed {seed}: {traceback.format_exc()}")
    finally:
        shutil.rmtree(folder)
    return tried, failed


def main() -> int:
    import resource

    number, seed = (int(text) for text in (sys.argv[1:] + ["10000", "16"][len(sys.argv) - 1 :])[:2])
    tried, failed = failures(number, seed)
    for text in failed[:20]:
        print(text)
    lasts = Counter((text.partition(":")[0], text.strip().splitlines()[-1][:100]) for text in failed)
    for (name, last), times in lasts.most_common(60):
        print(f"{times:5} {name}: {last}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"{len(failed)} of {tried.total():,} changed files failed; {peak:,.0f} MiB at most")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
