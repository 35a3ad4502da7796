"""What the fields of GCG may hold, and which of them go together."""

from typing import Any

from withstand.core import SpecError, at_least


def check_search(attack: Any) -> None:
    """Raise `SpecError` for a field out of its range."""
    at_least(1, attack, "steps", "width", "topk", "n_replace", "verify", "every", "together")
    if attack.draft is not None and "weights" not in attack.draft.gives:
        raise SpecError(f"the draft {attack.draft.place} is text only", hint="a draft is a local model: hf:...")
    at_least(0, attack, "buffer", "screen_tokens", "stop_loss", "memory")
    if not 0 <= attack.momentum < 1:
        raise SpecError(f"momentum is {attack.momentum}; it must lie in [0, 1)")
    at_least(1, attack, "reduction", "answers")
    ranked = attack.screen != "none" or attack.screen_tokens or attack.draft is not None
    if attack.race and (ranked or attack.loss not in ("ce", "ce_first", "cw")):
        raise SpecError("race needs a loss of ce, ce_first or cw, scored in one precision by the target alone")
    if attack.probe and (attack.probe < 3 or not ranked):
        hint = "give it 3 or more candidates, and draft, screen or screen_tokens; a sixteenth of width is the paper's"
        raise SpecError(f"probe is {attack.probe}, and its agreement with a cheap ranking is not measured", hint=hint)
    if attack.loss == "entropy" and attack.screen_tokens:
        raise SpecError("loss=entropy reads one token alone", hint="leave screen_tokens out")
    if (attack.loss == "reinforce") != (attack.judge is not None):
        raise SpecError("loss=reinforce and judge go together", hint="loss=reinforce,judge=NAME, or neither")
    if attack.loss == "reinforce" and attack.stop_loss:
        raise SpecError("the loss of reinforce has no floor", hint="leave stop_loss out: a success ends the search")
