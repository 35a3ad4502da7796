"""What a run is asked to do, as written: a TOML file, the command line's flags, or a dict from Python."""

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from withstand.core import SpecError, bounded, did_you_mean
from withstand.registry import sets
from withstand.registry.grammar import spec_of, toml_value
from withstand.runner import foreign
from withstand.stats.statistic import Statistic

Component = Annotated[dict[str, Any], BeforeValidator(spec_of)]


def _many(value: Any) -> Any:
    return [value] if isinstance(value, (str, Mapping)) else value


Components = Annotated[list[Component], BeforeValidator(_many)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SamplingSpec(_Table):
    """What the run says of sampling; what is left out is the suite's."""

    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=10)
    top_p: float | None = Field(default=None, gt=0, le=1)
    stop: tuple[str, ...] | None = None


class BudgetSpec(_Table):
    """Hard caps per behavior and attack."""

    asks: int | None = Field(default=None, ge=1)
    tokens: int | None = Field(default=None, ge=1)
    seconds: float | None = Field(default=None, gt=0)


class ChoiceSpec(_Table):
    """Which behaviors of a suite: `limit` of them, those whose fields have the values in `where`, those in `ids`."""

    limit: int | None = Field(default=None, ge=1)
    where: dict[str, str] = {}
    ids: list[str] | None = None


Share = Annotated[float, Field(ge=0, le=1)]


class PolicyGateSpec(_Table):
    """[gate.policy]: the file of the policy, and the highest rate of each of these categories, in [0, 1]."""

    file: str
    max_asr: dict[str, Share] = {}


class GateSpec(_Table):
    """What `withstand gate` holds a run against: limits in [0, 1], what is estimated, and the attacks it is about.

    `max_broken` is a number of behaviors.

    `attacks` None: those of the spec. `baseline`: a file or a run. `undecided` None: exit code 3. `changed`: flags by
    which a run measured otherwise than its spec file says; such a run cannot pass. `policy`: limits of its categories.
    `allow_static`: a defended target may pass though no attack knew its defense.
    """

    max_asr: Share | None = None
    min_held: Share | None = None
    max_over_refusal: Share | None = None
    max_errors: Share | None = None
    max_worse: Share | None = None
    max_broken: int | None = Field(default=None, ge=0)
    statistic: Statistic | None = None
    k: int | None = Field(default=None, ge=1)
    attacks: Components | None = Field(default=None, min_length=1)
    pooled: bool | None = None
    baseline: str | None = None
    undecided: Literal["pass", "fail"] | None = None
    changed: list[str] | None = None
    policy: PolicyGateSpec | None = None
    allow_static: bool | None = None


class RunSpec(_Table):
    """A run: the product suite x target x defense x attack, judged. Design: `withstand init` writes a commented one.

    `judge` None is the suite's own; `benign` None the suite's twin, "none" no twin; `utility` None or "none" no such
    questions; `until_success` False, True (the run's judge) or a judge; `draws` how many answers to each new best it
    grades, or "auto" (`runner.draws`). `cases_from` is a run's name or a file of test cases. `fresh` marks
    a run that asks again. `gate` is in no key: it asks nothing.
    """

    suite: Components
    target: Components
    attack: Components = []
    defense: Components = []
    judge: Component | None = None
    benign: Component | None = None
    utility: Component | None = None
    sampling: SamplingSpec = SamplingSpec()
    samples: int = Field(default=1, ge=1)
    until_success: bool | Component = False
    draws: Annotated[int, Field(ge=1)] | Literal["auto"] = 1
    stop_when_decided: float | None = Field(default=None, gt=0, lt=1)
    seed: int = 0
    budget: BudgetSpec = BudgetSpec()
    limit: int | None = Field(default=None, ge=1)
    where: dict[str, str] = {}
    ids: list[str] | None = None
    cases_from: str = ""
    fresh: str = ""
    gate: GateSpec | None = None

    def defended_targets(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """The specs of each target and of a defense before it; a target's own `defense` replaces those of the run."""
        for target in self.target:
            bare = {key: value for key, value in target.items() if key != "defense"}
            defenses = [spec_of(target["defense"])] if "defense" in target else self.defense or [{"use": "none"}]
            yield from ((bare, defense) for defense in defenses)

    def written(self) -> dict[str, Any]:
        """As JSON, less what holds its default."""
        written: dict[str, Any] = self.model_dump(mode="json", exclude_defaults=True)
        return written


def read_spec(path: str, given: Collection[str] = ()) -> dict[str, Any]:
    """A TOML spec as a dict; of a bundle, checked but for the fields `given`, which the command line gives instead.

    Raises `SpecError` with file and line.
    """
    try:
        spec = bounded.read_toml(path)
    except FileNotFoundError as error:
        raise SpecError(f"there is no spec {path}", hint="`withstand init` writes a commented one") from error
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error}", hint="name a file that you may read") from error
    if not foreign.is_bundled(path, spec):
        return spec
    if unknown := [name for name in spec if name not in (*RunSpec.model_fields, foreign.FROM_BUNDLE)]:
        raise SpecError(f"{path} is of a bundle, whose spec has no field {unknown[0]!r}", hint="write your own spec")
    return foreign.unbundled(path, spec, given)


