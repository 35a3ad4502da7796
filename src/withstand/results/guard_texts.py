"""What guards are tried on: harmful prompts as attacks word them, and benign ones in the same words; or the answers of
a run, as its judge labels them.

A guard that saw benign requests only as they are would look good by knowing the words of an attack. So each benign
prompt is worded by every attack that asks nothing, too. A text is there once; the texts of a behavior are one cluster.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from withstand.core import AskError, Behavior, Chat, SpecError, Target, digest, to_json
from withstand.core import TestCase as Case
from withstand.core.optional import optional
from withstand.core.text import count, series
from withstand.registry import find, sets
from withstand.registry.grammar import parse
from withstand.results.cases import cases as cases_of
from withstand.results.guards import Reads
from withstand.results.summary import find_run
from withstand.runner.baseline import cases_from
from withstand.runner.budget import Budget, Meter
from withstand.runner.clusters import clusters_of
from withstand.runner.flows import attacked, search_flow
from withstand.runner.plan import is_joint
from withstand.runner.spec import RunSpec, run_spec
from withstand.runner.suites import Chosen, add_twins, choose
from withstand.runner.transfer import TransferredCases, bare_label, cases_file, check_transferred
from withstand.store import tables
from withstand.store.purge import purged
from withstand.store.store import RunRow, Store

DIRECT = "direct"
WORDED_ALONE = "a guard that knows these words, and not the harm, looks good on them"


@dataclass(frozen=True, slots=True)
class GuardText:
    """A prompt, or an answer to it, that a guard should block (`harmful`) or should not.

    answer: None where the prompt is read.   form: the attack that worded it.   cluster: texts that stand or fall
    together share one.
    """

    chat: Chat
    harmful: bool
    behavior: str
    cluster: str
    category: str
    form: str
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class GuardTexts:
    """The texts of an evaluation, each there once, and what a reader must know of them. source: in words.

    judges: keys of the judges that say which answers are harmful.   plain: benign prompts came as they are alone.
    """

    texts: tuple[GuardText, ...]
    source: str
    notes: tuple[str, ...] = ()
    judges: frozenset[str] = frozenset()
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where texts come from. suites, attacks, benign: specs; attacks () is `direct`; benign "" the suites' twins.

    run: test cases of this run or file, in place of attacks.   limit: behaviors of each suite, None for all.
    plain: benign requests come as they are alone.
    """

    suites: tuple[str, ...] = ()
    attacks: tuple[str, ...] = ()
    run: str = ""
    benign: str = ""
    limit: int | None = None
    seed: int = 0
    offline: bool = False
    plain: bool = False


def texts_of(wanted: Wanted, reads: Reads, store: Store) -> GuardTexts:
    """The prompts that are wanted, or the answers of the run."""
    if reads == "prompt":
        listed = prompts(wanted, store)
        for kind, harmful in (("harmful", True), ("benign", False)):
            if all(text.harmful is not harmful for text in listed.texts):
                raise SpecError(
                    f"no {kind} prompt is left: {'; '.join(listed.notes)}",
                    hint="name harmful and benign requests that differ: --suite, --benign",
                )
        return listed
    if wanted.suites or wanted.attacks or wanted.benign or not wanted.run:
        raise SpecError(
            "--reads answer reads the answers of a run, which its judge labels",
            hint="--cases-from RUN names it; leave --suite, --attack and --benign out",
        )
    return answers(store, wanted.run)


# --- prompts -----------------------------------------------------------------------------------------------------


def prompts(wanted: Wanted, store: Store | None) -> GuardTexts:
    """Harmful and benign prompts. store: where `run` may be. Raises `SpecError` where there are none of a kind."""
    if wanted.run and wanted.attacks:
        raise SpecError("--attack and --cases-from are two ways to word a prompt", hint="leave one of them out")
    row = _run(store, wanted.run) if wanted.run else None
    spec = _spec(wanted, row)
    harmful, benign = _suites(spec, wanted)
    clusters = clusters_of([(chosen.label, chosen.behaviors) for chosen in (*harmful, *benign)])
    worded, notes = list[GuardText](), list[str]()
    attacks = {find.label("attack", attack): attack for attack in spec.attack}
    if wanted.run:
        transfers = (cases_from(wanted.run, store) if store else []) or [cases_file(wanted.run)]
        check_transferred(transfers, harmful)
        notes.append(f"harmful prompts are all test cases of {wanted.run}, those that broke nothing too")
        worded += _given(transfers, harmful, clusters)
        named = {bare_label(transfer.label) for transfer in transfers} - {DIRECT}
        attacks = {label: attack for label, attack in attacks.items() if label in named}
        attacks, asking = _asking_nothing(attacks)
        if (alone := sorted(named - {*attacks})) and not wanted.plain:
            notes.append(f"no benign prompt was worded by {series(alone)}, which is not made again: {WORDED_ALONE}")
    else:
        attacks, asking = _asking_nothing(attacks)
        if asking:
            raise SpecError(
                f"{asking[0]} asks a model for its prompts: a guard is tried on texts that are there",
                hint="run it with `withstand run`, then name that run: --cases-from RUN",
            )
        worded += _worded(attacks, harmful, clusters, notes)
    beside = {DIRECT: find.build("attack", DIRECT), **({} if wanted.plain else attacks)}
    worded += _worded(beside, benign, clusters, notes)
    if wanted.plain:
        notes.append(f"benign requests came as they are, in no attack's words: {WORDED_ALONE}")
    return replace(_once(worded, _source(harmful, benign, wanted), notes), plain=wanted.plain)


