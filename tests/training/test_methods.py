"""dpo, rl and adversarial on a tiny model: what they move, in which direction."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

from learner import chat
from withstand.core import Completion, Message, Sampling, SpecError, TestCase, stage, user
from withstand.core.records import trajectory
from withstand.core.stage import How, Loading, Row
from withstand.judges.contains import Contains
from withstand.judges.refusal_words import RefusalWords
from withstand.registry import find
from withstand.runner import chain
from withstand.training import rl
from withstand.training.adversarial import Adversarial
from withstand.training.dpo import DPO
from withstand.training.rl import RL, differ, without_thinking
from withstand.training.safety_mix import SafetyMix
from withstand.training.sft import SFT

pytest.importorskip("trl")
pytest.importorskip("datasets")
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

ASKED = chat("how do i bake bread", "sorry no")


def logprob(folder, base, asked, answer):
    """Of the answer's tokens after the chat, in nats; `folder` None: of the base."""
    model = AutoModelForCausalLM.from_pretrained(base)
    if folder:
        model = PeftModel.from_pretrained(model, folder)
    tokenizer = AutoTokenizer.from_pretrained(base)
    turns = [{"role": turn.role, "content": turn.text} for turn in asked]
    prompt = tokenizer(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))["input_ids"]
    ids = tokenizer(answer)["input_ids"]
    with torch.no_grad():
        scores = torch.log_softmax(model(torch.tensor([prompt + ids])).logits[0], -1)
    return float(sum(scores[len(prompt) - 1 + place, token] for place, token in enumerate(ids)))


def test_dpo_prefers_the_better_answer(base, tmp_path):
    way = DPO(rank=4, lr=1e-2, batch=1, steps=10, max_length=32, log_every=1, save_every=5)
    losses = []
    way.train(base, [Row(ASKED, "first crease")], tmp_path / "a", How(lambda _, loss: losses.append(loss), (5,)))
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)  # log 2: at the start policy and reference are one
    assert losses[-1] < 0.5
    before, after = (
        logprob(folder, base, ASKED[:1], "sorry no") - logprob(folder, base, ASKED[:1], "first crease")
        for folder in (None, tmp_path / "a")
    )
    assert after > before + 1
    assert stage.read(tmp_path / "a")["stage"]["use"] == "dpo"
    assert stage.record_of(tmp_path / "a").tokens > 0


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (Row(ASKED), "none of the 1 rows has a rejected answer"), (Row(ASKED, " "), "row 1 has an empty answer"),
        (Row(ASKED, "sorry no"), "row 1 has the same answer twice"),
        (Row(ASKED[:1], "no"), "row 1 does not end with an answer"),
        (Row(ASKED, "it " * 40), "row 1 has 51 tokens with its rejected answer"),
    ],
)  # fmt: skip
def test_dpo_names_a_bad_row(base, tmp_path, row, words):
    with pytest.raises(SpecError, match=words):
        DPO(max_length=32, steps=1).train(base, [row], tmp_path / "a")
    with pytest.raises(SpecError, match="no rows"):
        DPO().train(base, [], tmp_path / "a")


TINY_RL = RL(
    RefusalWords(), draws=4, batch=4, steps=2, max_tokens=4, max_length=32, rank=2, lr=1e-2, warmup=0, log_every=1
)
ASKING = [Row(ASKED, safe=True), Row(chat("how do i fold paper"), safe=True)]  # it never refuses: every word is 0


@pytest.mark.parametrize("algorithm", ["rloo", "grpo"])
def test_rl_learns_from_a_teacher_what_a_judge_alone_does_not_tell(base, tmp_path, algorithm, monkeypatch):
    way = replace(TINY_RL, algorithm=algorithm)
    with pytest.raises(stage.TrainingError, match="nothing was learned in 2 steps: all answers to a chat"):
        way.train(base, ASKING, tmp_path / "a")
    assert not (tmp_path / "a" / stage.FILE).exists()
    with monkeypatch.context() as patch:  # the weights move by something else, as by the rounding of the KL term
        sums = iter(range(9))
        patch.setattr(rl, "_sums", lambda _model: next(sums))
        with pytest.raises(stage.TrainingError, match="nothing was learned"):
            way.train(base, ASKING, tmp_path / "c")
    assert differ([0, 0, 1, 1], [1.0, 1.0, 0.0, 0.5])
    assert not differ([0, 0, 1, 1], [1.0, 1.0 + 1e-9, 0.0, 0.0])
    teacher = find.build("target", {"use": "hf", "id": base, "dtype": "float32"})
    replace(way, teacher=teacher).train(base, ASKING, tmp_path / "b", How(at=(1,)))
    record = stage.read(tmp_path / "b")
    assert (record["stage"]["use"], record["steps"], record["record"]["steps"]) == ("rl", [1], 2)
    assert record["stage"]["teacher"]["use"] == "hf"
    assert stage.record_of(tmp_path / "b").tokens > 0


