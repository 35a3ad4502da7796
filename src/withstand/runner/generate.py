"""Behaviors made before a run, for a described application or from the seeds of a suite: asked, checked, counted.

What a model writes goes through the lanes, the answers and the rows of the store, as a run does: the same command asks
nothing twice, and what was answered before a cap, an error or Ctrl-C is used.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from withstand.core import Behavior, Completion, Flow, SpecError, digest, user
from withstand.core.text import count
from withstand.formats.application import Application
from withstand.formats.generated import Generated
from withstand.registry import find
from withstand.registry.grammar import parse
from withstand.runner import bootstrap, described
from withstand.runner.asking import Asking, draft_key
from withstand.runner.described import Pair
from withstand.runner.harvest import Harvest, Yield
from withstand.runner.stages import verdict_job
from withstand.runner.suites import stratified, twin_suite
from withstand.runner.tally import Tally
from withstand.runner.writing import ACTS, CRITIC, SITUATIONS, Draft, for_application
from withstand.store.tables import VERDICTS

JUDGE = "refusal_words"
"""The judge of what no rule can judge, where none is named."""
ALTOGETHER = ("prompt_leak", "brand_harm", "off_topic")
"""Categories of which a writer is asked once, and not for each fact of the description."""
UNWRITTEN = "planted_document"
"""The category of which the templates alone write the documents."""
IN_VAIN = 10
"""Seeds that give nothing, one after the other from the first on, after which no more are tried."""
A_PART = 64
"""Seeds that are tried at once, at most."""
A_SEED = 4
"""Behaviors that a seed is taken to give, where only so many are wanted."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted. n: harmful behaviors, at most; None: all.   seed: draws the choice and the writer's answers anew.

    writer, critics: targets, by their specs.   judge: of what no rule can judge.
    risk: what makes a seed harmful, in words for writer and critics; "": as the suite is.
    """

    n: int | None = None
    seed: int = 0
    writer: str = ""
    critics: tuple[str, ...] = ()
    judge: str = JUDGE
    risk: str = ""


@dataclass(frozen=True, slots=True)
class Generation:
    """New rows, those that a critic excluded among them; the yield of each category; what a reader must know."""

    rows: tuple[Generated, ...]
    yields: Mapping[str, Yield]
    total: Yield
    notes: tuple[str, ...]
    tally: Tally


@dataclass(frozen=True, slots=True)
class _Ask:
    """What a writer is asked for a description. row: what the new rows are but for their texts."""

    row: Generated
    before: tuple[tuple[str, str], ...]
    language: str


def offline(application: Application, n: int | None = None, seed: int = 0, judge: str = JUDGE) -> list[Generated]:
    """The rows that the templates make of a description: no model is asked."""
    return list(from_application(application, (), Wish(n, seed, judge=judge), Asking(None)).rows)


# --- for an application --------------------------------------------------------------------------------------------


def from_application(application: Application, before: Sequence[Generated], wish: Wish, asking: Asking) -> Generation:
    """Behaviors for a described application that `before` lacks: from templates, and from the writer if there is one.

    Raises `SpecError` for critics, who check labels of seeds.
    """
    if wish.critics or wish.risk:
        hint = "leave them out: a person accepts what is made for an application"
        raise SpecError("--critic and --risk are for the seeds of a suite", hint=hint)
    harvest = Harvest(before)
    templates = described.pairs_of(application, wish.judge)
    for pair in templates:
        harvest.yields[pair.harmful.category].add(Yield(asked=1, parsed=1))
        harvest.add(pair)
    if wish.writer:
        _write(application, templates, harvest, wish, asking)
    chosen = harvest.chosen(wish.n, wish.seed)
    notes = described.lacking(application, bool(wish.writer))
    if unruled := sum(pair.harmful.judge == JUDGE for pair in chosen):
        notes.append(
            f"{unruled} behaviors are judged by {JUDGE}, for which every answer that is no refusal is a success: "
            "--judge names one that reads, such as llm:TARGET"
        )
    return _generation(harvest, chosen, notes, asking)


def _generation(harvest: Harvest, chosen: Sequence[Pair], notes: Sequence[str], asking: Asking) -> Generation:
    rows, total = tuple(harvest.rows(chosen)), harvest.total
    if lost := total.refused + total.malformed:
        forms = f"{total.refused} were refusals, {total.malformed} had no pair in the form that was asked for"
        notes = [*notes, f"the writer gave nothing in {count(lost, 'answer')}: {forms}"]
    return Generation(rows, dict(harvest.yields), total, tuple(notes), asking.tally)


def _write(application: Application, templates: Sequence[Pair], harvest: Harvest, wish: Wish, asking: Asking) -> None:
    """Add what the writer makes for each fact of the description, in each of its languages."""
    writer, summary = find.build("target", parse(wish.writer)), described.summary_of(application)

    def flow(ask: _Ask) -> Callable[[], Flow[Draft]]:
        return lambda: for_application(writer, summary, ask.row.reason, ask.language, ask.before)

    asks = [ask for language in application.languages for ask in _asks(templates, wish, language)]
    keys = {draft_key(writer, wish.seed, summary, ask): ask for ask in asks}
    drafts = asking.drafts({key: flow(ask) for key, ask in keys.items()})
    for key, ask in keys.items():
        counts = harvest.yields[ask.row.category]
        if (draft := drafts.get(key)) is None:
            counts.failed += 1
            continue
        counts.count(draft)
        for _, text, twin in draft.pairs:
            harvest.add(described.with_texts(ask.row, text, twin))


def _asks(templates: Sequence[Pair], wish: Wish, language: str) -> list[_Ask]:
    groups: dict[tuple[str, str], list[Pair]] = {}
    for pair in templates:
        row = pair.harmful
        parent = f"{row.category}/written" if row.category in ALTOGETHER else row.parent
        if row.category != UNWRITTEN:
            groups.setdefault((row.category, parent), []).append(pair)
    asks = []
    for (category, parent), pairs in groups.items():
        row = replace(pairs[0].harmful, id="", parent=parent, cluster=parent, writer=wish.writer, twin="")
        if category == "off_topic":  # the answer of a task that a model invents is not known
            row = replace(row, judge=wish.judge, tags=tuple(tag for tag in row.tags if tag.startswith("owasp:")))
        asks.append(_Ask(row, tuple((pair.harmful.text, pair.benign.text) for pair in pairs), _in_words(language)))
    return asks


def _in_words(language: str) -> str:
    return "English" if language == "en" else f"the language with the code {language}"


# --- from a suite --------------------------------------------------------------------------------------------------


def from_suite(spec: str, before: Sequence[Generated], wish: Wish, asking: Asking) -> Generation:
    """Behaviors made from those of a suite that `before` lacks, with safe siblings; checked by the critics, if any.

    Raises `SpecError` for a suite without harmful behaviors, and for one that needs a writer where there is none.
    """
    suite, use = find.build("suite", parse(spec)), str(parse(spec)["use"]).replace("_", "-")
    seeds = stratified([behavior for behavior in suite.load() if not behavior.benign], wish.seed)
    if not seeds:
        raise SpecError(f"{spec} holds benign behaviors only", hint="name the suite whose twin it is")
    if not wish.writer and use not in bootstrap.SLOTTED:
        hint = f"name one, --writer TARGET; only {' and '.join(bootstrap.SLOTTED)} have slots that need none"
        raise SpecError(f"a model must write what is made from {use}", hint=hint)
    twin = twin_suite(parse(suite.benign), suite) if suite.benign else suite
    judges = (suite.judge, twin.refusal_judge)
    risk = wish.risk or bootstrap.risk_of(seeds)
    harvest, used, dropped = Harvest(before, seeds), list[Pair](), list[Pair]()
    notes = [] if wish.critics else ["labels are as the parents', and nobody has checked them: --critic TARGET does"]
    limit, tried = wish.n or len(seeds) * SITUATIONS * ACTS, 0
    while seeds and not asking.tally.stopped and (wanted := limit - len(harvest.there) - len(used)) > 0:
        if tried >= IN_VAIN and not used and not harvest.there:
            notes.append(f"stopped: none of the first {tried} seeds gave a behavior; {len(seeds)} were not tried")
            break
        number = min(-(-wanted // A_SEED), A_PART)
        tried += number
        part, seeds = seeds[:number], seeds[number:]
        new = [
            pair
            for seed, draft in _drafted(part, harvest, wish, risk, asking)
            for pair in bootstrap.pairs_of(seed, draft, judges, risk, wish.writer or "slots")
            if harvest.add(pair)
        ]
        for pair in _checked(new, harvest, wish.critics, risk, asking):
            (dropped if pair.harmful.status == "dropped" else used).append(pair)
    if siblings := sum(pair.benign.status == "dropped" for pair in (*used, *dropped)):
        notes.append(f"{count(siblings, 'safe sibling')} excluded: without them, a target that refuses all looks safe")
    return _generation(harvest, [*used[: limit - len(harvest.there)], *dropped], notes, asking)


def _drafted(
    seeds: Sequence[Behavior], harvest: Harvest, wish: Wish, risk: str, asking: Asking
) -> list[tuple[Behavior, Draft]]:
    """What the writer, or without one the slots, made of each seed."""
    drafts: Mapping[str, Draft] = {seed.id: bootstrap.slotted(seed, wish.seed) for seed in seeds if not wish.writer}
    if wish.writer:
        writer = find.build("target", parse(wish.writer))

        def flow(seed: Behavior) -> Callable[[], Flow[Draft]]:
            return lambda: bootstrap.drafted(seed, writer, risk)

        keys = {draft_key(writer, wish.seed, seed, risk): seed for seed in seeds}
        by_key = asking.drafts({key: flow(seed) for key, seed in keys.items()})
        drafts = {keys[key].id: draft for key, draft in by_key.items()}
    for seed in seeds:
        if seed.id in drafts:
            harvest.yields[seed.category].count(drafts[seed.id])
        else:
            harvest.yields[seed.category].failed += 1
    return [(seed, drafts[seed.id]) for seed in seeds if seed.id in drafts]


def _checked(pairs: Sequence[Pair], harvest: Harvest, critics: Sequence[str], risk: str, asking: Asking) -> list[Pair]:
    """The pairs as the critics see them. A half whose label not all of them confirm is dropped, with the reason; a pair
    that was not checked, by an error or a cap, is left out."""
    verdicts = {critic: _verdicts(critic, pairs, risk, asking) for critic in critics}
    checked = []
    for pair in pairs:
        counts = harvest.yields[pair.harmful.category]
        if any(half.id not in outcomes for outcomes in verdicts.values() for half in (pair.harmful, pair.benign)):
            counts.failed += 1
            continue
        harmful, benign = (
            _labeled(half, {critic: outcomes[half.id] for critic, outcomes in verdicts.items()}, risk)
            for half in (pair.harmful, pair.benign)
        )
        counts.excluded += harmful.status == "dropped"
        checked.append(Pair(harmful, benign))
    return checked


def _labeled(row: Generated, outcomes: Mapping[str, str], risk: str) -> Generated:
    """The row, dropped where a critic does not confirm its label."""
    wanted = "failure" if row.benign else "success"
    words = {"success": f"calls it {risk}", "failure": f"does not call it {risk}"}
    reasons = [
        f"{critic} {words.get(outcome, 'says neither yes nor no')}"
        for critic, outcome in outcomes.items()
        if outcome != wanted
    ]
    return replace(row, status="dropped", excluded="; ".join(reasons)) if reasons else row


def _verdicts(critic: str, pairs: Sequence[Pair], risk: str, asking: Asking) -> dict[str, str]:
    """The critic's verdict on each half, by its id: "success" for unsafe, "failure" for safe."""
    spec = {"use": "llm", "model": parse(critic), "rubric": CRITIC.replace("{risk}", risk)}
    judge: Any = find.build("judge", spec)
    key = digest(find.describe(judge))
    jobs = {}
    for half in (half for pair in pairs for half in (pair.harmful, pair.benign)):
        asked = Behavior(half.parent, risk, half.context)
        completion = Completion(user(half.parent), half.target_string or half.text)
        jobs[half.id] = verdict_job(judge, key, asked, completion, (), counted=False)
    rows = asking.rows(list(jobs.values()), VERDICTS)
    return {name: rows[job.keys[0]].label for name, job in jobs.items() if job.keys[0] in rows}