def benign_prompts(wanted: Wanted) -> GuardTexts:
    """The benign prompts alone, as they are and as the attacks word them. `wanted.benign` names a suite or a file."""
    spec = _spec(wanted, None)
    chosen = _benign(wanted.benign, spec, wanted)
    attacks, asking = _asking_nothing({find.label("attack", attack): attack for attack in spec.attack})
    if asking:
        raise SpecError(f"{asking[0]} asks a model for its prompts", hint="name an attack that asks none, or leave it")
    notes: list[str] = []
    clusters = clusters_of([(chosen.label, chosen.behaviors)])
    beside = {DIRECT: find.build("attack", DIRECT), **attacks}
    return _once(_worded(beside, [chosen], clusters, notes), chosen.label, notes)


def _run(store: Store | None, name: str) -> RunRow | None:
    """The run, None for a file."""
    return next((run for run in store.runs() if run.name == name), None) if store else None


def _spec(wanted: Wanted, row: RunRow | None) -> RunSpec:
    """The spec of a run that would choose these behaviors."""
    suites: Sequence[Any] = [parse(suite) for suite in wanted.suites]
    given: dict[str, Any] = {}
    if not suites and row is not None:
        given = {name: row.spec[name] for name in ("benign",) if name in row.spec}
        suites = row.spec.get("suite", ())
    if wanted.run and not suites:
        hint = "--suite SPEC says which behaviors they are of"
        raise SpecError(f"the test cases of {wanted.run} name no suite", hint=hint)
    if not suites and not wanted.benign:
        raise SpecError("no suite is named", hint="--suite kitchen, and --benign SUITE where it has no benign twin")
    attacks: Sequence[Any] = [parse(attack) for attack in wanted.attacks]
    if row is not None:
        attacks = row.spec.get("attack", ())
    if set_name := next((attack["use"] for attack in map(_long, attacks) if sets.is_set(attack) and not row), ""):
        raise SpecError(f"{set_name} is a set of attacks", hint="name attacks of it, or a run of it: --cases-from RUN")
    attacks = [attack for attack in map(_long, attacks) if not sets.is_set(attack)]
    given |= {"benign": _benign_spec(wanted.benign)} if wanted.benign and suites else {}
    seed = row.plan["seed"] if row is not None else wanted.seed
    return run_spec(
        {
            **given, "suite": list(suites) or [_benign_spec(wanted.benign)], "target": ["scripted"], "seed": seed,
            "attack": list(attacks) or [{"use": DIRECT}], "limit": wanted.limit,
        }
    )  # fmt: skip


def _benign_spec(text: str) -> dict[str, Any]:
    """A suite, or a file of benign requests by its path."""
    ending = Path(text).suffix.lower().removeprefix(".")
    if ending in ("csv", "jsonl") and ":" not in text:
        return {"use": ending, "path": text, "harmless": True}
    return parse(text)


def _long(attack: Any) -> dict[str, Any]:
    return parse(attack) if isinstance(attack, str) else dict(attack)


def _suites(spec: RunSpec, wanted: Wanted) -> tuple[list[Chosen], list[Chosen]]:
    """Harmful suites, and benign ones. Raises `SpecError` where there is none of a kind."""
    suites = [choose(suite, spec, wanted.offline) for suite in spec.suite]
    add_twins(suites, spec, wanted.offline)
    harmful, benign = ([chosen for chosen in suites if chosen.benign is kind] for kind in (False, True))
    names = series([chosen.label for chosen in suites])
    if not harmful:
        raise SpecError(f"{names}: nothing that a guard should block", hint="name the suite of harmful requests too")
    if not benign:
        raise SpecError(
            f"{names}: no benign prompt to count false alarms on",
            hint="--benign SUITE, or a file of yours: --benign csv:FILE,harmless=true",
        )
    return harmful, benign


def _benign(name: str, spec: RunSpec, wanted: Wanted) -> Chosen:
    chosen = choose(_benign_spec(name), spec, wanted.offline)
    if not chosen.benign:
        hint = f"its benign half is {half}" if (half := chosen.suite.benign) else "a file of yours says harmless=true"
        raise SpecError(f"{chosen.label} holds behaviors that are not benign", hint=hint)
    return chosen


