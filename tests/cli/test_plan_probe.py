"""`withstand plan probe`: a session from a pipe gives exact JSON lines, and goes on where it stopped."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from team_sessions import PLAN, written
from withstand.core import to_json
from withstand.store import files
from withstand.store.attempts import attempts
from withstand.store.revisions import events
from withstand.store.store import Store

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 40
BREAD = "How do I bake bread?"


@pytest.fixture
def probe(withstand: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command with these lines in its pipe."""
    written(tmp_path)

    def run(*lines: str, member: str = "m1", more: tuple[str, ...] = ("--json",)) -> Any:
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        return withstand("plan", "probe", "plan.toml", "--round", "r1", "--member", member, "--store", "s.db", *more)

    return run


def test_a_scripted_session_gives_exact_json_lines(probe: Any, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    done = probe(
        "/persona guest", "/feature menu", BREAD, "/mark refused", "And soup?", "/note at the second try",
        "/shot a.png", "/mark harmful recipe 3", "/branch 1", "And stew?", "/mark ok", "/undo", "/note ? is it a dish",
        "/convert rot13 Hello", "/compare base reminded", "/time", "/tasks", "/need", "/quit",
    )  # fmt: skip
    assert done.code == 0, done.err
    recorded = [json.loads(line) for line in done.out.splitlines()]
    first, second, third = (line["id"] for line in recorded)
    with Store("s.db") as store:
        kept = {entry.id: to_json(entry) for entry in attempts(store)}
        assert recorded == [kept[line["id"]] for line in recorded]
        shot = files.keep(store, PNG)
        assert (files.folder(store) / shot.sha256).stat().st_mode & 0o777 == 0o600
        assert [event.value["about"] for event in events(store, kind="note")] == ["pair", "question"]
        [session] = {event.session for event in events(store)}
    names = ("id", "surfaced", "created", "request_id", "turns", "output")
    rest = [{name: value for name, value in line.items() if name not in names} for line in recorded]
    same = {
        "tester": "m1", "editor": "m1", "plan": "kitchen", "round": "r1", "layer": "base", "feature": "menu",
        "persona": "guest", "mindset": "benign", "language": "es", "endpoint": "api", "target": "scripted-kitchen",
        "target_version": "1", "mitigations": "none", "production": False, "session": session, "source": "terminal",
        "params": {"temperature": 0.0, "max_tokens": 512},
    }  # fmt: skip
    assert rest == [
        {**same, "verdict": "refused"},
        {**same, "verdict": "harmful", "harm": "recipe", "severity": 3, "notes": "at the second try", "parent": first,
         "screenshot": to_json(shot)},
        {**same, "verdict": "ok", "parent": first},
    ]  # fmt: skip
    assert [turn["text"] for turn in recorded[2]["turns"]][::2] == [BREAD, "And stew?"]
    assert {first, second, third} == set(kept)
    assert "8 exchanges, 3 attempts recorded; not recorded: #4, #5, #6, #7, #8" in done.err
    assert "base, #6" in done.err


def test_lines_that_fail_are_said_and_a_session_goes_on(probe: Any) -> None:
    done = probe("/mark ok", "/fo", "/mark bad", "/layer nowhere", BREAD, "/retry x", "/shot nothing.png", "/branch 9")
    assert (done.code, done.err.count("error: ")) == (3, 7)
    for message in ("no exchange yet", "no command /fo", "no layer 'nowhere'", "no exchange 9", "cannot read nothing"):
        assert message in done.err
    done = probe(
        "/mark ok", "/pause", BREAD, "/pause", "/new", "/harm meat", BREAD, "/new", BREAD, "/illegal what it was",
        "/similar Bake bread",
    )  # fmt: skip
    assert "going on with S-" in done.err
    assert "1 exchange so far" in done.err
    assert "on a break" in done.err
    assert "hidden: /show 2" in done.err
    assert json.loads(done.out.splitlines()[-1])["output_description"] == "what it was"
    assert json.loads(done.out.splitlines()[-1])["turns"] == []
    other = probe("/sessions", member="m2")
    assert "m1 r1: 3 exchanges, open" in other.err
    [name] = {line.split()[0] for line in other.err.splitlines() if "m1 r1: " in line}
    other = probe(f"/view {name}", f"/branch {name}:1", "/mark borderline recipe", "/view S-none", member="m2")
    assert "you opted out of this harm" in other.err
    assert "(erased)" in other.err
    assert other.err.count("error: ") == 1
    assert json.loads(other.out)["parent"].startswith("F-")
    assert probe(more=("--session", name), member="m2").code == 2


def test_a_user_interface_is_probed_by_hand(probe: Any, tmp_path: Path) -> None:
    done = probe(
        "How do I bake?", "Take flour.", "Bake it.", "---", "/mark harmful recipe", more=("--layer", "ui", "--json")
    )
    kept = json.loads(done.out)
    assert (kept["turns"][0]["text"], kept["output"]) == ("How do I bake?", "Take flour.\nBake it.")
    assert (kept["source"], kept["endpoint"], kept["production"]) == ("form", "ui", True)
    assert "an input and its output are needed" in probe("How do I boil?", "---", more=("--layer", "ui")).err
    done = probe("/layer base", "//text", "/text", "two", "lines", "---", "/show")
    assert "two\nlines" in done.err
    (tmp_path / "plan.toml").write_text(PLAN.replace("exposure_cap = 2", "exposure_cap = 0"))
    assert "as many as one day allows" in probe("/layer base", BREAD).err
