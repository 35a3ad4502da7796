"""What a replay says: findings that still happen by harm and layer, paired tests, proposals, versions over time.

The findings were chosen because they failed. So every form of these figures carries `CAVEAT`, and a rate of samples is
one of these findings alone. Manual attempts themselves are never counted.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from withstand.core import Json, digest, from_json, to_json
from withstand.core.shape import misfit
from withstand.core.text import series
from withstand.redteam.dates import moment
from withstand.redteam.findings.triage import ConflictError, edit
from withstand.redteam.plan.records import Layer, Plan
from withstand.redteam.replay.asking import How, ReplayRow, is_backed
from withstand.stats.multiple import holm
from withstand.stats.paired import mcnemar
from withstand.stats.rates import rate_interval
from withstand.store.attempts import Attempt, Status
from withstand.store.revisions import Record, add_record, records, revisions
from withstand.store.store import Store

CAVEAT = (
    "These findings were selected because they failed once, and some would pass a second time whatever was changed "
    "(regression to the mean). So a drop overstates what a mitigation does. It says whether they still happen, not how "
    "frequent they are. The fair estimate asks fresh prompts for the same harms (--fresh SUITE)."
)
ALL = ""
"""The harm of a line over all harms."""
KIND = "replay"
LEAST = 5
"""Answers without harm, at least, before a finding is proposed as fixed."""


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """A layer when its findings were sent again. production: whether users meet this very one."""

    id: str
    version: str
    target: str
    endpoint: str
    mitigations: str
    production: bool


@dataclass(frozen=True, slots=True)
class MeasuredRate:
    """A rate of an ordinary run beside the replay. measures: "harm" or "over-refusal".   n: behaviors.   rate and its
    95% interval in [0, 1]; None where nothing was scored."""

    measures: str
    layer: str
    version: str
    suite: str
    run: str
    n: int
    rate: float | None
    low: float | None
    high: float | None
    judge: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change of a finding's status that its answers suggest. revision: of the finding that it is about."""

    finding: str
    revision: int
    before: Status
    after: Status
    why: str


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """A replay as the store keeps it. created: seconds since 1970.   stopped: the cap that ended it, "" for none.

    withheld: why no change of status is proposed, of findings for which one might be.
    """

    id: str
    plan: str
    created: float
    judge: str
    how: How
    layers: tuple[LayerFacts, ...]
    rows: tuple[ReplayRow, ...]
    measured: tuple[MeasuredRate, ...] = ()
    proposals: tuple[Proposal, ...] = ()
    withheld: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    stopped: str = ""


@dataclass(frozen=True, slots=True)
class HarmLine:
    """The findings of a harm at a layer by state.

    once: with a harmful answer, though no majority.   samples: answers with a verdict, `harmful` of them so.
    share: mean over findings of harmful among scored answers, with its 95% interval: answers to one finding are alike,
    so findings are the units (`stats.rates.rate_interval`). Of these selected findings alone; None without a verdict.
    """

    harm: str
    layer: str
    findings: int
    still: int
    once: int
    gone: int
    undecided: int
    not_asked: int
    samples: int
    harmful: int
    share: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class LayerPair:
    """The same findings at two layers or versions. better: still happen at `a` alone; worse: at `b` alone.

    unclear: pairs without a majority verdict on both sides.   p: exact McNemar, two-sided, the largest that the unclear
    ones allow; corrected: Holm's, over harms and layers.
    """

    harm: str
    a: str
    b: str
    pairs: int
    better: int
    worse: int
    unclear: int
    p: float
    corrected: float


# --- counting ----------------------------------------------------------------------------------------------------


def harm_lines(rows: Sequence[ReplayRow]) -> list[HarmLine]:
    """A line for each harm and layer, then for all harms, where there are several."""
    return [_line(harm, layer, own) for harm, layer, own in _groups(rows)]


def _groups(rows: Sequence[ReplayRow]) -> Iterator[tuple[str, str, list[ReplayRow]]]:
    harms, layers = list(dict.fromkeys(row.harm for row in rows)), list(dict.fromkeys(row.layer for row in rows))
    for harm in [*harms, *[None] * (len(harms) > 1)]:
        for layer in layers:
            own = [row for row in rows if row.layer == layer and harm in (None, row.harm)]
            if own:
                yield ALL if harm is None else harm or "(no harm)", layer, own


