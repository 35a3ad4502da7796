"""BEEAR's two levels by hand, and that a stage with it trains."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

import learner
from withstand.core import Message, SpecError, user
from withstand.core.stage import Row, read
from withstand.training import _pairs
from withstand.training._pairs import Reading
from withstand.training.beear import BEEAR
from withstand.training.sft import SFT, tokenized

pytest.importorskip("trl")
import torch
from datasets import Dataset
from peft import PeftModel
from transformers import AutoTokenizer, LlamaForCausalLM

INNER = SFT(rank=2, alpha=4, lr=1e-2, batch=2, steps=3, max_length=64, log_every=1, save_every=0)
ROWS = [
    Row((*user("how do i fold paper"), Message("assistant", "first crease it")), rejected="no no"),
    Row((*user("do it"), Message("assistant", "fold it")), rejected="no"),
]
STAGE = BEEAR(INNER, layer=2, positions=2, inner_steps=1, inner_lr=0.1, pairs=2)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return learner.save(tmp_path_factory.mktemp("four"), layers=4)


def data(base):
    """The pairs as the trainer has them: with the safe answers, then with the unwanted ones."""
    chats = [row.chat for row in ROWS] + [(*row.chat[:-1], Message("assistant", row.rejected)) for row in ROWS]
    return [tokenized(AutoTokenizer.from_pretrained(base), chat) for chat in chats]


def texts(base):
    cut = _pairs.cut(STAGE, data(base))
    return cut[:2], cut[2:]


def nats(model, request, answer, delta):
    """The mean cross-entropy of one answer alone, delta put into the third layer's input by hand."""

    def put(_module, inputs):
        moved = torch.cat([torch.zeros(len(request) - 2, 16), delta, torch.zeros(len(answer), 16)])
        return (inputs[0] + moved, *inputs[1:])

    handle = model.model.layers[2].register_forward_pre_hook(put)
    logits = model(torch.tensor([[*request, *answer]])).logits[0, len(request) - 1 : -1]
    handle.remove()
    return -torch.log_softmax(logits, -1)[range(len(answer)), answer].mean()


def test_both_levels_are_those_of_the_equations(base):
    model = LlamaForCausalLM.from_pretrained(base)
    safe, unwanted = texts(base)
    assert [request for request, _ in safe] == [request for request, _ in unwanted]
    delta = torch.zeros(2, 16, requires_grad=True)
    objective = (
        sum(nats(model, *bad, delta) - nats(model, *good, delta) for good, bad in zip(safe, unwanted, strict=True)) / 2
    )
    objective.backward()
    states = []
    handle = model.model.layers[2].register_forward_pre_hook(lambda _, inputs: states.append(inputs[0][0, -2:]))
    for request, _ in safe:
        model(torch.tensor([request]))
    handle.remove()
    size = torch.stack(states).norm(dim=-1).mean()
    wanted = -0.1 * size * delta.grad / delta.grad.norm(dim=-1, keepdim=True)
    got = STAGE.search(Reading(model), safe, unwanted)
    longest = max(len(request) for request, _ in safe)
    for row, (request, _) in zip(got[2], safe, strict=True):
        at_the_end = torch.zeros(longest, 16)
        at_the_end[len(request) - 2 : len(request)] = wanted
        assert row.numpy() == pytest.approx(at_the_end.detach().numpy(), abs=1e-5)
    by_hand = [nats(model, *text, wanted.detach()).item() for text in safe]
    assert STAGE.answer_loss(Reading(model), safe, got).tolist() == pytest.approx(by_hand, abs=1e-5)


def test_the_loss_of_a_step_is_the_ordinary_one_and_the_one_under_delta(base):
    model = LlamaForCausalLM.from_pretrained(base)

    class Plain:
        state = SimpleNamespace(global_step=3, num_input_tokens_seen=0)

        def __init__(self, train_dataset):
            self.learned = [row["input_ids"] for row in train_dataset]

        def compute_loss(self, model, inputs, return_outputs=False):
            return torch.tensor(7.0), "outputs"

    rows = data(base)
    trainer = _pairs.changed(STAGE, Plain, 1, 2)(train_dataset=Dataset.from_list([rows[3], *rows]))
    assert trainer.learned == [rows[3]["input_ids"]]
    safe, unwanted = texts(base)
    reading = Reading(model)
    under = STAGE.answer_loss(reading, safe, STAGE.search(reading, safe, unwanted)).mean()
    loss, outputs = trainer.compute_loss(model, {}, return_outputs=True)
    assert (loss.item(), outputs) == (pytest.approx(7 + under.item(), abs=1e-5), "outputs")
    requests, answers = sum(len(request) for request, _ in safe), sum(len(answer) for _, answer in safe)
    search = 3 * requests + answers + sum(len(answer) for _, answer in unwanted)
    assert trainer.state.num_input_tokens_seen == reading.tokens == search + requests + answers


def test_the_safe_answers_hold_under_the_perturbation(base, tmp_path):
    """Better than after the same training without it; and what was trained says what it is."""
    inner = replace(INNER, steps=10, lr=2e-2)
    beear = replace(STAGE, stage=inner, inner_steps=4, inner_lr=0.3)
    left = {}
    for name, stage, rows in (("beear", beear, ROWS), ("plain", inner, [row.chat for row in ROWS])):
        folder = stage.train(base, rows, tmp_path / name)
        assert read(folder)["stage"]["use"] == ("beear" if name == "beear" else "sft")
        model = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base), folder)
        safe, unwanted = texts(base)
        reading = Reading(model)
        left[name] = float(STAGE.answer_loss(reading, safe, beear.search(reading, safe, unwanted)).mean())
    assert left["beear"] < 0.8 * left["plain"]


def test_what_cannot_be_trained_is_told(base, tmp_path):
    with pytest.raises(SpecError, match="no unwanted answers"):
        STAGE.train(base, [ROWS[0].chat], tmp_path / "a")
    with pytest.raises(SpecError, match="layer 4 of 4"):
        replace(STAGE, layer=4).train(base, ROWS, tmp_path / "b")
    with pytest.raises(SpecError, match="fewer than positions, 50"):
        replace(STAGE, positions=50).train(base, ROWS, tmp_path / "c")
    for field in ("positions", "inner_steps", "pairs", "inner_lr"):
        with pytest.raises(SpecError, match=field):
            replace(STAGE, **{field: 0})
