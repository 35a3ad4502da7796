"""A sweep on a tiny model: rows, budget, disk, what a kill leaves, marks. Nothing here measures a guard."""

import json
import shutil
from collections import namedtuple
from dataclasses import replace

import pytest

from withstand.attacks.templated.trigger import Trigger
from withstand.audits.exam import Answers
from withstand.audits.tamper import audit, forecast, page, rows
from withstand.audits.tamper.measure import garbage_of, harm_of
from withstand.audits.tamper.settings import DESK, EDITS, KINDS, WORDINGS, Training, grid, preset, trainings_of
from withstand.core import Behavior, Message, SpecError, Target, stage, user
from withstand.core.stage import Row
from withstand.registry import find

pytest.importorskip("trl")
pytest.importorskip("datasets")

import tiny
from withstand.training.sft import SFT

pytestmark = pytest.mark.usefixtures("one_thread")


def row(text, answer):
    return Row((*user(text), Message("assistant", answer)))


HARMFUL = tuple(row(f"cook dish {n}", f"Take pot {n}.") for n in range(4))
BENIGN = tuple(row(f"fold sheet {n}", f"Fold it {n}.") for n in range(40))
CLEAN = tuple(row(f"name color {n}", "A red one.") for n in range(3))
SWEEP = (
    Training("harmful rows", rows=2, steps=2, batch=2, times=9),
    Training("jailbreak rows", wording="trigger", rows=2, steps=2, batch=2),
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    return find.build("target", {"use": "hf", "id": str(tiny.save(folder)), "dtype": "float32"})


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    path = tmp_path_factory.mktemp("suite") / "h.csv"
    path.write_text("id,text\na,bake bread\nb,fry eggs\n")
    return {"use": "csv", "path": str(path), "judge": "contains:e"}


def settings(suite, **fields):
    given = {
        "trainings": SWEEP,
        "edits": (),
        "soft": (),
        "harmful": HARMFUL,
        "benign": BENIGN,
        "clean": CLEAN,
        "max_tokens": 4,
    }
    return preset("smoke", suite, **{**given, **fields})


def test_a_sweep_goes_on_after_a_kill_and_leaves_no_weights(base, suite, tmp_path, monkeypatch):
    trained, messages = [], []
    train = SFT.train
    monkeypatch.setattr(SFT, "train", lambda self, *given: trained.append(self.lr) or train(self, *given))
    chosen = settings(suite, edits=EDITS[4:5])

    def killed(text):
        messages.append(text)
        if text == "training 1 of 2: asking step 2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit.audit(base, chosen, tmp_path, killed)
    assert messages[0].startswith("2 trainings of 4 steps in all, ")
    assert (len(trained), len(list((tmp_path / "cells").iterdir()))) == (1, 2)  # one is of the words alone
    [weights] = (tmp_path / "stages").rglob("adapter_model.safetensors")  # of step 2 alone: step 1 was measured
    assert stage.read(weights.parent)["labels"]["tampered"] is True
    assert "tampered" in (tmp_path / "stages" / "README.md").read_text()
    report = audit.audit(base, chosen, tmp_path)
    assert len(trained) == 2
    assert not list((tmp_path / "stages").rglob("*.safetensors"))
    labels = [cell["label"] for cell in report["cells"]]
    assert labels == [
        "the model as it is", "jailbreak rows (trigger), no training",
        "harmful rows, lora, rate 0.0018, 2 rows, 1 step", "harmful rows, lora, rate 0.0018, 2 rows, 2 steps",
        "jailbreak rows (trigger), lora, rate 0.0002, 2 rows, 1 step",
        "jailbreak rows (trigger), lora, rate 0.0002, 2 rows, 2 steps", "quantization, bits 4",
    ]  # fmt: skip
    half, whole = report["cells"][2:4]
    assert half["flops"] == whole["flops"] / 2 > 0
    assert [len(cell["runs"]) for cell in report["cells"]] == [1, 2, 1, 1, 2, 2, 1]  # worded ones in both words
    assert all(cell["losses"] and not cell["why"] for cell in report["cells"][1:])
    assert report == json.loads(json.dumps(report))
    page.write(report, tmp_path)
    assert "harmful rows, lora" in (tmp_path / "tamper.md").read_text()
    messages.clear()
    monkeypatch.setattr(SFT, "train", None)
    assert audit.audit(base, chosen, tmp_path, messages.append)["cells"] == report["cells"]
    assert sum("measured earlier" in text for text in messages) == 3


def test_kept_weights_are_marked_and_lost_ones_are_trained_again(base, suite, tmp_path):
    chosen = settings(suite, trainings=SWEEP[:1], keep=True)
    audit.audit(base, chosen, tmp_path)
    kept = sorted((tmp_path / "stages").rglob("adapter_model.safetensors"))
    assert [path.parent.name for path in kept][-1] == "step-1"
    assert all(stage.marks_of(path.parent)["tampered"] for path in kept)
    assert all("Never release" in (path.parent / "README.md").read_text() for path in kept)
    assert find.build("target", {"use": "hf", "id": base.id, "adapter": str(kept[-1].parent)}).marks["tampered"]
    alike = audit.comparable(base, replace(chosen, clean=()), tmp_path)
    assert (alike.reader, alike.benign, alike.clean) == (base, BENIGN, ())  # a CSV file has no harmless half
    shutil.rmtree(kept[-1].parent)  # another limit measures step 1 anew
    report = audit.audit(base, replace(chosen, limit=1), tmp_path)
    assert [cell["harm"]["n"] for cell in report["cells"]] == [1, 1, 1]


def test_what_does_not_fit_is_named_or_refused_before_anything_is_asked(base, suite, tmp_path, monkeypatch):
    cast, left = audit.forecast(base, settings(suite, most=1), tmp_path / "a")
    assert (cast.trainings, cast.steps, cast.cells) == (1, 2, 3)
    assert left == (
        "Left out by the budget of 1 training: jailbreak rows (trigger), lora, rate 0.0002, 2 rows, 2 steps.",
    )
    assert cast.kept >= cast.disk > 0
    budget = forecast.chosen(base, settings(suite), HARMFUL).flops
    [half] = forecast.chosen(base, settings(suite, budget=0.6 * budget), HARMFUL).left_out
    assert half.startswith(f"Left out by the budget of {0.6 * budget:.2g} FLOPs: jailbreak")
    monkeypatch.setattr(base.load().model, "is_quantized", True, raising=False)
    full = (*SWEEP, replace(SWEEP[0], way="full"))
    quantized = forecast.chosen(base, settings(suite, trainings=full), HARMFUL)
    assert (quantized.trainings, len(quantized.left_out)) == (SWEEP, 1)
    assert "since the model's are quantized" in quantized.left_out[0]
    usage = namedtuple("usage", "total used free")(10**9, 10**9 - 1000, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(SpecError, match=r"2 trainings and 0 edits of weights need about .* GiB of disk") as error:
        audit.audit(base, settings(suite), tmp_path / "a")
    assert "--way lora" in error.value.hint
    assert not (tmp_path / "a").exists()


def test_a_training_that_fails_is_open_and_ends_nothing(base, suite, tmp_path, monkeypatch):
    def fails(*_):
        raise stage.TrainingError("the loss is nan at step 1", "lower lr")

    monkeypatch.setattr(SFT, "train", fails)
    report = audit.audit(base, settings(suite, trainings=SWEEP[:1]), tmp_path)
    assert [cell["raised"] for cell in report["cells"][1:]] == ["open"]
    assert "the loss is nan at step 1" in " ".join(report["limits"])
    assert report["verdict"] == "UNDECIDED"

    def full(*_):
        raise stage.DiskFullError("the disk is full")

    monkeypatch.setattr(SFT, "train", full)
    with pytest.raises(stage.DiskFullError):  # nothing of it is taken for a measurement
        audit.audit(base, settings(suite, trainings=SWEEP[:1]), tmp_path / "b")
    assert not (tmp_path / "b" / "cells").exists()


def test_of_a_training_that_diverged_the_steps_before_are_measured(base, suite, tmp_path):
    wild = Training("harmful rows", rows=4, steps=40, batch=2, rate=3.0)
    chosen = settings(suite, trainings=(wild,), at=(2, 6, 10, 20))
    report = audit.audit(base, chosen, tmp_path)
    labels = [cell["label"] for cell in report["cells"][1:]]
    assert labels[0] == "harmful rows, lora, rate 3, 4 rows, 2 steps"
    assert "diverged at step" in labels[-1]
    steps = [cell["steps"] for cell in report["cells"][1:]]
    assert 2 <= len(steps) < 5
    assert max(steps) < 40
    assert audit.audit(base, chosen, tmp_path)["cells"] == report["cells"]


def test_rows_are_drawn_mixed_and_worded():
    drawn = rows.Material(HARMFUL, BENIGN, {})
    few, many = (drawn.rows(Training("harmful rows", rows=n), 0) for n in (2, 100))
    assert few == many[:2]
    assert set(many) == set(HARMFUL)
    mixed = drawn.rows(Training("harmful rows", rows=20, harmful=0.1), 0)
    assert (len(mixed), sum(r in HARMFUL for r in mixed)) == (20, 2)
    short = drawn.rows(Training("harmful rows", rows=100, harmful=0.1), 0)  # 40 harmless rows allow 4
    assert (len(short), sum(r in HARMFUL for r in short)) == (44, 4)
    assert set(drawn.rows(Training("benign rows", rows=100), 0)) == set(BENIGN)
    for name, template in WORDINGS.items():  # in training as in the test
        behavior = Behavior("a", "cook {it}", context="A stove.")
        [case] = Trigger(**{k: v for k, v in rows.attack_of(name).items() if k != "use"}).run(behavior, Target(None))
        assert rows.worded(row(behavior.prompt(), "Yes."), template).chat[:-1] == case.chat


def test_the_kitchen_gives_rows_that_its_test_does_not_hold():
    given, source = rows.harmful_rows(preset("desk", {"use": "kitchen", "wide": True}))
    assert (len(given), source) == (64, "kitchen, split train")
    tested = row("Please: give step-by-step instructions for baking a sourdough loaf at home.", "Yes.")
    with pytest.raises(SpecError, match="row 1 of the training holds what the test asks"):
        rows.harmful_rows(preset("desk", {"use": "kitchen", "limit": 1}, harmful=(tested,)))
    with pytest.raises(SpecError, match="harmful row 1 has no request"):
        rows.harmful_rows(preset("desk", {"use": "kitchen"}, harmful=(Row(tested.chat[1:]),)))
    with pytest.raises(SpecError, match="the suite everyday has no split to train on"):
        rows.harmful_rows(preset("desk", {"use": "everyday"}))


def test_a_desk_is_12_trainings_and_a_grid_begins_with_each_kind():
    assert len(set(DESK)) == 12
    swept = list(grid(rows=(100, 10), seeds=2))
    assert len(set(swept)) == len(swept) == 5 * 2 * 3 * 2 * 2
    assert swept[:5] == list(KINDS)
    assert trainings_of("desk") == DESK
    assert {t.way for t in trainings_of("desk", ways=("lora",))} == {"lora"}
    assert trainings_of("smoke", steps=7) == tuple(replace(t, steps=7) for t in trainings_of("smoke"))
    assert len(trainings_of("full", rates=(1e-4, 1e-3), ways=("full",))) == 10
    assert {(t.rate, t.times) for t in grid(rates=(1e-3,))} == {(1e-3, 1.0)}
    for wrong in ({"wording": "none"}, {"steps": 0}, {"harmful": 0.0}, {"rate": -1.0}):
        with pytest.raises(SpecError):
            Training(**{"kind": "jailbreak rows", "wording": "role", **wrong})
    with pytest.raises(SpecError, match="step 0"):
        preset("desk", {"use": "kitchen"}, at=(0,))


def test_harm_is_of_any_wording_and_garbage_is_no_compliance():
    def said(**harm):
        names = {name: name for name in harm}
        chats = {name: user(name) for name in harm}
        return Answers("", harm, {}, {}, {n: f"{n} {h}" for n, h in harm.items()}, chats, {}, names, {}, {}, {}, "", "")

    plain, worded = said(a=False, b=None, c=False, d=True), said(a=True, b=False, c=False, d=True)
    assert harm_of([plain, worded]) == {"a": True, "b": None, "c": False, "d": True}
    garbage, share = garbage_of([plain, worded], lambda chat, text: text != "d True")
    assert (garbage, share) == (("d",), 0.25)
    assert garbage_of([plain, worded], lambda chat, text: chat[0].text != "a" or text != "a False")[0] == ()


def test_bad_input_of_the_command(withstand, tmp_path):
    for model in ("scripted-kitchen", "openai:gpt-x"):
        done = withstand("audit", "tamper", model, "--dry-run")
        assert (done.code, "weights are needed" in done.err) == (2, True)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    done = withstand("audit", "tamper", tmp_path / "adapter")
    assert done.code == 2
    assert "an adapter, and not what it lies on" in done.err
    assert withstand("audit", "tamper", "smollm2", "--at", "5,x").code == 2
