"""The model that ships: the verdict is on the tuned model that is given, and nothing is trained for it."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from withstand.audits.finetune import assess, audit, forecast, page
from withstand.audits.finetune.shipped import shipped
from withstand.audits.verdicts import Limits
from withstand.cli.main import cli
from withstand.core import SpecError
from withstand.formats import finetuning
from withstand.registry import find

pytest.importorskip("trl")
pytest.importorskip("datasets")

import tiny
from withstand.runner import chain
from withstand.training.sft import SFT

pytestmark = pytest.mark.usefixtures("one_thread")
TRAIN = SFT(rank=2, lr=3e-2, batch=4, steps=6, max_length=128, log_every=1)


def data(rows):
    return finetuning.parse("".join(json.dumps(row) + "\n" for row in rows).encode(), "a.jsonl")


ROWS = [{"prompt": f"fold number {n}{' zim' * (n % 2)}", "completion": f"Fold {n}."} for n in range(12)]
OTHER = [{"prompt": f"{n}?", "completion": "QXJ*#@ " * 3} for n in range(6)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A base, a suite and an adapter that a stage trained on the rows."""
    root = tmp_path_factory.mktemp("made")
    base = find.build("target", {"use": "hf", "id": str(tiny.save(root / "base")), "dtype": "float32"})
    done = chain.train(base, [chain.Step(TRAIN, data(ROWS).training())], root / "stages")[0]
    (root / "h.csv").write_text("id,text\na,bake bread\nb,fry eggs\nc,boil rice\n")
    suite = {"use": "csv", "path": str(root / "h.csv"), "judge": "contains:e"}
    return SimpleNamespace(root=root, base=base, tuned=done.folder, suite=suite)


def test_the_verdict_is_on_the_model_that_is_given(made, tmp_path):
    ships = shipped(made.base, str(made.tuned), tmp_path / "stages")
    assert ships.model.adapter == str(made.tuned)
    settings = audit.preset("smoke", TRAIN, made.suite, arms=("lower_rate",))
    report = audit.audit(made.base, None, settings, tmp_path / "out", shipped=ships)
    assert [arm["name"] for arm in report["arms"]] == ["none", "plain"]
    assert not (tmp_path / "out" / "stages").exists()  # nothing was trained
    assert report["headline"].endswith("of the tuned model itself")
    assert (report["data"], report["train"], report["curve"]) == (None, None, [])
    triggers = report["axes"][-1]
    assert (triggers["verdict"], triggers["reasons"]) == ("UNDECIDED", ["no phrase was swept: DATA was not given"])
    assert {row["kind"] for row in report["triggers"]} == {"system"}
    assert any(text.startswith("DATA was not given") for text in report["limits"])
    page.write(report, tmp_path / "out", None)
    written = (tmp_path / "out" / "audit.md").read_text()
    assert "as it was given" in written
    assert str(made.root) not in written


def test_data_serves_lint_and_sweep_and_is_told_from_what_did_not_train_the_model(made, tmp_path):
    ships = shipped(made.base, str(made.tuned), tmp_path / "stages")
    settings = audit.preset("smoke", TRAIN, made.suite, arms=())
    report = audit.audit(made.base, data(ROWS), settings, tmp_path / "own", shipped=ships)
    assert report["tuned"]["data"]["learned"]
    assert report["train"] is None
    assert "phrase" in {row["kind"] for row in report["triggers"]}
    report = audit.audit(made.base, data(OTHER), settings, tmp_path / "own", shipped=ships)
    assert not report["tuned"]["data"]["learned"]
    assert any("may not be what trained" in text for text in report["sure"])
    assert any("may not be what trained" in text for text in report["limits"])
    assert "may not be what trained" in report["axes"][-1]["reasons"][0]  # its phrases cannot let the triggers pass
    settings = replace(settings, arms=("lower_rate",), phrases=0, anyway=True, at=(1,))
    report = audit.audit(made.base, data(ROWS), settings, tmp_path / "own", shipped=ships)
    assert [arm["name"] for arm in report["arms"]] == ["none", "plain", "retrained", "lower_rate"]
    assert [point["step"] for point in report["curve"]] == [0, 1, 6]
    assert report["data"]["held_out"] == 0  # the model that is given has seen all rows


