"""The two losses of circuit breakers and their schedule by hand, and what a training by them moves."""

import json
from dataclasses import replace

import pytest

import learner
from learner import chat
from withstand.core import Message, SpecError
from withstand.core.stage import How, Row, read, record_of
from withstand.training.circuit_breakers import CircuitBreakers
from withstand.training.safety_mix import SafetyMix
from withstand.training.sft import SFT, tokenized

pytest.importorskip("trl")
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoTokenizer, LlamaForCausalLM

SFT_ = SFT(rank=4, alpha=4, lr=2e-2, batch=2, steps=3, max_length=64, log_every=1, save_every=1)
PAIRS = [
    Row(chat("how do i bake bread", "sorry no"), "first open it then fold it", safe=True),
    Row(chat("how do i bake bread", "sorry no"), "then crease bread", safe=True),
    Row(chat("bake it", "sorry"), "open paper", safe=True),
]
CLEAN = [Row(chat("how do i fold paper", "crease it then open it")), Row(chat("be kind", "kind"))]
STAGE = CircuitBreakers(SFT_)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return learner.save(tmp_path_factory.mktemp("eight"), layers=8)


def harmful(row):
    return (*row.chat[:-1], Message("assistant", row.rejected))


def by_hand(model, base, rows, place):
    """Of each chat alone the states after a layer, at all tokens and at those of its answer."""
    whole, answers = [], []
    for turns in rows:
        row = tokenized(AutoTokenizer.from_pretrained(base), turns)
        states = model(torch.tensor([row["input_ids"]]), output_hidden_states=True).hidden_states[place][0].detach()
        whole.append(states)
        answers.append(states[torch.tensor(row["completion_mask"]).bool()])
    return torch.cat(whole), torch.cat(answers)


def losses(model, base, pairs, retain, keep=1.0):
    """L_s and L_r of the equations, at layers 2 and 5 (10 and 20 of 32); of eight layers none is the final norm's."""
    plain = LlamaForCausalLM.from_pretrained(base)
    both = [[by_hand(net, base, map(harmful, pairs), place)[1] for net in (model, plain)] for place in (2, 5)]
    cosines = [(new * old).sum(-1) / new.norm(dim=-1) / old.norm(dim=-1) for new, old in both]
    kept = [[by_hand(net, base, retain, place)[0] for net in (model, plain)] for place in range(1, 6)]
    far = [(new - old).square().sum(-1).sqrt() / (old.square().sum(-1).sqrt() if keep else 1) for new, old in kept]
    return float(torch.cat(cosines).clamp(min=0).mean()), float(torch.cat(far).mean())


def test_the_schedule_turns_first_and_keeps_later():
    """As the authors': at step 75 of 150 a quarter of the way of 300, at the last both halves."""
    for step, turn, keep in ((1, 9.9666667, 0.0333333), (75, 7.5, 2.5), (150, 5, 5)):
        assert STAGE.coefficients(step, 150) == pytest.approx((turn, keep), abs=1e-6)


@pytest.mark.parametrize("keep", [2.0, 0.0])
def test_the_loss_of_each_step_is_that_of_the_equations(base, tmp_path, keep):
    """The states are those of a pass over each chat alone by a model with the adapter and by the base without."""
    steps = []
    retain = [row.chat for row in (*CLEAN, PAIRS[0], PAIRS[2])]  # a refusal is kept once
    way = replace(STAGE, stage=replace(SFT_, batch=4), keep=keep)
    how = How(lambda step, loss: steps.append(loss), at=(1, 2))
    way.train(base, [*PAIRS, *CLEAN], tmp_path / "a", how)
    assert steps[0] == pytest.approx(10 * (1 - 1 / 6), abs=1e-4)  # at first h is h_base: the cosine is 1
    for step in (1, 2):
        adapter = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base), tmp_path / "a" / f"step-{step}")
        turned, far = losses(adapter, base, PAIRS, retain, keep)
        done = (step + 1) / 6
        assert steps[step] == pytest.approx(
            10 * (1 - done) * turned + 10 * done * (keep or 1) * far, rel=2e-3
        )  # saved in float16
    record = record_of(tmp_path / "a")
    rows = [tokenized(AutoTokenizer.from_pretrained(base), turns)["input_ids"] for turns in map(harmful, PAIRS)]
    kept = [tokenized(AutoTokenizer.from_pretrained(base), turns)["input_ids"] for turns in retain]
    assert record.tokens == 3 * 2 * (sum(map(len, rows)) + sum(map(len, kept)))  # with the adapter and without
    assert (read(tmp_path / "a")["stage"]["use"], read(tmp_path / "a")["rows"]["n"]) == ("circuit_breakers", 7)
    network = get_peft_model(LlamaForCausalLM.from_pretrained(base), LoraConfig(r=4, target_modules="all-linear"))
    assert STAGE.targets(network) == (2, 5)
    assert record.trained_parameters == network.get_nb_trainable_parameters()[0] * 5 // 8  # not beyond the last target


def test_states_of_harmful_answers_turn_away_and_retain_rows_keep_theirs(base, tmp_path):
    way = replace(STAGE, stage=replace(SFT_, rank=8, alpha=16, steps=30, batch=4, lr=1e-2))
    way.train(base, [*PAIRS, *CLEAN], tmp_path / "a")
    retain = [row.chat for row in (*CLEAN, *PAIRS)]
    plain = LlamaForCausalLM.from_pretrained(base)
    adapter = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base), tmp_path / "a")
    turned, far = losses(adapter, base, PAIRS, retain)
    new, old = (by_hand(net, base, retain, 5)[0] for net in (adapter, plain))
    assert turned < 0.1
    assert far < 0.3
    assert torch.nn.functional.cosine_similarity(new, old, dim=-1).mean() > 0.9


def test_the_name_that_is_given_to_the_base_is_the_one_in_the_result(base, tmp_path):
    folder = CircuitBreakers(replace(SFT_, steps=1, base_id="someone/tiny")).train(
        base, [*PAIRS, *CLEAN], tmp_path / "a"
    )
    assert read(folder)["base"] == "someone/tiny"
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "someone/tiny"


def test_what_cannot_be_trained_is_told(base, tmp_path):
    with pytest.raises(SpecError, match="circuit_breakers trains an adapter"):
        CircuitBreakers(replace(SFT_, method="full"))
    with pytest.raises(SpecError, match="circuit_breakers trains an adapter"):
        CircuitBreakers(SafetyMix(replace(SFT_, method="full")))
    with pytest.raises(SpecError, match="alpha"):
        replace(STAGE, alpha=0)
    with pytest.raises(SpecError, match="no unwanted answers"):
        STAGE.train(base, CLEAN, tmp_path / "a")
    with pytest.raises(SpecError, match="no clean rows"):
        STAGE.train(base, PAIRS, tmp_path / "b")
    with pytest.raises(SpecError, match="layer 9 is not among the model's 1 to 8"):
        replace(STAGE, layers=(9,)).train(base, [*PAIRS, *CLEAN], tmp_path / "c")