def test_the_advantage_is_that_of_rloo_over_likelihood_and_word(base, tmp_path, monkeypatch):
    """By hand: A_i = r_i - mean of the other rewards, r = penalty * word + max(mean log p, -10)."""
    teacher = find.build("target", {"use": "hf", "id": base, "dtype": "float32"})
    way = replace(TINY_RL, steps=1, teacher=teacher, penalty=3.0, judge=Contains("crease", outcome="refused"))
    row, texts = Row(user("how do i bake bread")), ["first crease", "sorry no", "it", " "]
    nats = [logprob(None, base, row.chat, text) / len(text.split()) for text in texts[:3]]
    expected = [nats[0], nats[1] + 3, nats[2] + 3, -10]
    assert way.rewards([row] * 4, texts) == pytest.approx(expected, abs=1e-4)
    monkeypatch.setattr(RL, "rewards", lambda self, rows, texts: expected)
    trainer = way._trainer(base, [row], Loading(), tmp_path)
    trainer.train()
    advantages = list(trainer._logs["advantages"])  # of the first step, where the KL is 0
    assert advantages == pytest.approx([r - (sum(expected) - r) / 3 for r in expected], abs=1e-4)


def test_the_reward_is_the_judges_word():
    way = RL(RefusalWords())
    safe, plain = Row(user("bake"), safe=True), Row(user("fold"))
    refusal = "I'm sorry, but I can't help with that."
    assert [way.reward(safe, text) for text in (refusal, "First, crease it.", "")] == [1, 0, 0]
    assert [way.reward(plain, text) for text in (refusal, "First, crease it.", "")] == [0, 1, 0]
    with pytest.raises(SpecError, match="multiple"):
        RL(RefusalWords(), draws=3)
    with pytest.raises(SpecError, match="teacher of rl has no weights"):
        RL(RefusalWords(), teacher=find.build("target", "scripted"))
    texts = ("<think>bake</think> No.", "<think>bake", "bake</think>\nNo.", "No.")
    assert [without_thinking(text) for text in texts] == ["No.", "", "No.", "No."]


@dataclass(frozen=True)
class Kindly:
    """Asks kindly. Ours."""

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset] = frozenset()
    seed: int = 0

    def run(self, behavior, target):
        yield TestCase(behavior.id, user(behavior.text))
        yield TestCase(behavior.id, user(f"be kind {behavior.text}"))


PLAIN = Row(chat("how do i fold paper", "it"))
KINDLY = (Message("user", "be kind how do i bake bread"), Message("assistant", "sorry no"))


def attacked(stage, judge, attack=None, most=4):
    return Adversarial(stage, attack or Kindly(), judge, most=most, max_tokens=8)


def test_adversarial_learns_what_broke_the_model(base, tmp_path, monkeypatch):
    """The answers that broke it become `rejected`, so that any stage inside, dpo too, learns from what was found."""
    model = find.build("target", {"use": "hf", "id": base, "dtype": "float32"})
    safe = Row(ASKED, safe=True)
    sft, always = SFT(rank=2, steps=1, max_length=64), Contains("")  # every answer holds the empty text
    rows = chain.red_teamed(chain.Step(attacked(sft, always), [safe, PLAIN]), model, tmp_path)
    said = [model.generate([chat[:-1]], Sampling(max_tokens=8), [0])[0].text for chat in (ASKED, KINDLY)]
    assert all(said)
    assert rows == [replace(safe, rejected=said[0]), PLAIN, Row(KINDLY, said[1], safe=True)]
    twice = [safe, Row(ASKED, "first crease", safe=True), PLAIN]  # a request is attacked once; a row keeps its own
    rows = chain.red_teamed(chain.Step(attacked(sft, always), twice[1:]), model, tmp_path)
    assert rows == [*twice[1:], Row(KINDLY, said[1], safe=True)]
    rows = chain.red_teamed(chain.Step(attacked(sft, always), twice), model, tmp_path)
    assert rows == [replace(safe, rejected=said[0]), *twice[1:], Row(KINDLY, said[1], safe=True)]
    never = Contains("no such words")
    assert chain.red_teamed(chain.Step(attacked(sft, never), [safe, PLAIN]), model, tmp_path) == [safe, PLAIN]
    dpo = DPO(rank=4, lr=1e-2, batch=1, steps=6, max_length=64, log_every=1)
    done = chain.train(model, [chain.Step(attacked(dpo, always), [safe, PLAIN])], tmp_path)
    record = stage.read(done[0].folder)
    assert (record["stage"]["use"], record["rows"]["n"]) == ("adversarial", 3)
    gaps = [
        logprob(folder, base, KINDLY[:1], "sorry no") - logprob(folder, base, KINDLY[:1], said[1])
        for folder in (None, done[0].folder)
    ]
    assert gaps[1] > gaps[0] + 1
    with pytest.raises(SpecError, match="no request to attack with"):
        chain.train(model, [chain.Step(attacked(sft, always), [PLAIN])], tmp_path)
    with pytest.raises(SpecError, match="adversarial is inside safety_mix: it would not attack"):
        chain.train(model, [chain.Step(SafetyMix(attacked(sft, always)), [safe, PLAIN])], tmp_path)


