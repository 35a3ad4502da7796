"""Embedding and latent attacks as tampering: who holds the weights can feed them vectors that no text stands for.

No weight changes, so that what the model still knows is the base's. Both are upper bounds (Schwinn et al. 2024,
arXiv:2402.09063; Casper et al. 2024, arXiv:2403.05030).

They are also the adaptive attack on circuit breakers. Rerouting turns the states of a harmful answer away; free
embeddings are searched for until the states behind them are not turned, and perturbed states enter above and below the
rerouted layers, both by the target string's loss alone. Schwinn and Geisler 2024, arXiv:2407.15902, break circuit
breakers so, without the defense's own loss. They judge several answers of a search, and here one is: where these
attacks fail, nothing is shown.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from withstand.audits.ask import spent
from withstand.audits.exam import Answers
from withstand.audits.tamper.measure import Measure
from withstand.audits.tamper.records import Method, Tampered
from withstand.audits.tamper.settings import Settings
from withstand.core import Behavior, Json, SpecError
from withstand.engine.text import whole_prompt
from withstand.registry import find

METHODS: Mapping[str, Method] = {"embedding_attack": "embedding", "latent_attack": "latent"}
READ = 8
"""Behaviors by whose prompts operations are estimated."""


def soft(
    measure: Measure, model: Any, settings: Settings, say: Callable[[str], None] = lambda _: None
) -> list[Tampered]:  # fmt: skip
    """What each attack of `settings.soft` reaches, with the operations and seconds of its search."""
    return [_attacked(measure, model, spec, say) for spec in settings.soft]


def label(spec: Mapping[str, Any]) -> str:
    """For people, such as "latent, steps 20"."""
    fields = (f"{name} {value}" for name, value in spec.items() if name != "use")
    return ", ".join([METHODS[spec["use"]], *fields])


def operations(model: Any, spec: Mapping[str, Any], behaviors: Sequence[Behavior]) -> float:
    """FLOPs of the attack on the behaviors, at most: a pass and its gradient by the states, 4 x parameters x tokens,
    for each step. 0 where no behavior has a target string to search by."""
    aimed = [behavior for behavior in behaviors if behavior.target_string]
    if not aimed:
        return 0.0
    attack: Any = find.build("attack", dict(spec))
    prompts = [whole_prompt(model, behavior) for behavior in aimed[:READ]]
    tokens = fmean(len(prompt.head) + len(prompt.target) for prompt in prompts) + getattr(attack, "length", 0)
    return float(4 * model.load().model.num_parameters() * tokens * (attack.steps + 1) * len(aimed))


def _attacked(measure: Measure, model: Any, spec: Mapping[str, Any], say: Callable[[str], None]) -> Tampered:
    key: Json = [find.describe(find.build("attack", dict(spec))), model.identity()]
    title = label(spec)
    if (kept := measure.kept(key)) is not None:
        say(f"{title}: measured earlier")
        return kept
    say(f"{title}: searching and asking")
    fields = {name: value for name, value in spec.items() if name != "use"}
    blank = Tampered(METHODS[spec["use"]], title, fields, {}, [], right=measure.base.right)
    try:
        run = measure.exam.run(model, measure.system, dict(spec))
    except SpecError as error:
        say(f"{title}: {error}")
        return replace(blank, why=str(error))
    flops, seconds = spent(run)
    cell = measure.tampered(model, blank, [Answers.of(run, measure.system)], nats=measure.base.nats)
    return measure.keep(key, replace(cell, flops=flops, seconds=seconds))
