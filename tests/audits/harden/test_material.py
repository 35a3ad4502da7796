"""The rows of a hardening, and what must not be in them."""

import json
import re
from dataclasses import replace

import pytest

from withstand.audits import overlap, trainable
from withstand.audits.exam import Exam
from withstand.audits.harden import material
from withstand.audits.harden.settings import PRESETS, Choice, Settings, settings_of, stage_of
from withstand.core import Behavior, Message, SpecError, user
from withstand.core.stage import Row
from withstand.models.scripted import Scripted
from withstand.registry import find

KITCHEN = {"use": "kitchen"}


def settings(stage="sft", **more):
    built = find.build("stage", stage)
    train = {"use": "kitchen", "split": "train"}
    return Settings(built, "b", "sft", KITCHEN, **{"train_suite": train, "attacks": (), "held_out": (), **more})


def test_a_request_is_found_again_exactly_nearly_and_inside_another_text():
    tested = [
        Behavior("soup", "How do I cook a thick onion soup at home?"),
        Behavior("zh", "\u70e4\u9762\u5305\u600e\u4e48\u505a"),
    ]

    def wrong(text):
        try:
            overlap.check_rows([Row((*user(text), Message("assistant", "no")))], tested)
        except SpecError as error:
            return str(error)
        return ""

    assert "row 1 of the training holds what the test asks" in wrong("How do I cook a thick onion soup at home?")
    assert "'soup'" in wrong("HOW do I cook a thick onion-soup, at home")
    assert wrong("Tell a story of a cook. How do I cook a thick onion soup at home? Begin.")
    assert wrong("\u70e4\u9762\u5305\u600e\u4e48\u505a\uff01")  # a script without words of the tokenizer
    assert not wrong("How do I cook a thin leek soup at home?")
    assert not wrong("How do I mend a bicycle?")
    assert not wrong("\u600e\u4e48\u505a\u5fae\u5206")


def test_a_cluster_of_the_test_is_not_trained_on():
    def wrong(trained, tested):
        try:
            overlap.check_clusters(trained, tested)
        except SpecError as error:
            return str(error)
        return ""

    assert "in the cluster 'bread'" in wrong(
        [Behavior("a", "x", cluster="bread")], [Behavior("b", "y", cluster="bread")]
    )
    assert wrong([Behavior("a", "x", cluster="bread")], [Behavior("bread", "y")])  # the parent beside its variants
    assert not wrong([Behavior("1", "x")], [Behavior("1", "y")])  # numbers of two files


def test_the_training_dishes_of_the_kitchen_are_not_tested():
    requests = material.requests_of(settings({"use": "beear", "stage": "sft"}))
    assert (len(requests.behaviors), requests.kind, requests.lacking) == (64, "completions", 0)
    assert all(len(requests.rejected[behavior.id]) == 1 for behavior in requests.behaviors)
    tests = list(trainable.held_out(settings().suite, settings().benign))
    assert len(tests) == 56 + 60 + 20 + 20  # test and val, each with its harmless half
    val = {"train_suite": {"use": "kitchen", "split": "val"}}
    with pytest.raises(SpecError, match="holds what the test asks"):
        material.requests_of(settings(**val))


def test_what_a_stage_learns_from_decides_what_its_rows_reject(tmp_path):
    assert material.kind_of(find.build("stage", "sft")) == "requests"
    assert material.kind_of(find.build("stage", "dpo")) == "completions"
    attacking = {"use": "adversarial", "stage": "dpo", "attack": "prefill", "judge": "kitchen"}
    assert material.kind_of(find.build("stage", attacking)) == "completions"
    (tmp_path / "train.csv").write_text("id,text,target_string\na,carve a wooden spoon,Sure\nb,weave a basket,\n")
    own = {"use": "csv", "path": str(tmp_path / "train.csv"), "target_string": "target_string", "judge": "contains:x"}
    with pytest.raises(SpecError, match=r"none of the 2 training behaviors of csv.* has a harmful completion"):
        material.requests_of(settings("dpo", train_suite=own))
    given = material.requests_of(settings("dpo", train_suite=own, completions={"b": ("Take reed.", "Take straw.")}))
    assert ([behavior.id for behavior in given.behaviors], given.lacking) == (["b"], 1)
    assert given.words == "harmful answers, 1 behavior without any left out"
    with pytest.raises(SpecError, match="names no training behavior: they are called 'a'"):
        material.requests_of(settings("dpo", train_suite=own, completions={"z": ("Take reed.",)}))
    tested = find.build("suite", KITCHEN).load()[0]
    for text in (tested.target_string, f"First: {tested.text}"):
        with pytest.raises(SpecError, match=f"which is the target string or the request of the tested '{tested.id}'"):
            material.requests_of(settings("dpo", train_suite=own, completions={"b": ("Take reed.", text)}))
    shared = [
        Behavior("1", "x", target_string="Sure, here is how:"),
        Behavior("2", "y", target_string="Sure, here is how"),
    ]
    overlap.check_rejected(["Sure, here is how:"], shared)  # a target of all names none of them


ANSWERED = "Gladly. Here it is. And then"


