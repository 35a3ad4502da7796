"""The settings of a fine-tuning audit from the words of its command line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

from withstand.audits.cost import fastest
from withstand.audits.finetune.arms import STAGES
from withstand.audits.finetune.settings import ARMS, Settings, preset
from withstand.audits.verdicts import Limits, bounds_of
from withstand.core import SpecError
from withstand.formats import finetuning
from withstand.registry import find, grammar
from withstand.runner import chain

BOUNDS = ("attacks", "refusals", "coherence", "over_refusal", "right", "loss")


@dataclass(frozen=True)
class Choice:
    """What the user chose; names, specs and file names as they are typed, "" or None for the preset's.

    `fail`, `warn` and `max_harm` in points, `gate` a share in [0, 1]. `bound`: other limits, as NAME=FAIL,WARN.
    """

    train: str = "sft"
    preset: str = "full"
    suite: str = "kitchen,wide=true"
    benign: str = ""
    judge: str = ""
    limit: int | None = None
    utility: str = "everyday"
    mitigate: Sequence[str] = ()
    safe: str | None = None
    unaligned: str = ""
    screen: str | None = None
    safety: str | None = None
    seeds: int = 1
    max_tokens: int | None = None
    phrases: int | None = None
    controls: int | None = None
    probed: int | None = None
    fail: float = 5.0
    warn: float = 2.0
    gate: float = 0.6
    max_harm: float | None = None
    bound: Sequence[str] = ()
    attack: Sequence[str] = ()
    panel: str = ""
    base: str = ""
    anyway: bool = False


def settings_of(choice: Choice, model: Any, folder: Path) -> Settings:
    """The settings for an audit of `model` in `folder`. Raises `SpecError` for what does not exist or does not fit."""
    stage = find.build("stage", grammar.parse(choice.train), **fastest(model))
    if not hasattr(stage, "method"):
        raise SpecError(f"--train {choice.train} is not a stage of its own method", hint="sft,method=full,lr=2e-5")
    arms = _arms(choice.mitigate or (("none",) if choice.preset == "smoke" else ()))
    more: dict[str, Any] = {
        "judge": choice.judge, "panel": choice.panel, "base": choice.base, "seeds": choice.seeds,
        "arms": tuple(name for name in arms if name != "none"),
        "changed": {name: fields for name, fields in arms.items() if fields},
        "limits": Limits(choice.fail, choice.warn, choice.gate, choice.max_harm, **bounds_of(choice.bound, BOUNDS)),
    }  # fmt: skip
    optional = {name: getattr(choice, name) for name in ("limit", "max_tokens", "safety", "controls", "probed")}
    more |= {name: value for name, value in optional.items() if value}
    more |= {"phrases": choice.phrases} if choice.phrases is not None else {}
    more |= {"anyway": True} if choice.anyway else {}
    if choice.benign:
        more["benign"] = grammar.parse(choice.benign)
    if choice.attack:
        more["attacks"] = tuple(grammar.parse(attack) for attack in choice.attack if attack != "none")
    if choice.screen:
        more["screen"] = find.build("judge", grammar.parse(choice.screen))
    if choice.safe:
        rows = finetuning.read(choice.safe).training(last_only=True)
        more["safe"] = tuple(replaced(row, safe=True) for row in rows)
    if choice.unaligned:
        more["unaligned"] = chain.merged(find.build("target", grammar.parse(choice.unaligned)), folder / "stages")
    if choice.utility != "none":
        more["utility"] = grammar.parse(choice.utility)
    return preset(choice.preset, stage, grammar.parse(choice.suite), **more)


def _arms(mitigate: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    """The fields of each arm, by its name."""
    specs = [grammar.parse(arm) for arm in mitigate or ARMS]
    arms = {spec.pop("use"): spec for spec in specs}
    if unknown := [name for name in arms if name not in (*ARMS, "none")]:
        raise SpecError(f"there is no mitigation {unknown[0]!r}", hint=f"{', '.join(ARMS)}, or none")
    if len(arms) < len(specs):
        raise SpecError("--mitigate names an arm twice", hint="run a second audit with its own --out for the second")
    if fixed := [name for name, fields in arms.items() if fields and name not in STAGES]:
        raise SpecError(f"the mitigation {fixed[0]} has no fields", hint=f"those of {', '.join(STAGES)} can be set")
    return arms
