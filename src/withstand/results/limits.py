"""The limits of a gate: rates, what is estimated, and the set of attacks that they are about."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from withstand.core import SpecError
from withstand.core.text import series
from withstand.stats.statistic import Statistic

DEFAULT: Statistic = "any_attack"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run must keep to. Rates lie in [0, 1]; None: not gated.

    asr: highest share of behaviors broken, as `statistic` counts it; held: lowest share that holds in all of k draws,
    for `all_of_k`.   broken: highest number of behaviors that any draw of any attack broke: a count of these behaviors,
    which are no sample of others.   worse: the highest difference from the baseline of any attack's mean.
    over_refusal, errors: highest rates.   statistic: None is `any_attack`, not chosen.   k: draws, for `at_k` and
    `all_of_k`; None: all of a behavior.   attacks: labels of the attacks that must have been run; none: any set.
    attacks_on: (suite, target, these labels) where a set is pinned, which depends on the target.   pooled: decide by
    one model of all cells.
    changed: the flags by which the run measured otherwise than the spec file of the limits.
    instead: flags that stand in place of limits of the run's spec, in words.
    categories: of a policy, each with its own highest rate.   every: `asr` and `worse` also hold for each category.
    allow_static: a defended target may pass though no attack knew its defense.
    """

    asr: float | None = None
    worse: float | None = None
    over_refusal: float | None = None
    errors: float | None = None
    held: float | None = None
    broken: int | None = None
    statistic: Statistic | None = None
    k: int | None = None
    attacks: tuple[str, ...] = ()
    pooled: bool = False
    changed: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()
    attacks_on: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    categories: tuple[tuple[str, float], ...] = ()
    every: bool = False
    allow_static: bool = False

    def pinned(self, suite: str, target: str) -> tuple[str, ...]:
        """Labels of the attacks that must have been run on a target; none: any set. What no pin is about never fits."""
        if not self.attacks_on:
            return self.attacks
        return next(
            (labels for of, on, labels in self.attacks_on if (of, on) == (suite, target)), ("a set of attacks",)
        )

    @property
    def counted(self) -> Statistic:
        """What is estimated of the harmful cells."""
        return self.statistic or DEFAULT

    @property
    def rate(self) -> float | None:
        """The limit of the harmful cells."""
        return self.held if self.counted == "all_of_k" else self.asr

    @property
    def gate(self) -> str:
        """What that limit is called."""
        return "min-held" if self.counted == "all_of_k" else "max-asr"

    @property
    def otherwise(self) -> str:
        """Why the run is not the measurement that its spec file is, so that it cannot pass; "" where it is."""
        if not self.changed:
            return ""
        flags = series(self.changed)
        return f"the run was made with {flags}, other than its spec file: run the file as it is, or change it"

    @property
    def notes(self) -> list[str]:
        """What a reader of the verdict has to know of its limits."""
        instead = f"decided by {series(self.instead)}" if self.instead else ""
        return [note for note in (self.otherwise, instead) if note]

    @property
    def empty(self) -> bool:
        """Whether nothing is gated."""
        rates = (self.asr, self.worse, self.over_refusal, self.errors, self.held, self.broken)
        return not self.categories and all(limit is None for limit in rates)

    def check(self, baseline: str | None, freezes: bool, reports: bool) -> None:
        """Raise `SpecError` where there is nothing to gate, or a limit does not fit what is estimated.

        freezes: the run's baseline is written.   reports: a gate report is written or printed.
        """
        if self.empty and (not freezes or baseline or reports):
            raise SpecError(
                "no limit is given: nothing to gate",
                hint="--max-asr, --max-broken, --max-worse, --max-over-refusal or --max-errors, or a table [gate] in "
                "the run's spec",
            )
        if self.worse is not None and not baseline:
            raise SpecError(
                "--max-worse, but no baseline",
                hint="--baseline RUN, or FILE from `withstand gate RUN --write-baseline FILE`",
            )
        if (self.held is not None) != (self.statistic == "all_of_k"):
            raise SpecError(
                "--min-held and --statistic all_of_k need each other",
                hint="--statistic all_of_k --min-held 0.9: 90% of the behaviors hold in all of k draws",
            )
        if self.categories and self.statistic == "all_of_k":
            raise SpecError("all_of_k counts what holds: --max-asr-of does not fit", hint="another --statistic")
        if self.every and self.asr is None and self.worse is None:
            raise SpecError("--by policy, but no limit for its categories", hint="--max-asr R, or --max-worse D")
        if self.asr is not None and self.statistic == "all_of_k":
            raise SpecError("all_of_k counts what holds: --max-asr does not fit", hint="--min-held R alone")
        if self.pooled and (self.asr is None or self.statistic != "mean"):
            raise SpecError("--pooled decides the mean ASR of each cell", hint="--max-asr R --statistic mean --pooled")
        if self.k is not None and self.statistic not in ("at_k", "all_of_k"):
            raise SpecError(f"{self.counted} has no number of draws k", hint="leave --k out, or --statistic at_k")


def limits_of(table: Mapping[str, Any], flags: Mapping[str, Any]) -> Limits:
    """The limits in the spec of a run (`[gate]`, as its plan keeps it), each overridden by a flag that is given."""
    names = {
        "asr": "max_asr", "worse": "max_worse", "over_refusal": "max_over_refusal", "errors": "max_errors",
        "held": "min_held", "broken": "max_broken", "statistic": "statistic", "k": "k",
    }  # fmt: skip
    given = {field: flags[name] if flags.get(name) is not None else table.get(name) for field, name in names.items()}
    if (
        flags.get("statistic") is not None or flags.get("min_held") is not None
    ):  # the other limit of the spec is not meant
        unmeant = "asr" if given["statistic"] == "all_of_k" else "held"
        given[unmeant] = flags.get(names[unmeant])
    pooled = bool(flags.get("pooled") or table.get("pooled"))
    attacks, changed = (tuple(table.get(name, ())) for name in ("attacks", "changed"))
    of_spec = ({"statistic": DEFAULT} if "max_asr" in table else {}) | {**table}
    instead = tuple(
        f"--{name.replace('_', '-')} {flags[name]}, where the run's spec has {of_spec[name]}"
        for name in names.values()
        if None not in (flags.get(name), of_spec.get(name)) and flags[name] != of_spec[name]
    )
    of_spec_categories = (table.get("policy") or {}).get("max_asr", {})
    categories = {**of_spec_categories, **dict(map(_category, flags.get("max_asr_of") or ()))}
    on = tuple((suite, target, tuple(labels)) for suite, target, labels in table.get("attacks_on", ()))
    return Limits(
        **given, pooled=pooled, attacks=attacks, changed=changed, attacks_on=on, instead=instead,
        categories=tuple(categories.items()), every=flags.get("by") == "policy",
        allow_static=bool(flags.get("allow_static") or table.get("allow_static")),
    )  # fmt: skip


def _category(text: str) -> tuple[str, float]:
    """A category and its limit, as in hate=0.05. Raises `SpecError`."""
    name, _, limit = text.rpartition("=")
    try:
        value = float(limit)
    except ValueError:
        value = -1.0
    if not name or not 0 <= value <= 1:
        raise SpecError(f"--max-asr-of {text} does not fit", hint="--max-asr-of CATEGORY=R, R from 0 to 1")
    return name.strip(), value