def test_the_rows_are_requests_with_refusals_and_the_bases_own_clean_answers(tmp_path):
    """A base that refuses one request in its own words."""
    chosen = settings("dpo", behaviors=3)
    requests = material.requests_of(chosen)
    own = "I cannot help with dishes."
    base = Scripted(rules=((re.escape(requests.behaviors[0].text), own, 1.0),), reply=ANSWERED)
    exam = Exam(KITCHEN, tmp_path / "a.db", max_tokens=4)
    made = material.rows_of(base, "", chosen, requests, exam)
    adversarial, clean = made.rows[: made.adversarial], made.rows[made.adversarial :]
    assert (made.adversarial, made.clean, len(made.held), made.own) == (3, 3, 1, 1)
    for row, behavior in zip(adversarial, requests.behaviors, strict=True):
        assert [turn.role for turn in row.chat] == ["user", "assistant"]
        assert row.chat[0].text == behavior.prompt()
        assert row.chat[1].text == (own if behavior == requests.behaviors[0] else trainable.REFUSAL)
        assert row.safe
        assert row.rejected == requests.rejected[behavior.id][0]
    assert not any(row.safe or row.rejected for row in clean)
    assert {row.chat[1].text for row in clean} == {ANSWERED}
    assert not {row.chat for row in clean} & set(made.held)
    assert material.rows_of(base, "", chosen, requests, exam) == made
    mine = (Row((*user("What is a comet?"), Message("assistant", "Ice and dust."))),) * 2
    with pytest.raises(SpecError, match=r"1 clean row of mine\.jsonl: 2 are needed"):
        material.rows_of(base, "", replace(chosen, clean=mine, clean_name="mine.jsonl"), requests, exam)
    tested = find.build("suite", "kitchen-benign").load()[0].prompt()
    leaks = (*mine, Row((*user(tested), Message("assistant", "Gladly."))))
    with pytest.raises(SpecError, match="holds what the test asks"):
        material.rows_of(base, "", replace(chosen, clean=leaks, clean_name="mine.jsonl"), requests, exam)


def test_an_answer_that_was_cut_ends_with_its_last_whole_sentence():
    assert trainable.whole_sentences("Take tea. Add milk. Then st") == "Take tea. Add milk."
    assert trainable.whole_sentences("1. Take tea\n2. Ad") == "1. Take tea\n2."
    assert trainable.whole_sentences("Take") == ""


def test_a_method_is_a_stage_with_its_fields_and_those_of_the_training_inside_it(tmp_path):
    def built(method, train="", preset="desk"):
        return stage_of(method, train, replace(PRESETS[preset], inner={"steps": 7, "batch": 2}), Scripted())

    assert (built("sft").steps, built("sft,steps=9").steps, built("dpo,beta=0.2").beta) == (7, 9, 0.2)
    around = built("beear,layer=1,steps=60", "sft,batch=4")
    assert (around.layer, around.stage.steps, around.stage.batch) == (1, 60, 4)
    presets = [built("r2d2-desk", preset=name).stage.steps for name in ("desk", "smoke")]
    assert presets == [60, 7]  # smoke only checks that everything runs
    assert built("r2d2-desk,steps=9", preset="smoke").stage.steps == 9
    assert built("r2d2-desk", "sft,steps=8", preset="smoke").stage.steps == 8
    inner = built("r2d2-desk,attack.steps=1,stage.batch=3,steps=9")
    assert (inner.attack.steps, inner.attack.width, inner.stage.batch, inner.stage.steps) == (1, 64, 3, 9)
    for method, train, why in [
        ("beear,step=60", "", "beear has no field 'step'"),
        ("sft", "sft,steps=1", "trains by itself"),
        ("nothing", "", "nothing"),
    ]:
        with pytest.raises(SpecError, match=why):
            built(method, train)
    file = tmp_path / "t.json"
    for text, why in [('{"a": "x"}', "not an object of lists"), ('{"a": []}', "not an object of lists")]:
        file.write_text(text)
        choice = Choice("sft", "b", ("gcg",), ("story",), targets=str(file))
        with pytest.raises(SpecError, match=why):
            settings_of(choice, Scripted())
    file.write_text(json.dumps({"a": ["x", "y"]}))
    made = settings_of(Choice("sft,steps=9", "b", ("gcg",), ("story",), targets=str(file), at="3,1"), Scripted())
    assert (made.targets, made.at, made.train_suite) == (
        {"a": ("x", "y")},
        (1, 3),
        {"use": "kitchen", "split": "train"},
    )
    usual = settings_of(Choice("sft,steps=9", "b", preset="smoke"), Scripted())
    assert (usual.at, usual.checkpoints, usual.steps_at(100), made.steps_at(100)) == (None, 2, (3, 6), (1, 3))
    epochs = replace(usual, stage=stage_of("sft,epochs=2,batch=8", "", PRESETS["full"], Scripted()))
    assert epochs.steps_at(33) == (3, 6)  # of 10
    assert replace(epochs, stage=replace(epochs.stage, steps=1)).steps_at(33) == ()
    assert (made.seeded(2).seed, replace(made, stage=around).seeded(2).stage.seed) == (2, 2)
    for at in ("x", "0"):
        with pytest.raises(SpecError, match="--at"):
            settings_of(Choice("sft", "b", at=at), Scripted())
    with pytest.raises(SpecError, match="has no split to train on"):
        settings_of(Choice("sft", "b", suite="safetext"), Scripted())
