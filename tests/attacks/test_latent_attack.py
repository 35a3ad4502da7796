"""The latent attack on a tiny model: its steps by an own forward pass, its answer by a plain loop."""

from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="needs the extra `local`")
pytest.importorskip("transformers", reason="needs the extra `local`")

import torch

from white_box import BREAD, played
from withstand.attacks.gradient import _unsent
from withstand.attacks.gradient.latent_attack import LatentAttack
from withstand.core import AskError, Sampling, SpecError, Target

SMALL = LatentAttack(steps=12, epsilon=0.4, lr=0.2, every=5)
SHORT = Sampling(max_tokens=8)


def perturbed_logits(model, ids, deltas):
    """Of one text: layer 0 by the embeddings, layer 1 in front of the second layer."""
    rest = len(ids) - deltas[0].shape[0]

    def put(delta):
        return torch.cat([delta, torch.zeros(rest, delta.shape[1])])

    hook = model.model.layers[1].register_forward_pre_hook(lambda _, inputs: (inputs[0] + put(deltas[1]), *inputs[1:]))
    out = model(inputs_embeds=model.model.embed_tokens(torch.tensor([ids])) + put(deltas[0]), use_cache=False)
    hook.remove()
    return out.logits[0]


def test_steps_answer_and_case(model):
    [case], answers = played(SMALL.run(BREAD, Target(model, sampling=SHORT)))
    loaded = model.load()
    prompt, target = (
        loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
        for text in ("<|user|>bake bread<|end|><|assistant|>", "Sure, bake")
    )
    states = loaded.model(torch.tensor([prompt]), output_hidden_states=True).hidden_states
    sizes = [states[layer][0].norm(dim=-1).median() for layer in (0, 1)]
    deltas = [torch.zeros(len(prompt), 32) for _ in sizes]
    losses, seen = [], []
    for _ in range(13):
        deltas = [delta.detach().requires_grad_() for delta in deltas]
        logits = perturbed_logits(loaded.model, prompt + target, deltas)[len(prompt) - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(target))
        losses.append(loss.item())
        seen.append([delta.detach() for delta in deltas])
        slopes = torch.autograd.grad(loss, deltas)
        deltas = [
            delta - 0.2 * size * slope / slope.norm(dim=-1, keepdim=True)
            for delta, slope, size in zip(deltas, slopes, sizes, strict=True)
        ]
        deltas = [
            torch.stack([row * (0.4 * size / row.norm()).clamp(max=1) for row in delta])
            for delta, size in zip(deltas, sizes, strict=True)
        ]
    assert answers[-1]["first"] == pytest.approx(losses[0], abs=1e-4)
    assert answers[-1]["loss"] == pytest.approx(min(losses), abs=1e-2)  # rounding adds up over twelve steps
    assert min(losses) < losses[0] - 2
    lowest, said = seen[losses.index(min(losses))], []
    with torch.no_grad():
        while len(said) < 8:
            token = int(perturbed_logits(loaded.model, prompt + said, lowest)[-1].argmax())
            if token in loaded.ends:
                break
            said.append(token)
    assert case.completion.text == loaded.tokenizer.decode(said, skip_special_tokens=True)
    assert (case.completion.prompt_tokens, case.completion.answer_tokens) == (len(prompt), len(said))
    assert (case.chat[0].text, case.completion.chat) == ("bake bread [perturbed states]", case.chat)
    assert LatentAttack.upper_bound
    assert len(answers) == 3  # pieces of 5, 5 and 3 losses


def test_without_a_perturbation_the_answer_is_the_models_own(model):
    """Of steps too short to change anything: the cache of the answer's tokens is read as it is."""
    [case], _ = played(replace(SMALL, steps=1, lr=1e-9).run(BREAD, Target(model, sampling=SHORT)))
    [plain] = model.generate([_unsent.user("bake bread")], SHORT, [0])
    assert case.completion.text == plain.text


def test_what_cannot_be_attacked_is_told(model):
    for fields, message in (
        ({"epsilon": 0.0}, "epsilon"), ({"lr": 0.0}, "lr"), ({"steps": 0}, "steps"), ({"layers": (-1,)}, "layers"),
    ):  # fmt: skip
        with pytest.raises(SpecError, match=message):
            LatentAttack(**fields)
    with pytest.raises(SpecError, match="layer 2 of 2"):
        played(replace(SMALL, layers=(2,)).run(BREAD, Target(model, sampling=SHORT)))
    with pytest.raises(AskError, match="window of 256"):
        played(SMALL.run(BREAD, Target(model, sampling=Sampling(max_tokens=250))))
