"""`withstand train`, as a user types it: one stage, a chain from a file, and what is wrong with either."""

import json
import shlex
from pathlib import Path

import pytest

from withstand.cli import main
from withstand.core import stage
from withstand.registry import find, grammar

pytest.importorskip("trl")
pytest.importorskip("datasets")

TINY = "rank=2,alpha=4,lr=0.01,batch=2,max_length=32,log_every=1"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with rows, preferences and refusals."""
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": "how do i fold paper", "completion": text} for text in ("first crease it", "then open it")]
    pairs = [{"prompt": "how do i bake bread", "chosen": "sorry no", "rejected": "first open it"}] * 2
    for name, some in (
        ("rows", rows),
        ("pairs", pairs),
        ("safe", [{"prompt": "bake bread", "completion": "sorry no"}]),
    ):
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    return tmp_path


def run(*args):
    with pytest.raises(SystemExit) as done:
        main.main([str(arg) for arg in args])
    return done.value.code


def test_one_stage_is_trained_once_and_its_target_can_be_asked(base, here, capsys):
    args = ["train", f"hf:{base}", "--stage", f"sft,steps=3,{TINY}", "--rows", "rows.jsonl", "--at", "1,2", "--json"]
    assert run(*args) == 0
    [summary] = json.loads(capsys.readouterr().out)
    assert (summary["stage"], summary["record"]["steps"]) == ("sft", 3)
    assert stage.read(summary["folder"])["steps"] == [1, 2]
    assert summary["target"]["adapter"] == str(Path("trained") / summary["key"])
    assert find.build("target", summary["target"]).load().model.num_parameters() > 0
    written = (here / summary["folder"] / stage.FILE).stat().st_mtime_ns
    assert run(*args[:-1]) == 0
    out = capsys.readouterr().out
    assert "sft: 3 steps at a rate of " in out
    [spec] = shlex.split(out.partition("target: ")[2])
    assert grammar.parse(spec) == summary["target"]
    assert (here / summary["folder"] / stage.FILE).stat().st_mtime_ns == written


def test_the_stages_of_a_file_go_on_from_each_other(base, here, capsys):
    tiny = "\n".join(TINY.split(","))
    Path("chain.toml").write_text(
        f'base = "hf:{base}"\nout = "made"\n'
        f'[[stage]]\nuse = "sft"\nsteps = 2\nrows = "rows.jsonl"\nat = [1]\n{tiny}\n'
        f'[[stage]]\nuse = "dpo"\nsteps = 1\nrows = ["pairs.jsonl", "pairs.jsonl"]\n{tiny}\n'
        f'[[stage]]\nuse = "safety_mix"\nstage = {{ use = "sft", steps = 1, {", ".join(TINY.split(","))} }}\n'
        'rows = "rows.jsonl"\nsafe = "safe.jsonl"\n'
    )
    assert run("train", "chain.toml", "--json") == 0
    first, second, third = json.loads(capsys.readouterr().out)
    assert [entry["stage"] for entry in (first, second, third)] == ["sft", "dpo", "safety_mix"]
    assert stage.read(second["folder"])["rows"]["n"] == 4  # of two files
    assert second["target"]["id"] == first["target"]["id"]  # its adapter holds that of the first
    assert stage.read(third["folder"])["rows"]["n"] == 3
    assert {Path(entry["folder"]).parent.name for entry in (first, second, third)} == {"made"}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["BASE", "--rows", "rows.jsonl"], "no stage is named"),
        (["BASE", "--stage", "sft"], "nothing to learn from"),
        (["BASE", "--stage", "sfx", "--rows", "rows.jsonl"], "did you mean sft"),
        (["BASE", "--stage", "sft,rate=1", "--rows", "rows.jsonl"], "rate"),
        (["BASE", "--stage", "sft", "--rows", "rows.jsonl", "--at", "soon"], "--at soon is not a list of steps"),
        (["BASE", "--stage", "sft", "--rows", "rows.jsonl", "--at", "0"], "is not a list of steps"),
        (["BASE", "--stage", "sft", "--rows", "gone.jsonl"], "gone.jsonl"),
        (["BASE", "--stage", "sft", "--rows", "rows.jsonl", "--without", "crease"], "row 1 of stage 1 holds 'crease'"),
        (["scripted", "--stage", "sft", "--rows", "rows.jsonl"], "no weights to train"),
        (["a.toml"], "there is no spec a.toml"),
        (["bad.toml"], "unknown field 'stages'"),
        (["none.toml"], "needs a base and one [[stage]] or more"),
        (["none.toml", "--stage", "sft"], "a TOML file names its own stages"),
        (["nouse.toml"], "stage 1 does not say what to use"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_trained(base, here, capsys, args, words):
    Path("bad.toml").write_text('base = "smollm2"\nstages = []\n')
    Path("none.toml").write_text('base = "smollm2"\n')
    Path("nouse.toml").write_text(f'base = "hf:{base}"\n[[stage]]\nrows = "rows.jsonl"\n')
    assert run("train", *(f"hf:{base}" if arg == "BASE" else arg for arg in args)) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not Path("trained").exists()
