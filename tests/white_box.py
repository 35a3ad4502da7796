"""What the tests of white-box attacks share: a model's plain loss, a flow played by hand."""

from typing import Any

import pytest
import torch

from withstand.attacks.gradient._free import Free
from withstand.core import Behavior, Flow, TestCase, Work, Worked
from withstand.models.hf import HF

BREAD = Behavior("bread", "bake bread", target_string="Sure, bake")


def plain_loss(model: HF, text: str, behavior: Behavior = BREAD) -> float:
    """The loss of the target string by a forward pass of the model alone."""
    loaded = model.load()
    prompt = loaded.tokenizer(f"<|user|>{text}<|end|><|assistant|>", add_special_tokens=False)["input_ids"]
    target = loaded.tokenizer(behavior.target_string, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = loaded.model(torch.tensor([prompt + target])).logits[0, len(prompt) - 1 : -1]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(target)).item()


def played(flow: Flow[None]) -> tuple[list[TestCase], list[Any]]:
    """The test cases of a flow, and the JSON of its pieces of work."""
    cases: list[TestCase] = []
    pieces: list[Any] = []
    answer = None
    while True:
        try:
            item = flow.send(answer)
        except StopIteration:
            return cases, pieces
        answer = None
        if isinstance(item, Work):
            [value] = item.do(item.model, [item.part])
            pieces.append(value)
            answer = Worked(value)
        else:
            cases.append(item)


def random_losses(free: Free, count: int) -> list[float]:
    """What so many random texts of ten free tokens cost, packed; a few are read as the attack itself reads them."""
    places = torch.randint(len(free.ids), (count, 10), generator=torch.Generator().manual_seed(0))
    slots = free.ids[places].tolist()
    losses: list[float] = free.objective.losses([(free.prompt, slots[0], slots)])[0].tolist()
    assert losses[:5] == pytest.approx([free.scored(slot)[0] for slot in slots[:5]], abs=1e-4)
    return losses
