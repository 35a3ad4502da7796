"""`withstand toxicity`: the figures of a run, and of its targets beside each other, by one scorer."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from withstand.core import SpecError
from withstand.core.continuation import HALVES
from withstand.core.text import count, series
from withstand.results import toxicity_figures as figures
from withstand.results.cells import defended
from withstand.results.one_answer import one_answer
from withstand.results.toxicity_draws import MeasuredDraws, measured, notes_of
from withstand.results.toxicity_figures import Counting, Table
from withstand.results.toxicity_limits import LIMITS
from withstand.results.toxicity_records import ToxicityDifference, ToxicityMeasure, ToxicityReport
from withstand.results.warnings import judged_by_its_guard, marked
from withstand.store.store import RunRow, Store

Measured: TypeAlias = tuple[MeasuredDraws, Table]


def report(
    store: Store, run: RunRow, counting: Counting, against: Sequence[RunRow] = (), command: str = ""
) -> ToxicityReport:
    """All figures of a run, and its targets compared with each other and with those of the runs `against`.

    Raises `SpecError` for a k above the draws that were made, for runs of two scorers, and as `measured` does.
    """
    parts = [(part, _table(part, counting)) for part in measured(store, run)]
    if not parts:
        raise SpecError(f"{run.name} has no prompt to measure", hint="name a suite of prompts: --suite kitchen-talk")
    check_k(parts, counting.k)
    if any(row.key == run.key for row in against):
        raise SpecError(f"{run.name} is the run itself", hint="--against names an earlier one")
    others = [(part, _table(part, counting)) for row in against for part in measured(store, row)]
    check_k(others, counting.k)
    notes = [*marked(run).values(), *_suite_notes(run), *one_answer(store, run).values()]
    notes += judged_by_its_guard(run).values()
    if counting.identities is not None:
        notes += counting.identities.notes_on({prompt.text for part, _ in parts for prompt in part.prompts})
    return ToxicityReport(
        run=run.name,
        k=counting.k,
        threshold=counting.threshold,
        seed=counting.seed,
        measures=tuple(_measure(part, table, counting) for part, table in parts),
        differences=tuple(differences(parts, others, counting)),
        limits=LIMITS,
        notes=tuple(dict.fromkeys(notes)),
        command=command,
    )


def _table(part: MeasuredDraws, counting: Counting) -> Table:
    return Table.of(figures.plain_prompts(part.prompts), counting)


def check_k(parts: Iterable[Measured], k: int) -> None:
    """Raise `SpecError` where k is larger than what was sampled."""
    for part, _ in parts:
        if part.samples < k:
            raise SpecError(
                f"k is {k}, and {part.run} sampled {count(part.samples, 'draw')} of each prompt",
                hint=f"--k {part.samples}, or sample more: `withstand toxicity` with --k {k} asks for what is missing",
            )


def _suite_notes(run: RunRow) -> Iterator[str]:
    for suite in run.plan["suites"]:
        yield from suite.get("notes", ())


def _measure(part: MeasuredDraws, table: Table, counting: Counting) -> ToxicityMeasure:
    temperature, top_p, max_tokens = part.sampling
    return ToxicityMeasure(
        target=part.names.get("target", part.target),
        defense=part.names.get("defense", part.planned["defense"]),
        suite=part.suite,
        suite_version=part.suite_version,
        style=part.style,
        scorer=part.scorer,
        scorer_method=part.planned["judge_method"],
        scorer_hash=part.scorer_hash,
        scored_by=part.scored_by,
        prompts=len(table.prompts),
        samples=part.samples,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        groups=tuple(figures.groups(table, counting)),
        curve=tuple(figures.curve(table, counting)),
        categories=tuple(figures.categories(table, counting)),
        swaps=tuple(figures.swaps(part.prompts, counting)),
        marked=_marked(part),
        notes=tuple(notes_of(part, counting.k)),
    )


def _marked(part: MeasuredDraws) -> str:
    """Why the scores are to be taken with care or not at all, "" for no reason: two scales, or two versions."""
    again = f"`withstand toxicity --rescore {shlex.quote(part.run)}"
    draws = [draw for prompt in part.prompts for draw in prompt.draws]
    if any(draw.beyond or draw.scaled for draw in draws):
        beyond = sum(draw.beyond for draw in draws)
        return (
            f"{part.scorer} gave scores outside 0 to 1, {beyond} of them here: it has two scales, and none of its "
            f"scores counts. {again} --scorer SCORER` scores the stored answers by another"
        )
    if len(part.versions) < 2:
        return ""
    named = series([f"{number} draws by {version or 'no version'}" for version, number in part.versions.items()])
    return (
        f"the scorer changed its version in this run: {named}. Each version has figures of its own, and no draw of "
        f"another is in them. {again} --fresh` scores all of them anew"
    )


# --- targets beside each other -----------------------------------------------------------------------------------


def differences(
    parts: Sequence[Measured], others: Sequence[Measured], counting: Counting
) -> Iterator[ToxicityDifference]:
    """The first target of a run, then each target of other runs, against every further one of the run, on the prompts
    of both: by suite, style and version of the scorer, at a level at which all intervals hold together."""
    pairs = [*_within(parts), *_across(others, parts)]
    listed = [(a, b, half) for a, b in pairs for half in HALVES if _both(a, b, half)]
    level = 1 - 0.05 / max(1, 2 * len(listed))
    for (a, table_a), (b, table_b), half in listed:
        keys = _both((a, table_a), (b, table_b), half)
        side_a, side_b = (_ordered(table, keys) for table in (table_a, table_b))
        name_a, name_b = (f"{_name(part)} in {part.run}" if a.run != b.run else _name(part) for part in (a, b))
        yield ToxicityDifference(
            name_a, name_b, b.suite, b.style, half, len(keys), int((side_a.full & side_b.full).sum()),
            figures.change(side_a, side_b, figures.MAXIMUM, counting, level),
            figures.change(side_a, side_b, figures.PROBABILITY, counting, level),
        )  # fmt: skip


def _name(part: MeasuredDraws) -> str:
    defense = part.names.get("defense", part.planned["defense"])
    return defended(part.names.get("target", part.target), defense.removeprefix("none"))


def _within(parts: Sequence[Measured]) -> Iterator[tuple[Measured, Measured]]:
    """The first of each suite, style, scorer and version, with each later one."""
    firsts: dict[tuple[str, ...], Measured] = {}
    for measure in parts:
        part = measure[0]
        key = (part.suite, part.style, part.scorer_hash, part.scored_by)
        if key in firsts:
            yield firsts[key], measure
        firsts.setdefault(key, measure)


def _across(others: Sequence[Measured], parts: Sequence[Measured]) -> Iterator[tuple[Measured, Measured]]:
    """What other runs have of the same prompts in the same style, with what this one has. Raises `SpecError` where they
    may not be compared, or have no prompt in common."""
    for run in dict.fromkeys(part.run for part, _ in others):
        pairs = [
            (a, b) for a in others for b in parts
            if a[0].run == run and a[0].style == b[0].style and any(_both(a, b, half) for half in HALVES)
        ]  # fmt: skip
        if not pairs:
            there = series(sorted({f"{part.suite} {part.style}".strip() for part, _ in others if part.run == run}))
            raise SpecError(f"{run} has no prompt of this run in the same style", hint=f"it has {there}")
        for a, b in pairs:
            comparable(a[0], b[0])
        yield from pairs


def comparable(a: MeasuredDraws, b: MeasuredDraws) -> None:
    """Raise `SpecError` where figures of two runs say different things."""
    if (a.scorer_hash, a.scored_by) != (b.scorer_hash, b.scored_by):
        names = [f"{part.scorer} {part.scored_by}".strip() for part in (a, b)]
        beside = "another version or other fields of it" if names[0] == names[1] else names[1]
        raise SpecError(
            f"{a.run} was scored by {names[0]} and {b.run} by {beside}: figures of two scorers are not compared",
            hint=f"score the stored answers of one by the scorer of the other: `withstand toxicity --rescore "
            f"{shlex.quote(a.run)} --scorer {shlex.quote(b.scorer)}`",
        )
    if a.sampling != b.sampling:
        values = zip(("temperature", "top_p", "max_tokens"), a.sampling, b.sampling, strict=True)
        differing = "; ".join(f"{name} {of_a:g} and {of_b:g}" for name, of_a, of_b in values if of_a != of_b)
        raise SpecError(f"{a.run} and {b.run} sampled otherwise: {differing}", hint="sample one as the other")


def _both(a: Measured, b: Measured, half: str) -> list[str]:
    """The prompts of a half that both have, by key."""
    keys = {prompt.key for prompt in b[1].prompts if prompt.half == half}
    return [prompt.key for prompt in a[1].prompts if prompt.key in keys]


def _ordered(table: Table, keys: Sequence[str]) -> Table:
    """The prompts with these keys, in their order."""
    places = {prompt.key: place for place, prompt in enumerate(table.prompts)}
    order = [places[key] for key in keys]
    prompts = tuple(table.prompts[place] for place in order)
    return Table(prompts, table.values[:, order], table.low[:, order], table.high[:, order], table.full[order])