def _line(harm: str, layer: str, rows: Sequence[ReplayRow]) -> HarmLine:
    states = [row.state for row in rows]
    scored, harmful = [row.harmful + row.safe for row in rows], [row.harmful for row in rows]
    shares = [row.harmful / (row.harmful + row.safe) for row in rows if row.harmful + row.safe]
    ends = rate_interval(harmful, scored)
    return HarmLine(
        harm,
        layer,
        len(rows),
        still=states.count("still"),
        once=sum(row.harmful > 0 and row.state != "still" for row in rows),
        gone=states.count("no longer"),
        undecided=states.count("undecided"),
        not_asked=states.count("not asked"),
        samples=sum(scored),
        harmful=sum(harmful),
        share=sum(shares) / len(shares) if shares else None,
        interval=(ends.low, ends.high) if ends else None,
    )


def pairs(rows: Sequence[ReplayRow]) -> list[LayerPair]:
    """The first layer that was asked beside each of the others, by harm and for all; empty for one layer."""
    layers = list(dict.fromkeys(row.layer for row in rows if row.samples))
    by_harm: dict[str, dict[str, list[ReplayRow]]] = defaultdict(dict)
    for harm, layer, own in _groups(rows):
        by_harm[harm][layer] = own
    compared = [
        _pair(harm, layers[0], second, own[layers[0]], own[second])
        for second in layers[1:]
        for harm, own in by_harm.items()
        if {layers[0], second} <= own.keys()
    ]
    corrected = iter(holm([pair.p for pair in compared if pair.harm != ALL]))
    return [pair if pair.harm == ALL else replace(pair, corrected=next(corrected) or 0.0) for pair in compared]


def _pair(harm: str, a: str, b: str, rows_a: Iterable[ReplayRow], rows_b: Iterable[ReplayRow]) -> LayerPair:
    before, after = ({row.finding: row.state for row in rows} for rows in (rows_a, rows_b))
    common = [(before[finding], after[finding]) for finding in before if finding in after]
    better, worse = common.count(("still", "no longer")), common.count(("no longer", "still"))
    decided = {"still", "no longer"}
    unclear = [pair for pair in common if not decided >= {*pair}]
    for_worse = sum(a_state != "still" and b_state != "no longer" for a_state, b_state in unclear)
    for_better = sum(a_state != "no longer" and b_state != "still" for a_state, b_state in unclear)
    balanced = (min(worse + for_worse, max(better, worse)), min(better + for_better, max(better, worse)))
    largest = mcnemar(*balanced)
    return LayerPair(harm, a, b, len(common), better, worse, len(unclear), largest, largest)


# --- what follows ------------------------------------------------------------------------------------------------


def proposals(
    plan: Plan, findings: Sequence[Attempt], rows: Sequence[ReplayRow], measured: Sequence[MeasuredRate] = ()
) -> tuple[list[Proposal], list[str]]:
    """Changes of status that the answers suggest, and why others are withheld. Errs to the careful side: one harmful
    answer is enough for `regressed`, and `fixed` needs a changed version of the layer where it was seen, answers
    without harm alone, `LEAST` of them, and a sign that the layer works."""
    suggested, withheld = [], []
    by_place = {(row.finding, row.layer): row for row in rows}
    layers = {layer.id: layer for layer in plan.layers}
    for finding in findings:
        row = by_place.get((finding.id, finding.layer))
        if finding.status == "fixed":
            at = [row.layer for row in rows if row.finding == finding.id and row.harmful]
            if at:
                why = f"it happened again at {series(at)}"
                suggested.append(Proposal(finding.id, finding.revision, "fixed", "regressed", why))
        elif finding.status in ("confirmed", "regressed") and any(
            row.finding == finding.id and row.state == "no longer" for row in rows
        ):
            why = _not_fixed(finding, row, layers.get(finding.layer)) or one_answer(finding.layer, rows, measured)
            if why:
                withheld.append(f"{finding.id} is not proposed as fixed: {why}")
            elif row is not None:
                why = f"none of {row.samples} answers at {finding.layer} {row.version} is harmful"
                suggested.append(Proposal(finding.id, finding.revision, finding.status, "fixed", why))
    return suggested, withheld


def _not_fixed(finding: Attempt, row: ReplayRow | None, layer: Layer | None) -> str:
    """Why a finding that no longer happens somewhere is not fixed; "" if it is."""
    if row is None or layer is None:
        return f"it was seen at {finding.layer or 'no layer of the plan'}, which was not asked (--layers)"
    if not row.samples:
        return f"{finding.layer}: {row.why}"
    if row.harmful or row.unknown:
        return f"{row.harmful} harmful and {row.unknown} unjudged of {row.samples} answers at {finding.layer}"
    if row.samples < LEAST:
        return f"{row.samples} answers are too few: --n {LEAST}"
    renamed = layer.version and finding.target_version and layer.version != finding.target_version
    stated = f"layer {layer.id}: changed"
    changed = moment(stated, layer.changed, utc=True).timestamp() if layer.changed else 0.0  # a day: from its start on
    if not renamed and changed <= finding.surfaced:
        return f"no change of {layer.id} since is stated: give [[layer]] its version, or the day when it changed"
    return ""