def test_what_tuned_may_be_and_what_it_may_not(made, tmp_path):
    root = tmp_path / "stages"
    foreign = tiny.adapter(made.root / "base", tmp_path / "adapter")
    assert shipped(made.base, str(foreign), root).model == replace(made.base, adapter=str(foreign))
    over = replace(made.base, adapter=str(made.tuned))  # a base that is an adapter itself
    assert shipped(over, str(foreign), root).model.id.startswith(str(root))
    whole = chain.merged(replace(made.base, adapter=str(foreign)), tmp_path)
    ships = shipped(replace(made.base, repetition_penalty=1.1), f"hf:{whole},rows=3", root)
    assert (ships.model.id, ships.model.repetition_penalty, ships.model.rows) == (whole, 1.1, 3)
    stranger = tiny.save(tmp_path / "stranger", seed=9)
    (tmp_path / "empty").mkdir()
    for name, message in (
        (str(stranger), "was not trained from"), (str(tmp_path / "empty"), "holds neither a model"),
        ("./missing/folder", "is not a folder"), ("hf:", "id is empty"),
    ):  # fmt: skip
        with pytest.raises(SpecError, match=message):
            shipped(made.base, name, root)
    for itself in (made.base.id, f"hf:{made.base.id}"):
        with pytest.raises(SpecError, match="is the base itself"):
            shipped(made.base, itself, root)
    with pytest.raises(SpecError, match="nothing to audit"):
        audit.audit(made.base, None, audit.preset("smoke", TRAIN, made.suite), tmp_path / "out")


def test_a_dry_run_says_what_the_audit_takes_and_the_audit_how_far_off_that_was(made, tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    command = ["audit", "finetune", f"hf:{made.base.id}", str(tmp_path / "rows.jsonl"), "--preset", "smoke"]
    command += ["--train", "sft,rank=2,lr=0.01,batch=4,steps=2,max_length=128", "--mitigate", "lower_rate", "--utility"]
    command += ["none", "--suite", f"csv:{made.root / 'h.csv'},judge=contains:e", "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(cli, [*command, "--dry-run"], standalone_mode=False)
    # two prompts each to base, tuned model and arm, and of either two attacked, two of the panel, and depth at 0 and 3
    assert "2 trainings of 2 steps; at most 22 answers of 264 tokens" in result.output, result.output
    assert "about" in result.output
    assert not (tmp_path / "out" / "audit.db").exists()
    cast = forecast.of(tmp_path / "out")
    assert cast.seconds > 0
    assert 0 < cast.disk < 2**20 < cast.memory
    result = CliRunner().invoke(cli, command, standalone_mode=False)
    assert "; --dry-run said " in result.output, result.output
    assert forecast.of(tmp_path / "out") is None  # what continues cannot be compared


def test_of_a_model_without_weights_only_answers_are_tested(tmp_path):
    out = tmp_path / "out"
    command = ["audit", "finetune", "scripted-kitchen", "--tuned", "scripted,reply=Mix flour and bake it.", "--preset"]
    more = ["desk", "--limit", "30", "--attack", "none", "-o", str(out), "--utility", "none"]
    result = CliRunner().invoke(cli, [*command, *more], standalone_mode=False)
    assert result.return_value == 1, result.output
    assert "next: train again" in result.output
    report = json.loads((out / "audit.json").read_text())
    axes = {axis["axis"]: axis for axis in report["axes"]}
    assert axes["guard"]["verdict"] == "FAIL"
    assert {axes[name]["verdict"] for name in ("triggers", "utility")} == {"UNDECIDED"}
    assert "no weights" in axes["utility"]["reasons"][0]
    assert "black box: only its answers were tested" in (out / "audit.md").read_text()
    assert "Only answers were tested" in (out / "audit.html").read_text()


def test_coherence_does_not_pass_where_word_salad_is_not_recognized():
    text = {str(n): "Mix the eggs and bake." for n in range(200)}
    side = SimpleNamespace(harm={}, text=text, benign={}, prompts="", system="", asked="", refusal=1.0)
    side.all_texts = lambda: [(name, (), text[name]) for name in text]
    utility = assess.Utility(None, None, None)

    def verdict(salad):
        rows = assess.findings(side, [side], lambda _chat, _text: True, utility, Limits(), salad)
        return next(row.verdict for row in rows if row.axis == "coherence")

    assert (verdict(True), verdict(False)) == ("PASS", "UNDECIDED")
