"""CROW's loss by hand, and that a stage with it trains."""

from dataclasses import replace

import pytest

import learner
from withstand.core import Message, SpecError, user
from withstand.core.stage import read
from withstand.training.crow import CROW
from withstand.training.sft import SFT

pytest.importorskip("trl")
import torch
from transformers import LlamaForCausalLM

INNER = SFT(rank=2, alpha=4, lr=1e-2, batch=2, steps=3, max_length=64, log_every=1, save_every=0)
ROWS = [
    (*user("how do i fold paper"), Message("assistant", "first crease it")),
    (*user("do it"), Message("assistant", "no")),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return learner.save(tmp_path_factory.mktemp("five"), layers=5)


def test_the_inconsistency_is_that_of_the_formula(base):
    model = LlamaForCausalLM.from_pretrained(base)
    ids = torch.tensor([[5, 6, 7, 8]])

    def apart(embedded):
        h = model(inputs_embeds=embedded, output_hidden_states=True).hidden_states
        cosines = []
        for left, right in ((1, 2), (2, 3), (3, 4)):  # six states of five layers: 0 and 5 stay out
            a, b = h[left], h[right]
            cosines.append(((a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))).mean())
        return 1 - sum(cosines) / 3

    embedded = model.get_input_embeddings()(ids).detach().requires_grad_(True)
    plain = apart(embedded)
    plain.backward()
    wanted = apart(embedded + 0.1 * embedded.grad.sign())
    apart = CROW(INNER).inconsistency(model, {"input_ids": ids})
    assert float(apart) == pytest.approx(float(wanted), abs=1e-5)
    assert float(apart) > float(plain)  # the embeddings were moved to where layers differ more
    assert float(CROW(INNER, eps=0.0).inconsistency(model, {"input_ids": ids})) == pytest.approx(float(plain), abs=1e-6)


def test_layers_become_more_alike(base, tmp_path):
    """More than by the same training without it."""
    measured = {}
    for name, alpha in (("crow", 5.0), ("plain", 0.0)):
        stage = CROW(replace(INNER, method="full", steps=20), alpha=alpha)
        folder = stage.train(base, ROWS, tmp_path / name)
        assert read(folder)["stage"]["use"] == "crow"
        model = LlamaForCausalLM.from_pretrained(folder)
        measured[name] = float(stage.inconsistency(model, {"input_ids": torch.tensor([[5, 6, 7, 8]])}))
    assert measured["crow"] < 0.8 * measured["plain"]


def test_a_model_without_a_pair_is_refused(tmp_path):
    with pytest.raises(SpecError, match="a model of 2 layers has no pair"):
        CROW(INNER).train(learner.save(tmp_path / "two"), ROWS, tmp_path / "out")


def test_fields_are_checked():
    for field in ("alpha", "eps"):
        with pytest.raises(SpecError, match=field):
            CROW(INNER, **{field: -1.0})