def run_spec(given: Mapping[str, Any]) -> RunSpec:
    """Check a spec. Raises `SpecError` that names the field, near matches and what fits."""
    if "imported" in given:
        if isinstance(given["imported"], Mapping) and given["imported"].get("from") == "plan":
            raise SpecError("this run was found by hand: there is nothing to run", hint="`withstand plan findings`")
        raise SpecError(
            "this run was imported: its target cannot be asked", hint="`withstand judge run` judges its completions"
        )
    try:
        spec = RunSpec.model_validate(dict(given))
    except ValidationError as error:
        raise _explained(error) from error
    for name in ("suite", "target"):
        if not getattr(spec, name):
            raise SpecError(f"the spec names no {name}", hint=f"--{name} NAME, or {name} = ... in the TOML file")
    if not spec.attack and not spec.cases_from:
        raise SpecError("the spec names no attack", hint="--attack direct sends each behavior as it is")
    return _settled(spec)


def _settled(spec: RunSpec) -> RunSpec:
    """The spec with what a set of attacks entails: its judge ends each search, and answers are drawn at temperature 1
    where the spec names no temperature. Raises `SpecError` for fields that a set does not have."""
    gated = (spec.gate and spec.gate.attacks) or []
    named = [sets.access_of(attack) for attack in (*gated, *spec.attack) if sets.is_set(attack)]
    if not named or not any(map(sets.is_set, spec.attack)):
        return spec
    sampling = spec.sampling
    if sampling.temperature is None:
        sampling = sampling.model_copy(update={"temperature": 1.0})
    return spec.model_copy(update={"until_success": spec.until_success or True, "sampling": sampling})


def choice_of(given: Mapping[str, Any]) -> ChoiceSpec:
    """Check what a suite's own spec says of `limit`, `where` and `ids`; text is what the command line wrote."""
    typed = {
        key: toml_value(value) if isinstance(value, str) and value.startswith("[") else value
        for key, value in given.items()
    }
    if isinstance(typed.get("ids"), str):
        typed["ids"] = [typed["ids"]]
    try:
        return ChoiceSpec.model_validate(typed)
    except ValidationError as error:
        raise _explained(error) from error


def _explained(error: ValidationError) -> SpecError:
    errors = error.errors()
    first = next(
        (problem for problem in errors if problem["type"] == "extra_forbidden"), errors[0]
    )  # it explains what lacks
    place = ".".join(str(part) for part in first["loc"] if not str(part).startswith(("function", "dict[")))
    if first["type"] == "extra_forbidden":
        tables: dict[str, type[_Table]] = {"sampling": SamplingSpec, "budget": BudgetSpec, "gate": GateSpec}
        table: type[_Table] = tables.get(str(first["loc"][0]), RunSpec) if len(first["loc"]) > 1 else RunSpec
        names = list(table.model_fields)
        hint = did_you_mean(str(first["loc"][-1]), names, f"the fields of a run are {', '.join(names)}")
        return SpecError(f"the spec has an unknown field {place!r}", hint=hint)
    if first["type"] == "missing":
        return SpecError(f"the spec names no {place}", hint=f"--{place} NAME, or {place} = ... in the TOML file")
    return SpecError(f"spec: {place} = {first['input']!r} does not fit: {first['msg']}")
