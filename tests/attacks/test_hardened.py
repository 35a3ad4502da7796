"""Attacks by weights on a model whose hardening is an adapter, as latent training and circuit breakers leave it."""

import pytest

pytest.importorskip("peft", reason="needs the extra `local`")

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from white_box import BREAD, played
from withstand.attacks.gradient.gcg import GCG
from withstand.attacks.gradient.latent_attack import LatentAttack
from withstand.core import Sampling, Target
from withstand.engine.engine import engine_of
from withstand.engine.text import make_prompt
from withstand.models.hf import HF
from withstand.training._model import save


def test_losses_gradients_and_scores_are_those_of_the_adapter_over_the_base(model, tmp_path):
    """By plain passes of the two unmerged; the base was attacked before, and its trunks do not count."""
    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_pretrained(model.id, dtype=torch.float32)
    lora = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    save(get_peft_model(base, lora), AutoTokenizer.from_pretrained(model.id), tmp_path / "new", tmp_path / "lora", "b")
    hardened = HF(model.id, adapter=str(tmp_path / "lora"), dtype="float32")
    plain = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(model.id, dtype=torch.float32), str(tmp_path / "lora")
    )
    attack = GCG(steps=3, width=16, topk=16, init="! ! !")
    played(attack.run(BREAD, Target(model)))
    prompt, slot = make_prompt(hardened, BREAD, "! ! !")
    swapped = [[*slot[:place], 30 + place, *slot[place + 1 :]] for place in range(len(slot))]
    engine = engine_of(hardened)
    [losses] = engine.losses([(prompt, slot, swapped)])
    [(gradient, _)] = engine.gradients([(prompt, slot)])
    embed = plain.get_input_embeddings()

    def loss(embeds):
        logits = plain(inputs_embeds=embeds[None]).logits[0, -len(prompt.target) - 1 : -1]
        return torch.nn.functional.cross_entropy(logits, torch.tensor(prompt.target))

    def embedded(ids):
        return embed(torch.tensor([*prompt.head, *ids, *prompt.tail, *prompt.target])).detach()

    assert losses.tolist() == pytest.approx([loss(embedded(ids)).item() for ids in swapped], abs=1e-4)
    leaf = embedded(slot).requires_grad_()
    [wanted] = torch.autograd.grad(loss(leaf), leaf)
    place = len(prompt.head)
    torch.testing.assert_close(gradient, wanted[place : place + len(slot)], atol=1e-4, rtol=1e-3)
    cases, _ = played(attack.run(BREAD, Target(hardened)))
    ids = hardened.load().tokenizer(hardened.render(cases[-1].chat), add_special_tokens=False)["input_ids"]
    sent = embed(torch.tensor([*ids, *prompt.target])).detach()
    assert cases[-1].score == pytest.approx(-loss(sent).item(), abs=1e-4)
    assert engine_of(model).loss_of(ids, prompt) != pytest.approx(loss(sent).item(), abs=0.1)
    _, [states] = played(LatentAttack(steps=1, every=9).run(BREAD, Target(hardened, sampling=Sampling(max_tokens=1))))
    bare = hardened.load().tokenizer("<|user|>bake bread<|end|><|assistant|>", add_special_tokens=False)["input_ids"]
    assert states["first"] == pytest.approx(
        loss(embed(torch.tensor([*bare, *prompt.target])).detach()).item(), abs=1e-4
    )
