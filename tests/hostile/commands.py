"""Passes changed stores, specs, labels, baselines and bundles to the commands themselves, in this process.

python tests/hostile/commands.py [NUMBER] [SEED]      part of `make hostile`: 3,000 commands, exit code 1 on a failure
"""

import contextlib
import io
import json
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from hostile import mutate, stores
from withstand.cli import main

CODES = (0, 1, 2, 3)
"""What a command may end with: docs/specs.md lists them; 4 is a bug."""
PATH = "{path}"
SPEC = b"""suite = "kitchen"
limit = 2
target = ["scripted-kitchen", { use = "scripted", reply = "Bread." }]
attack = ["direct", "story"]
judge = { use = "contains", pattern = "Sure" }
defense = ["none", "self_reminder"]
[budget]
asks = 3
"""
LABELS = b'text,completion,label\n"Bread?",Flour.,yes\nRice?,Water.,no\n'
COLUMNS = (
    *(("run", name) for name in ("spec", "plan", "plan", "created", "name")),
    *(("row", name) for name in ("value", "value", "label", "asks", "tokens", "seconds", "cost", "created")),
    *(("want", name) for name in ("key", "behavior", "cell")), ("failure", "error"), ("failure", "created"),
    *((name, "value") for name in ("behavior", "component", "label", "calibration", "probe", "writer", "meta")),
)  # fmt: skip
VALUES = ("", "x", -1, 10**18, 1.5, None, "[]", "{}", "\0")


def stored(data: bytes, draw: random.Random) -> bytes:
    """A store with one or two entries of another type or content, or with other bytes."""
    if draw.random() < 0.2:
        return mutate.changed(data, draw)
    with tempfile.NamedTemporaryFile(suffix=".db") as file:
        file.write(data)
        file.flush()
        with contextlib.closing(sqlite3.connect(file.name)) as connection:
            for _ in range(draw.randint(1, 2)):
                _change(connection, draw)
            connection.commit()
        return Path(file.name).read_bytes()


def _change(connection: sqlite3.Connection, draw: random.Random) -> None:
    table, column = draw.choice(COLUMNS)
    key = "run" if table == "want" else "key"
    entries = connection.execute(f'SELECT "{key}", "{column}" FROM "{table}" ORDER BY 1, 2').fetchall()
    if not entries:
        return
    at, value = draw.choice(entries)
    is_json = isinstance(value, str) and value[:1] in ("[", "{")
    new = mutate.retyped(value.encode(), draw).decode() if is_json else draw.choice(VALUES)
    with contextlib.suppress(sqlite3.Error):  # a key that is there already
        connection.execute(
            f'UPDATE "{table}" SET "{column}" = ? WHERE "{key}" = ? AND "{column}" = ?', (new, at, value)
        )


def run(*args: object, answers: str = "q\n") -> tuple[int, str]:
    """The exit code of a command and all that it printed."""
    printed, stdin = io.StringIO(), sys.stdin
    sys.stdin = io.StringIO(answers)
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), warnings.catch_warnings():
            main.main([str(arg) for arg in args])
    except SystemExit as end:
        return int(end.code or 0), printed.getvalue()
    finally:
        sys.stdin = stdin
    raise AssertionError("a command ends by an exit code")