def _asking_nothing(specs: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The attacks that word a prompt without a model, by label, and the labels of the others."""
    built = {label: find.build("attack", spec) for label, spec in specs.items()}
    alone = {
        label: attack
        for label, attack in built.items()
        if not (is_joint(attack) or attack.most().asks or optional(attack, "surrogates") or any(find.models(attack)))
        and not {"weights", "gradients"} & {*attack.needs}
    }
    return alone, [label for label in built if label not in alone]


def _worded(
    attacks: Mapping[str, Any], suites: Sequence[Chosen], clusters: Mapping[str, str], notes: list[str]
) -> list[GuardText]:
    """Each behavior as each attack words it."""
    nobody = Target(find.build("target", {"use": "scripted", "reply": "none"}))
    texts, failed = list[GuardText](), Counter[str]()
    for label, attack in attacks.items():
        for behavior in (behavior for chosen in suites for behavior in chosen.behaviors):
            try:
                listed = _cases(label, attack, behavior, nobody)
            except AskError:
                failed[label] += 1
                continue
            texts += _of(behavior, listed, label, clusters)
    notes += [f"{label} makes no prompt of {count(times, 'behavior')}" for label, times in failed.items()]
    return texts


def _cases(label: str, attack: Any, behavior: Behavior, nobody: Target) -> list[Case]:
    flow = attacked(search_flow(attack, [behavior], nobody, Budget(), Meter()))
    try:
        next(flow)
    except StopIteration as end:
        cases: list[Case] = end.value
        return cases
    flow.close()
    raise SpecError(f"{label} asks a model for its prompts", hint="run it, then name that run: --cases-from RUN")


def _given(
    transfers: Sequence[TransferredCases], suites: Sequence[Chosen], clusters: Mapping[str, str]
) -> Iterator[GuardText]:
    for transfer in transfers:
        for behavior in (behavior for chosen in suites for behavior in chosen.behaviors):
            yield from _of(behavior, transfer.cases.get(behavior.id, ()), bare_label(transfer.label), clusters)


def _of(behavior: Behavior, listed: Iterable[Case], form: str, clusters: Mapping[str, str]) -> Iterator[GuardText]:
    cluster = clusters.get(digest(to_json(behavior)), behavior.id)
    for case in listed:
        yield GuardText(case.chat, not behavior.benign, behavior.id, cluster, behavior.category, form)


def _source(harmful: Sequence[Chosen], benign: Sequence[Chosen], wanted: Wanted) -> str:
    words = f"{series([chosen.label for chosen in harmful])} beside {series([chosen.label for chosen in benign])}"
    return f"{words}, test cases of {wanted.run}" if wanted.run else words


# --- answers -----------------------------------------------------------------------------------------------------


def answers(store: Store, name: str) -> GuardTexts:
    """The answers of a run: harmful where its judge calls them a success. Raises `SpecError` where there are none of a
    kind."""
    row = find_run(store, name)
    want = tables.want.c
    keys = store.select(sql.select(want.key).where(want.run == row.key, want.stage == tables.COMPLETIONS))
    if purged(store, tables.row, [key for (key,) in keys]):
        raise SpecError(f"answers of {row.name} were purged: their texts are gone", hint="name another run")
    texts, left = list[GuardText](), Counter[str]()
    for case in cases_of(store, row):
        cell = row.plan["cells"][case.cell]
        if case.outcome not in ("success", "failure", "refused"):
            left[case.outcome] += 1
        elif not (case.completion or "").strip():
            left["empty"] += 1
        else:
            harmful = case.outcome == "success" and not cell["benign"]
            cluster, form = case.cluster or case.behavior, bare_label(cell["attack"])
            texts.append(GuardText(case.chat, harmful, case.behavior, cluster, case.category, form, case.completion))
    judges = series(sorted({cell["judge"] for cell in row.plan["cells"] if not cell["benign"]}) or ["none"])
    notes = [f"an answer is harmful where {judges} says so: an error of that judge is charged to the guards"]
    if left:
        listed = ", ".join(f"{times:,} {outcome}" for outcome, times in left.items())
        notes.append(f"left out, since nobody says whether a guard should block them: {listed}")
    if not any(text.harmful for text in texts) or all(text.harmful for text in texts):
        kind = "that its judge calls harmful" if texts and not texts[0].harmful else "that its judge calls harmless"
        raise SpecError(f"{row.name} has no answer {kind}", hint="name a run that has both kinds")
    keys_of = frozenset(cell["keys"]["judge"] for cell in row.plan["cells"])
    return replace(_once(texts, f"answers of {row.name}", notes), judges=keys_of)


# --- each once ---------------------------------------------------------------------------------------------------


def _once(texts: Sequence[GuardText], source: str, notes: Sequence[str]) -> GuardTexts:
    """Equal texts of a kind as one; those of both kinds are none."""
    by_text: dict[str, list[GuardText]] = {}
    for text in texts:
        by_text.setdefault(digest([to_json(text.chat), text.answer]), []).append(text)
    kinds = {key: {text.harmful for text in same} for key, same in by_text.items()}
    kept = tuple(same[0] for key, same in by_text.items() if len(kinds[key]) == 1)
    both = len(by_text) - len(kept)
    repeated = sum(len(same) - 1 for key, same in by_text.items() if len(kinds[key]) == 1)
    more = [f"{count(repeated, 'repeated text')} left out"] if repeated else []
    more += [f"{count(both, 'text')} left out as both harmful and benign"] if both else []
    return GuardTexts(kept, source, (*notes, *more))
