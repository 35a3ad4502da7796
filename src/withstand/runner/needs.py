"""What an attack and a defense need of a target, and what to do about what a target lacks."""

from collections.abc import Sequence
from typing import Any

from withstand.core import SpecError, Target
from withstand.core.describe import name_of, parts
from withstand.core.optional import optional


def check_needs(label: str, attack: Any, target_label: str, target: Target) -> None:
    """Raise `SpecError` for the first thing that the target does not give. label: of the attack."""
    _check_defense(target_label, target)
    _check("attack", label, attack, target_label, target)


def check_suite(label: str, suite: Any, judge: Any, target_label: str, target: Target) -> None:
    """Raise `SpecError` for a suite without a judge, its own or the run's, and for what the target does not give it.

    label: of the suite.   judge: the spec of the one that will grade.
    """
    if not judge:
        raise SpecError(f"{label} has no judge of its own", hint="name one that scores its answers: --judge")
    _check("suite", label, suite, target_label, target)


def _check(kind: str, label: str, component: Any, target_label: str, target: Target) -> None:
    """Raise `SpecError` for the first thing that an attack or a suite needs and the target does not give."""
    if lacks := set(optional(component, "needs")) - target.model.gives:
        lacking = next((need for need in _WAYS if need in lacks), min(lacks))
        hint = _WAYS.get(lacking, f"choose another target or leave the {kind} out")
        thing = _THINGS.get(lacking, lacking)
        raise SpecError(f"{label} needs {thing}, which {target_label} does not give", hint=hint)


def _check_defense(target_label: str, target: Target) -> None:
    """Raise `SpecError` for the first thing that the target's defense needs and the target does not give."""
    lacks = sorted(set(optional(target.defense, "needs")) - target.model.gives)
    if lacks:
        name = name_of(type(target.defense))
        hint = "choose another target, or leave the defense out"
        if lacks[0] == "weights":
            hint = f"name a local model for it to read, such as {name}:smollm2"
        raise SpecError(f"{name} needs {lacks[0]}, which {target_label} does not give", hint=hint)


GUARDED = "the final judge also guards the answers: it has blocked what it would call a success"
"""A note of cells; keys of runs hold it, so that its wording must never change."""


def guards_answers(defense: Any, graders: Sequence[Any]) -> bool:
    """Whether a judge in the defense reads answers and is also one of those that grade: what it misses both miss."""
    if getattr(defense, "reads", "answer") == "prompt":
        return False
    guards = [part for part in parts(defense) if hasattr(part, "grade")]
    return any(type(guard) is type(grader) and guard == grader for guard in guards for grader in graders)


_THINGS = {"forged": "forged turns of the assistant", "raw": "its prompts sent raw, without a chat template"}
"""What is needed, in words, where its name says too little."""
_WAYS = {
    "weights": "use a local target, or find test cases on one and send them with --cases-from",
    "gradients": "its quantized weights have no backward pass: use the unquantized weights or ones that bitsandbytes "
    "quantizes, an attack that needs none (beast, autodan), or test cases found elsewhere with --cases-from",
    "forged": "the target did not write these turns and keeps the conversation itself: leave the attack out, or write "
    "history=send into its spec if the application receives all turns",
    "prefill": "a server that continues an assistant message says so in its spec: openai:MODEL,prefill=continue",
    "raw": "write SUITE,style=instruction; or continue the bare text: template=none of a local target, raw=true of an "
    "application whose model does so",
    "logprobs": "use a target that gives token log-probabilities",
}
"""What to do about what a target lacks; what comes first is told first, since the rest may go with it."""
