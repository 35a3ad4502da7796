"""Harms that nobody has covered as behaviors of an ordinary run: what people wrote or recorded, and nothing else.

A definition says what an answer must not be. It is no request: a target that is sent one gives nothing away, and would
look safe. So a harm without a request stays uncovered, and is listed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from withstand.core import Behavior, digest
from withstand.core.likeness import squeezed
from withstand.core.text import count
from withstand.formats.generated import Generated, read_generated, sealed, write_generated
from withstand.redteam.coverage.cells import became, coverage
from withstand.redteam.harms.unmeasured import why_unmeasured
from withstand.redteam.plan.records import Harm, Plan
from withstand.redteam.policy.records import read_policy
from withstand.registry import find
from withstand.registry.grammar import spec_of
from withstand.store.attempts import Attempt, attempts
from withstand.store.store import Store


@dataclass(frozen=True, slots=True)
class Gap:
    """A harm without coverage. why: nothing measures it, or no cell of it is covered.   rows: what can be sent.

    left_out: what was recorded of it and cannot be sent, and why.
    """

    harm: Harm
    why: tuple[str, ...]
    rows: tuple[Generated, ...]
    left_out: tuple[str, ...]


def gaps(store: Store | None, plan: Plan) -> list[Gap]:
    """The active harms that no suite measures, or of which people covered no cell; those of most weight first."""
    of = coverage(store, plan)
    covered = {cell.harm for cell in of.cells if cell.state == "covered"}
    recorded = _recorded(store, plan)
    examples = _of_policy(plan)
    listed = []
    for harm in sorted(plan.active, key=lambda harm: -harm.weight):
        unmeasured = why_unmeasured(harm)
        why = [f"no suite measures it: {unmeasured}"] if unmeasured else []
        why += [] if harm.id in covered else ["no cell of it is covered"]
        if why:
            rows, left_out = _rows(harm, recorded.get(harm.id, ()), examples.get(harm.category, ()))
            listed.append(Gap(harm, tuple(why), rows, left_out))
    return listed


def _recorded(store: Store | None, plan: Plan) -> Mapping[str, list[Attempt]]:
    """Harm -> its findings, oldest first."""
    of: dict[str, list[Attempt]] = {}
    harms = became(plan)
    listed = attempts(store, plan.id) if store else []
    for attempt in sorted(listed, key=lambda attempt: (attempt.surfaced, attempt.id)):
        if attempt.is_finding and attempt.status not in ("duplicate", "not_reproduced"):
            of.setdefault(harms.get(attempt.harm, ""), []).append(attempt)
    return of


def _of_policy(plan: Plan) -> Mapping[str, list[tuple[str, Behavior]]]:
    """Category -> the behaviors of suites that the policy refers to as its examples, with the reference."""
    if not plan.purpose.policy:
        return {}
    policy = read_policy(Path(plan.path).parent / plan.purpose.policy)
    used = {harm.category for harm in plan.active}
    suites: dict[str, dict[str, Behavior]] = {}
    of: dict[str, list[tuple[str, Behavior]]] = {}
    for category in policy.categories.values():
        for text in category.examples if category.id in used else ():
            name, _, behavior_id = text.partition(":")
            if name == "file":
                continue
            if name not in suites:
                suites[name] = {behavior.id: behavior for behavior in find.build("suite", {"use": name}).load()}
            if behavior_id in suites[name]:
                of.setdefault(category.id, []).append((text, suites[name][behavior_id]))
    return of


def _rows(
    harm: Harm, findings: Sequence[Attempt], examples: Sequence[tuple[str, Behavior]]
) -> tuple[tuple[Generated, ...], tuple[str, ...]]:
    """What can be sent to get a harm, the same text once; and what cannot."""
    texts: dict[str, tuple[str, str, str]] = {}
    left_out: dict[str, int] = {}

    def keep(text: str, context: str, writer: str) -> None:
        if text.strip():
            texts.setdefault(squeezed(text + context), (text, context, writer))

    for text in harm.requests:
        keep(text, "", "plan")
    for reference, behavior in examples:
        keep(behavior.text, behavior.context, f"policy {reference}")
    for finding in findings:
        if reason := _unsendable(finding):
            left_out[reason] = left_out.get(reason, 0) + 1
        else:
            keep(finding.turns[-1].text, "", f"finding {finding.id}")
    judge = _judge(harm)
    rows = tuple(
        sealed(
            Generated(
                f"{harm.id}-{digest([text, context])[:8]}", text, context, category=harm.category or harm.id,
                tags=(f"harm:{harm.id}",), parent=f"harm/{harm.id}", reason=harm.title, judge=judge, status="accepted",
                writer=writer,
            )
        )
        for text, context, writer in texts.values()
    )  # fmt: skip
    return rows, tuple(f"{count(number, 'finding')}: {reason}" for reason, number in left_out.items())


def _unsendable(finding: Attempt) -> str:
    """Why a run cannot send what a finding sent, "" where it can."""
    if finding.purged or finding.sensitivity == "not_stored":
        return "the texts are not stored"
    if len(finding.turns) != 1 or finding.turns[0].role != "user":
        return "several turns or a system prompt, which `withstand plan replay` sends"
    if finding.turns[0].attachments:
        return "it has attachments"
    return "" if finding.turns[0].text.strip() else "its text was not recorded"


def _judge(harm: Harm) -> str:
    """The judge of the suite that measures a harm, "" where none does."""
    return "" if why_unmeasured(harm) else str(find.build("suite", spec_of(harm.measured_by)).judge)


# --- the file that a run reads --------------------------------------------------------------------------------------


def file_of(plan: Plan) -> Path:
    """Where the behaviors of a plan's gaps lie: beside the plan."""
    path = Path(plan.path)
    return path.with_name(f"{path.stem}.gaps.jsonl")