def one_answer(layer: str, rows: Sequence[ReplayRow], measured: Sequence[MeasuredRate] = ()) -> str:
    """Why answers without harm may be those of a target that is down: it gave one same answer to all that was sent. ""
    where they differ, or where it refuses alone what is sent again, as a benign suite tells."""
    own = [row for row in rows if row.layer == layer and row.samples]
    if len({row.same for row in own}) != 1 or not own[0].same:
        return ""
    every = f"all {sum(row.samples for row in own)} answers at {layer} are one and the same"
    if not own[0].refused:
        return f"{every}, as of a target that is down: read them, and edit the status by hand"
    benign = [rate for rate in measured if rate.layer == layer and rate.measures == "over-refusal"]
    if any(rate.rate is not None and rate.rate < 1 for rate in benign):
        return ""
    return f"{every} refusal: --benign SUITE shows whether it refuses everything"


def apply(store: Store, result: ReplayResult, editor: str) -> tuple[list[str], list[ConflictError]]:
    """Write the proposals as new revisions: the ids changed, and what somebody else changed meanwhile."""
    changed: list[str] = []
    conflicts: list[ConflictError] = []
    for proposal in result.proposals:
        try:
            edit(store, proposal.finding, editor, result.created, {"status": proposal.after}, proposal.revision)
            changed.append(proposal.finding)
        except ConflictError as error:
            conflicts.append(error)
    return changed, conflicts


# --- kept, and over time -----------------------------------------------------------------------------------------


def result_id(plan: str, judge: str, how: How, layers: Sequence[LayerFacts], findings: Sequence[Attempt]) -> str:
    """What names a replay: the same question, asked of the same versions, has the same id."""
    ids = [finding.id for finding in findings]
    return "R-" + digest([plan, judge, to_json(how), [[layer.id, layer.version] for layer in layers], ids])[:8]


def keep(store: Store, result: ReplayResult) -> bool:
    """Store it as the next revision, unless its last one says the same; False where another process was faster."""
    earlier = revisions(store, KIND, result.plan, result.id)
    value = to_json(result)
    if earlier and _same(earlier[-1].value, value):
        return True
    return add_record(store, Record(KIND, result.id, len(earlier) + 1, result.plan, result.created, value))


def to_value(result: ReplayResult) -> Json:
    """A replay as JSON for machines, its figures and the caveat included."""
    figures = {"harms": to_json(tuple(harm_lines(result.rows))), "pairs": to_json(tuple(pairs(result.rows)))}
    states = [{**to_json(row), "state": row.state} for row in result.rows]
    return {"schema": 1, **to_json(result), "rows": states, **figures, "caveat": CAVEAT}


def _same(old: Json, new: Json) -> bool:
    return {**old, "created": 0} == {**new, "created": 0}


def results(store: Store, plan: str) -> list[ReplayResult]:
    """The replays of a plan that verdicts back, oldest first."""
    return backed_results(store, plan)[0]


def backed_results(store: Store, plan: str) -> tuple[list[ReplayResult], int]:
    """The last revision of each replay of a plan, oldest first, and how many are left out: those of which no verdicts
    of the user, or of writers whom the user trusts, say what they count."""
    last = records(store, KIND, plan)
    fitting = [revision.value for revision in last if not misfit(ReplayResult, revision.value)]
    read: list[ReplayResult] = [from_json(ReplayResult, value) for value in fitting]
    kept = [result for result in read if is_backed(store, result.rows)]
    return sorted(kept, key=lambda result: (result.created, result.id)), len(last) - len(kept)


def over_time(kept: Sequence[ReplayResult]) -> list[LayerPair]:
    """Each layer's versions beside the one before, over findings that the same judge saw in both."""
    by_version: dict[tuple[str, str], dict[str, dict[str, ReplayRow]]] = defaultdict(lambda: defaultdict(dict))
    for result in kept:
        for row in result.rows:
            if row.samples and row.version:
                by_version[result.judge, row.layer][row.version][row.finding] = row
    together = []
    for (_, layer), versions in by_version.items():
        names = list(versions)
        for before, after in pairwise(names):
            pair = _pair(
                ALL, f"{layer} {before}", f"{layer} {after}", versions[before].values(), versions[after].values()
            )
            together += [pair] if pair.pairs else []
    return together