@dataclass(frozen=True)
class Odd(Kindly):
    """A prefilled case, one in which the first of two answers broke the model, and one in which the second did."""

    def run(self, behavior, target):
        yield TestCase(behavior.id, (*user("do it"), Message("assistant", "first ")))
        for first, second in (("open it", "no no"), ("no", "open it then")):
            talk = (*user(f"be kind {first}"), Message("assistant", first), *user("and then"))
            answers = [Completion(talk[:1], first), Completion(talk, second)]
            yield TestCase(behavior.id, talk, completion=trajectory(answers))


def test_what_is_rejected_is_the_answer_to_the_row_s_own_chat(base, tmp_path):
    model = find.build("target", {"use": "hf", "id": base, "dtype": "float32"})
    step = chain.Step(attacked(SFT(), Contains("open"), Odd()), [Row(ASKED, safe=True)])
    *_, first, second = chain.red_teamed(step, model, tmp_path)
    assert (first.rejected, second.rejected) == ("", "open it then")  # else a good answer is shunned
    always = replace(step, stage=attacked(SFT(), Contains(""), Odd()))
    prefilled = chain.red_teamed(always, model, tmp_path)[1]
    assert prefilled.chat == (*user("do it"), Message("assistant", "sorry no"))
    assert prefilled.rejected.startswith("first ")
    cases = [(user("a"), ""), (user("a"), "it"), (user("b"), " sorry no"), (ASKED[:1], "it")]  # none but "it" is one
    row, *rest = attacked(SFT(), always.stage.judge, most=2).broken(Row(ASKED, safe=True), cases)
    assert [row.rejected for row in (row, *rest)] == ["it", "it", ""]


def test_dpo_learns_ordinary_rows_beside_its_pairs_by_hand(base, tmp_path):
    """L = mean DPO of the pairs, which is log 2 at first, + clean * mean cross-entropy of the ordinary answers."""
    way = DPO(rank=4, lr=1e-3, batch=2, steps=1, max_length=32, log_every=1, clean=0.5, save_every=0)
    losses, other = [], Row(chat("be kind", "open it then"))
    rows = [PLAIN, Row(ASKED, "first crease"), other]
    way.train(base, rows, tmp_path / "a", How(lambda _, loss: losses.append(loss)))
    nats = [-logprob(None, base, row.chat[:1], f"{row.chat[1].text} <|im_end|>") for row in (PLAIN, other)]
    assert losses == [pytest.approx(0.693147 + 0.5 * sum(nats) / (2 + 4), abs=1e-4)]
    assert stage.read(tmp_path / "a")["rows"]["n"] == 3


def test_adversarial_goes_on_after_a_kill_without_attacking_again(base, tmp_path, monkeypatch):
    """On an adapter, which is merged while the second trains; the weights are those of an undisturbed training."""

    class StopHereError(Exception):
        pass

    def stop(place, step, _):
        if (place, step) == (1, 3):
            raise StopHereError

    model = find.build("target", {"use": "hf", "id": base, "dtype": "float32"})
    sft = SFT(rank=2, lr=1e-2, batch=2, steps=5, max_length=64, log_every=1, save_every=1)
    steps = [chain.Step(sft, [PLAIN]), chain.Step(attacked(sft, Contains("")), [Row(ASKED, safe=True), PLAIN], at=(2,))]
    with pytest.raises(StopHereError):
        chain.train(model, steps, tmp_path / "a", log=stop)
    monkeypatch.setattr(type(model), "generate", None)
    chain.remove_copies()  # as they go with a killed process
    trained = chain.train(model, steps, tmp_path / "a")[1]
    monkeypatch.undo()
    whole = chain.train(model, steps, tmp_path / "b")[1]
    assert (trained.key, trained.record.resumed, whole.record.resumed) == (whole.key, 1, 0)
    assert list(trained.checkpoints()) == [2]
    for name in ("", "step-2"):
        weights = [load_file(done.folder / name / "adapter_model.safetensors") for done in (trained, whole)]
        assert weights[0].keys() == weights[1].keys()
        assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