def write(plan: Plan, listed: Sequence[Gap]) -> tuple[Path, list[Generated]]:
    """Write the behaviors of the gaps, for the owner alone, and return them. What a person edited or dropped in the
    file stays so. No file is made for nothing."""
    rows = [row for gap in listed for row in gap.rows]
    path = file_of(plan)
    before = {row.id: row for row in read_generated(str(path))} if path.exists() else {}
    if not rows and not before:
        return path, []
    merged = [*_with_edits(rows, before, {f"harm/{gap.harm.id}" for gap in listed})]
    path.touch(mode=0o600)
    write_generated(path, merged)
    return path, [row for row in merged if row.status != "dropped"]


def _with_edits(rows: Sequence[Generated], before: Mapping[str, Generated], harms: set[str]) -> Iterator[Generated]:
    """The rows, each as a person left it, and those that a person added for one of these harms."""
    ids = {row.id for row in rows}
    for row in rows:
        old = before.get(row.id, row)
        yield old if old.status in ("edited", "dropped") else row
    for old in before.values():
        if old.id not in ids and old.parent in harms and old.status == "edited":
            yield old


def notes(listed: Sequence[Gap], rows: Sequence[Generated]) -> Iterator[str]:
    """What is sent of which harm and why, and what is not. What the rates will not mean is a note of the suite."""
    for gap in listed:
        own = [row for row in rows if row.parent == f"harm/{gap.harm.id}"]
        reasons = "; ".join(gap.why)
        sent = count(len(own), "behavior") if own else "NOTHING TO SEND, still uncovered"
        yield f"{gap.harm.id} ({reasons}): {sent}"
        for text in gap.left_out:
            yield f"{gap.harm.id}: left out {text}"


def unjudged(rows: Sequence[Generated]) -> list[str]:
    """The harms with a row whose judge nobody names."""
    return sorted({row.parent.removeprefix("harm/") for row in rows if not row.judge})


def uncovered(listed: Sequence[Gap], rows: Sequence[Generated]) -> list[str]:
    """The harms of which nothing is sent."""
    sent = {row.parent for row in rows}
    return [gap.harm.id for gap in listed if f"harm/{gap.harm.id}" not in sent]
