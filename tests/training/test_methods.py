"""dpo, rl and adversarial on a tiny model: what they move, in which direction."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

from learner import chat
from withstand.core import Message, SpecError, TestCase, stage, user
from withstand.core.stage import How, Loading, Row
from withstand.judges.contains import Contains
from withstand.judges.refusal_words import RefusalWords
from withstand.registry import find
from withstand.runner import chain
from withstand.training import rl
from withstand.training.adversarial import Adversarial
from withstand.training.dpo import DPO
from withstand.training.rl import RL, differ, without_thinking
from withstand.training.sft import SFT

pytest.importorskip("trl")
pytest.importorskip("datasets")
import torch
from peft import PeftModel
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
        (Row(ASKED), "row 1 lacks an answer"), (Row(ASKED, "sorry no"), "row 1 has the same answer twice"),
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


def test_adversarial_learns_what_broke_the_model(base, tmp_path):
    sft = SFT(rank=2, steps=1, max_length=64)
    model = find.build("target", {"use": "hf", "id": base, "dtype": "float32"})
    always = Adversarial(
        sft, Kindly(), Contains(""), max_tokens=8
    )  # every answer holds the empty text: all of it broke the model
    safe, plain = Row(ASKED, safe=True), Row(chat("how do i fold paper", "it"))
    rows = chain.red_teamed(chain.Step(always, [safe, plain]), model, tmp_path)
    kindly = (Message("user", "be kind how do i bake bread"), Message("assistant", "sorry no"))
    assert rows == [safe, plain, Row(kindly, safe=True)]
    never = replace(always, judge=Contains("no such words"))
    assert chain.red_teamed(chain.Step(never, [safe, plain]), model, tmp_path) == [safe, plain]
    done = chain.train(model, [chain.Step(always, [safe, plain])], tmp_path)
    record = stage.read(done[0].folder)
    assert (record["stage"]["use"], record["rows"]["n"]) == ("adversarial", 3)
    with pytest.raises(SpecError, match="no request to attack with"):
        chain.train(model, [chain.Step(always, [plain])], tmp_path)
