"""What a component may have besides the methods of its protocol."""

from collections.abc import Mapping
from typing import Any

from withstand.core.records import Behavior


def _nothing() -> None:
    """What `release()` does for a model that holds nothing, and `check()` for a component that cannot fail."""


def _none_by_behavior() -> dict[str, tuple[str, ...]]:
    """What `targets()` and `completions()` say of a suite that has none."""
    return {}


def _reads_answers_alone(_behavior: Behavior) -> bool:
    """What `reads_all(behavior)` says of a judge that is shown no empty and no blocked answer."""
    return False


OPTIONAL: Mapping[str, Any] = {
    "needs": frozenset(),
    "waits": 0,
    "utility": False,
    "reads_all": _reads_answers_alone,
    "guards": frozenset({"prompt", "answer"}),
    "grade_prompts": None,
    "surrogates": (),
    "together": 1,
    "parts": None,
    "begun_at": None,
    "upper_bound": False,
    "conversations": False,
    "draws_at": None,
    "variants": 0,
    "hosts": (),
    "release": _nothing,
    "marks": {},
    "check": _nothing,
    "footprint": None,
    "notes": (),
    "source": "",
    "near": "",
    "taxonomy": (),
    "targets": _none_by_behavior,
    "completions": _none_by_behavior,
    "obeys": (),
    "informed": False,
    "family": "",
    "adapts": True,
    "wrap": None,
    "randomized": False,
    "suspicion": None,
    "scan": None,
    "terms": None,
    "bypasses": (),
    "card": {},
}
"""What a component may have besides the methods of its protocol, and what holds for one that has it not.

Of a judge: `waits`, the number of people who must have labeled an answer, and `utility`, whether its success is a right
answer, and `reads_all(behavior)`, whether it says itself what an answer is that is empty, or blocked for a harmful
behavior; a judge of judges asks those that it has; `guards`, what it can judge where no behavior is known, "prompt" and
"answer", for the defense guard, and `grade_prompts(chats)`, how it does that with prompts, where it would not read one
as it reads an answer. Of
an attack: `needs`, what the target must give; `surrogates`, the models that it searches on instead of the target;
`together`, how many behaviors share a forward pass; `parts`, how many parts of work one call gets before they are saved
(None: as many as wait); `begun_at(slot)`, of one whose `advance(model, parts)` changes token ids, the state of a
search that begins at these, for a stage that attacks a model while it trains it: losses from before the weights changed
must not count, and the states that `advance` returns hold the ids at hand as "slot"; `upper_bound`, whether what it
sends is no text; `conversations`, whether the target takes part in its test cases, so that their completions hold
several answers; `draws_at`, the temperature at which it draws the answers that its test cases carry, where it is not
the run's;
`variants`, how many test cases it should make that
ask for the same as the behavior, so that a run sends those of the benign half too. Of a model: `hosts` that text is
sent to, `release()`, called when no later stage asks it, and `footprint()`, the JSON of `withstand.runner.memory`; None
where it takes no memory of this machine; `marks`, labels that its training left, of `withstand.core.stage.MARKS`.
Of a suite: `needs`, what a target must give; `notes`, what a reader must know of the user's copy; `source`, where to
get one; `near`, the path at which a twin of the same source lies; `taxonomy`, its categories' hazards and OWASP ids;
`targets()`, by behavior the target strings that a hardening draws from, and `completions()`, whole answers that it
trains away from; `obeys`, the categories whose behaviors succeed where a constraint of the application's own
instruction is broken, "*" for all, for `withstand audit suite`. Of any component `check()`, which raises `SpecError`
where it cannot work at all, before a run asks anything. Of a judge or a defense `card`, a JSON object of what its card
shows beside what was measured: what it was fitted to, its limits; in it `threshold` is the score from which on it
flags, and `positive` says what a flag means, of a judge that does not judge whether an answer shows its behavior.
Of a defense `needs`, what the target must give; for attacks that know it, see `Defense`. Of an attack,
`informed`: whether it is told the `bypasses` of the defense before its target, so that its final test cases are also
sent in their words; `adapts`: whether it goes on by what the target answers, where it asks it; `family`, one of
`withstand harden`'s, of an attack, or of a training stage that searches while it trains, from outside the package."""


def optional(component: Any, name: str) -> Any:
    """What a component has under a name of `OPTIONAL`, or its default. Raises `KeyError` for another name."""
    return getattr(component, name, OPTIONAL[name])