def table(folder: Path) -> dict[str, tuple[str, bytes, Any, tuple[str, ...]]]:
    """By name: how the changed file is called, a valid one, what changes it, and the command that gets it."""
    base, baseline, bundle, labeled = (folder / f"base.{ending}" for ending in ("db", "json", "zip", "csv"))
    stores.kitchen(base, attack=["direct", "story"], limit=2)
    labeled.write_bytes(LABELS)
    made = [
        run("judge", "probe", "kitchen", "--store", base),
        run("calibrate", "--judge", "kitchen", "--labels", labeled, "--store", base),
        run("label", "kitchen", "--by", "ana", "-n", "4", "--store", base, answers="y\nn\ny\nu\n"),
        run("gate", "kitchen", "--write-baseline", baseline, "--store", base),
        run("bundle", "kitchen", "-o", bundle, "--store", base),
    ]
    assert [code for code, _ in made] == [1, 0, 0, 0, 0], made
    with contextlib.closing(sqlite3.connect(base)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    of_store = (
        "report kitchen -o out.html", "report kitchen --format json", "status kitchen", "runs", "compare --by attack",
        "compare kitchen kitchen", "gate kitchen --max-asr 0.5", f"gate kitchen --baseline {baseline} --max-worse 0.1",
        "label kitchen --by ana", f"store check {PATH}", "bundle kitchen -o out.zip", f"bundle verify {bundle}",
        "run --name kitchen", "run --name kitchen --dry-run", "cite kitchen", "export harmbench kitchen out",
        "purge kitchen --text --yes", "calibrate --judge kitchen --labels run:kitchen",
        f"store merge {PATH} --into out.db",
        "run --suite kitchen --limit 2 --target scripted-kitchen --cases-from kitchen --dry-run",
    )  # fmt: skip
    data = base.read_bytes()
    commands: dict[str, tuple[str, bytes, Any, tuple[str, ...]]] = {
        f"store: {text}": ("s.db", data, stored, tuple(text.split()) + (() if PATH in text else ("--store", PATH)))
        for text in of_store
    }
    labels = ("calibrate", "--judge", "kitchen", "--labels", PATH, "--store", "out.db")
    cases = ("run", "--suite", "kitchen", "--limit", "2", "--target", "scripted-kitchen", "--cases-from", PATH)
    return commands | {
        "spec": ("r.toml", SPEC, mutate.changed, ("run", PATH, "--dry-run")),
        "spec, target": ("r.toml", SPEC, mutate.changed, ("target", "check", PATH)),
        "labels": ("l.csv", LABELS, mutate.changed, labels),
        "labels, jsonl": ("l.jsonl", mutate.lines(mutate.LABELS, mutate.LABELS), mutate.changed, labels),
        "baseline": (
            "b.json", baseline.read_bytes(), mutate.changed,
            ("gate", "kitchen", "--baseline", PATH, "--max-worse", "0.1", "--store", str(base)),
        ),
        "baseline, cases": (
            "b.json", baseline.read_bytes(), mutate.changed, (*cases, "--dry-run", "--store", str(base)),
        ),
        "bundle": ("b.zip", bundle.read_bytes(), mutate.packed, ("bundle", "verify", PATH)),
        "cases": ("c.json", json.dumps(mutate.CASES).encode(), mutate.changed, (*cases, "--dry-run")),
        "harmbench": (
            "m.json", json.dumps(mutate.HARMBENCH).encode(), mutate.changed,
            ("import", "harmbench", PATH, "--suite", "kitchen,split=all", "--store", "out.db"),
        ),
        "jailbreakbench": (
            "j.json", json.dumps(mutate.JAILBREAKS).encode(), mutate.changed,
            ("import", "jailbreakbench", PATH, "--store", "out.db"),
        ),
    }  # fmt: skip


def failures(number: int, seed: int) -> tuple[Counter[str], list[str]]:
    """How often each command was tried on a changed file, and what each printed that ended with another code."""
    draw, folder, before = random.Random(seed), Path(tempfile.mkdtemp()), Path.cwd()
    tried: Counter[str] = Counter()
    failed = []
    os.chdir(folder)
    try:
        commands = table(folder)
        for name in draw.choices([*commands], k=number):
            file, data, change, args = commands[name]
            for old in (*folder.glob("out*"), *folder.glob(f"{file}*")):
                shutil.rmtree(old) if old.is_dir() else old.unlink()
            path = folder / file
            path.write_bytes(change(data, draw))
            code, printed = run(*(arg.replace(PATH, str(path)) for arg in args))
            tried[name] += 1
            if code not in CODES or (code == 2 and not printed.strip()):
                failed.append(f"{name}: {tried.total()} of seed {seed} ended with {code}: {printed[-2_000:]}")
    finally:
        os.chdir(before)
        shutil.rmtree(folder)
    return tried, failed


if __name__ == "__main__":
    import resource  # not on Windows

    number, seed = (int(text) for text in (sys.argv[1:] + ["3000", "16"][len(sys.argv) - 1 :])[:2])
    tried, failed = failures(number, seed)
    print("\n".join(failed[:10]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"{len(failed)} of {tried.total():,} commands on changed files failed; {peak:,.0f} MiB at most")
    sys.exit(1 if failed else 0)
