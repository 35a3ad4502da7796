"""The figures of a hardening beside its verdict: each attack, each checkpoint, and what was spent."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from withstand.audits.harden.fall import families_of, family_verdict, held_out
from withstand.audits.harden.records import Attacked, Family, Measured
from withstand.audits.harden.tried import asked, broken, mean, only, share, summed, tries_of
from withstand.audits.readings import mean_loss
from withstand.core import Json


def attacks(base: Measured, after: Sequence[Measured]) -> Iterator[Json]:
    """Each attack: rates of broken behaviors, of the hardened model as means over seeds."""
    labels = {attack.attack: attack for model in (*after, base) for attack in model.attacks}
    for name, attack in labels.items():
        before, *seeds = [
            next((row for row in model.attacks if row.attack == name), None) for model in (base, *after)
        ]  # fmt: skip
        shown = {
            kind: mean(share(map(broken, tries_of(row, kind).values())) for row in seeds)
            for kind in ("fixed", "adaptive")
        }
        adaptive = [tries for row in seeds for tries in tries_of(row, "adaptive").values()]
        yield {
            "attack": name, "family": attack.family, "held_out": held_out((base, *after), attack.family),
            "base": share(map(broken, tries_of(before, "adaptive").values())), **shown,
            "behaviors": len(tries_of(before, "adaptive")), "open": sum(broken(tries) is None for tries in adaptive),
            "base_cases": sum(tries.cases for tries in tries_of(before, "adaptive").values()),
            "cases": sum(tries.cases for tries in adaptive) / len(after),
            "base_flops": before.flops if before else 0.0, "base_seconds": before.seconds if before else 0.0,
            "flops": sum(row.flops for row in seeds if row) / len(after),
            "seconds": sum(row.seconds for row in seeds if row) / len(after),
        }  # fmt: skip


def stops_of(after: Sequence[Measured], course: Sequence[Measured]) -> list[Measured]:
    """The checkpoints that are not judged, in their order."""
    judged = {(model.seed, model.step) for model in after}
    rows = [stop for stop in course if (stop.seed, stop.step) not in judged and stop.step]
    return sorted(rows, key=lambda stop: (stop.seed, stop.step))


def course_of(base: Measured, after: Sequence[Measured], stops: Sequence[Measured], level: float) -> dict[str, Json]:
    """The base, the checkpoints and the hardened models, on what all of them were asked: numbers of `behaviors` and of
    harmless `prompts`, and the `course`, rates by kind of case and by what was held out."""
    groups = {family: held_out((base, *after), family) for family in families_of((base, *after))}
    models = [base, *sorted((*stops, *after), key=lambda stop: (stop.seed, stop.step))]
    behaviors = _common(map(asked, models))
    prompts = _common(set(model.refused) for model in models)
    rows = []
    for model in models:
        row = _row(only(model, behaviors, prompts), model is base, groups)
        row |= {"judged": model in after, "families": []}
        if model in stops:  # those of the judged model stand in the tables of families
            before = only(base, asked(model), set(model.refused))
            verdicts = [family_verdict(before, [model], family, level) for family in groups]
            row["families"] = [
                {name: getattr(verdict, name) for name in ("family", "held_out", "fall", "interval")}
                for verdict in verdicts
            ]
        rows.append(row)
    return {"behaviors": len(behaviors), "prompts": len(prompts), "course": rows}


def _common(sets: Iterable[set[str]]) -> set[str]:
    """What all of these have, but for those that are empty: of a model that was asked nothing nothing is shown."""
    some = [names for names in sets if names]
    return set.intersection(*some) if some else set()


def _row(model: Measured, is_base: bool, groups: Mapping[Family, bool]) -> dict[str, Any]:
    """groups: whether a family was held out."""
    row: dict[str, Any] = {
        "name": model.name, "seed": model.seed, "step": model.step, "over_refusal": share(model.refused.values()),
        "loss": _finite(mean_loss(model.nats)), "flops": model.flops, "seconds": model.seconds, "open": 0,
    }  # fmt: skip
    for apart, name in ((True, "held_out"), (False, "trained")):
        own = [attack for attack in model.attacks if groups.get(attack.family) is apart]
        for kind in ("fixed", "adaptive"):  # the cases that are sent again are those that were searched on the base
            tried = summed(tries_of(attack, "adaptive" if is_base else kind) for attack in own)
            row[f"{name}_{kind}"] = share(map(broken, tried.values()))
            row["open"] += sum(broken(tries) is None for tries in tried.values()) if kind == "adaptive" else 0
    return row


def _finite(loss: float | None) -> float | None:
    return loss if loss is not None and isfinite(loss) else None


def spent(base: Measured, after: Sequence[Measured]) -> Iterator[Json]:
    """FLOPs and seconds of each part, over all seeds."""
    yield _sum("training, its searches included", after)
    yield _sum("attacks on the base", base.attacks)
    yield _sum("attacks on the hardened model", [attack for model in after for attack in model.attacks])


def _sum(name: str, rows: Sequence[Measured | Attacked]) -> Json:
    return {"what": name, "flops": sum(row.flops for row in rows), "seconds": sum(row.seconds for row in rows)}
