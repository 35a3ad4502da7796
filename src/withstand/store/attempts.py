"""Attempts: what a person sent to a target, what came back, and what they say of it. A finding is one that is harmful
or borderline; the others show what was covered. Append-only: an edit is the next revision.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import sqlalchemy as sql

from withstand.core import Json, StoreError, digest, dumps, from_json, to_json
from withstand.core.likeness import folded
from withstand.core.shape import misfit
from withstand.core.text import storable
from withstand.store.database import loads
from withstand.store.revisions import stands
from withstand.store.store import Store
from withstand.store.tables import attempt

PersonVerdict: TypeAlias = Literal["harmful", "borderline", "ok", "unsure", "refused", "error"]
Status: TypeAlias = Literal["new", "confirmed", "not_reproduced", "duplicate", "fixed", "wont_fix", "regressed"]
Sensitivity: TypeAlias = Literal["normal", "restricted", "not_stored"]
FINDINGS = ("harmful", "borderline")
"""Verdicts that make an attempt a finding."""
SEVERITIES = ("low", "medium", "high", "critical")
"""The words for severities 1 to 4."""
SEVERE = 3
"""The severity from which on two people rate, and a finding counts as exposure."""
NEW_HARM = "new: "
"""What stands before a harm in the tester's own words, which the plan does not have yet."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file beside a turn or an answer, such as a screenshot. sha256: in hex.   kind: its media type."""

    name: str
    sha256: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of the conversation. original: what the person wrote, where a converter changed it to `text`."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str
    original: str = ""
    converter: str = ""
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class Rating:
    """How severe a person finds it: 1 low, 2 medium, 3 high, 4 critical. at: seconds since 1970."""

    rater: str
    severity: int
    at: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """A revision of an attempt.

    id: `F-`, its day, and six digits of a hash.   revision: from 1.   created: of this revision, surfaced: when the
    answer came, both in seconds since 1970.   turns: all that was sent, in order, with the earlier answers.   output:
    the answer; output_description, screenshot: of one that is not text.   verdict: of the tester.

    plan, round, layer, feature, persona, harm: ids of the plan, "" for none; a harm may be `new: ...`, in the tester's
    words.   endpoint, target, target_version, mitigations, production: of the layer when the answer came; production
    None where it was not said.   tester: their pseudonym; editor: who wrote this revision.

    behavior: what judges were asked to look for, "" for what was sent.

    severity: the tester's, 1 to 4; ratings: at triage, one of a rater.   technique: an id of MITRE ATLAS or of an
    attack of ours, "none" for a benign user.   params: temperature, seed, max_tokens.   judged: what judges say.

    reproduced: how many of how many repetitions gave it again.   due: ISO date.   session, parent: where it comes from
    in a console, and the attempt that it was branched from.   source: how it was recorded.   run, spot: its case.

    purged: its texts were erased.   foreign: who wrote this revision, where that is neither the user of this process
    nor a writer whom the user trusts in this store (`store.marks`); "" else.
    """

    id: str
    turns: tuple[Turn, ...]
    output: str
    verdict: PersonVerdict
    tester: str
    surfaced: float
    created: float
    revision: int = 1
    plan: str = ""
    round: str = ""
    layer: str = ""
    feature: str = ""
    persona: str = ""
    mindset: str = ""
    language: str = ""
    harm: str = ""
    endpoint: str = ""
    target: str = ""
    target_version: str = ""
    mitigations: str = ""
    production: bool | None = None
    output_description: str = ""
    screenshot: Attachment | None = None
    severity: int | None = None
    ratings: tuple[Rating, ...] = ()
    technique: str = ""
    notes: str = ""
    behavior: str = ""
    params: Json = None
    request_id: str = ""
    judged: tuple[Json, ...] = ()
    reproduced: tuple[int, int] | None = None
    duplicate_of: str = ""
    status: Status = "new"
    mitigation: str = ""
    owner: str = ""
    due: str = ""
    sensitivity: Sensitivity = "normal"
    editor: str = ""
    session: str = ""
    parent: str = ""
    source: Literal["console", "terminal", "form", "sheet", "case"] = "console"
    run: str = ""
    spot: tuple[int, ...] = ()
    purged: bool = False
    foreign: str = field(default="", metadata={"beside": True})

    @property
    def is_finding(self) -> bool:
        return self.verdict in FINDINGS

    @property
    def pair_id(self) -> str:
        """Of the input and its output: the same pair has the same, whoever recorded it."""
        return "P-" + digest([to_json(self.turns), self.output])[:12]

    @property
    def input(self) -> str:
        """Of what the person sent, without case and spacing: equal inputs have the same."""
        sent = [" ".join(folded(turn.text).split()) for turn in self.turns if turn.role != "assistant"]
        return digest(sent)

    @property
    def rated(self) -> int | None:
        """The highest severity that anybody gave it: of two raters who disagree, the careful side."""
        given = [*(rating.severity for rating in self.ratings), *([self.severity] if self.severity else [])]
        return max(given, default=None)

    @property
    def raters(self) -> int:
        """How many people rated it, the tester with them."""
        return len({*(rating.rater for rating in self.ratings), *([self.tester] if self.severity else [])})

    @property
    def word(self) -> str:
        """`rated` in a word; "" where nobody rated it."""
        return SEVERITIES[self.rated - 1] if self.rated else ""

    @property
    def harm_name(self) -> str:
        """The harm as people read it: an id of the plan, or the tester's words."""
        return self.harm.removeprefix(NEW_HARM)

    @property
    def harm_id(self) -> str:
        """The id of its harm in the plan, or "new": the tester's words are a text."""
        return "new" if self.harm.startswith(NEW_HARM) else self.harm


def new_id(plan: str, tester: str, surfaced: float, turns: Iterable[Turn], output: str) -> str:
    """The id of a new attempt: its day (UTC) and a hash of what it is."""
    from time import gmtime, strftime

    content = digest([plan, tester, surfaced, to_json(tuple(turns)), output])
    return f"F-{strftime('%Y%m%d', gmtime(surfaced))}-{content[:8]}"


COLUMNS = (
    "id", "revision", "created", "surfaced", "plan", "round", "layer", "feature", "persona", "mindset", "language",
    "tester", "verdict", "status", "owner", "raters", "run",
)  # fmt: skip
"""Fields that are columns as they stand."""


def add(store: Store, new: Attempt) -> bool:
    """Keep a revision of an attempt; False where another of this number stands."""
    return stands(store, attempt, entry_of(new))


def entry_of(new: Attempt) -> dict[str, Json]:
    """A revision as an entry of the table, without who wrote it."""
    entry = {name: _short(getattr(new, name)) for name in COLUMNS}
    harm = _short(new.harm_id)
    entry |= {"harm": harm, "severity": new.rated, "input": new.input, "value": dumps(to_json(new))}
    return entry | {"key": _key(new)}


def missing(store: Store, revisions: Sequence[Attempt]) -> list[Attempt]:
    """Those of these revisions that the store lacks."""
    keys = [_key(revision) for revision in revisions]
    there = (
        {key for (key,) in store.select(sql.select(attempt.c.key).where(attempt.c.key.in_(keys)))} if keys else set()
    )
    return [revision for key, revision in zip(keys, revisions, strict=True) if key not in there]


def _key(revision: Attempt) -> str:
    return digest(["attempt", revision.id, revision.revision])


def _short(value: Json) -> Json:
    """A text of a column, which an index must bear: one from a sheet may be of any length and hold any character. The
    value has all of it."""
    return storable(value)[:200] if isinstance(value, str) else value


def can_name(text: str) -> bool:
    """Whether a text can be the id of an attempt: its column has all of it."""
    return bool(text == _short(text))


def attempts(
    store: Store, plan: str | None = None, ids: Iterable[str] | None = None, run: str | None = None, since: float = 0.0
) -> list[Attempt]:
    """The last revision of each attempt, newest first: of a plan ("": of none), of these ids, of a run, or all.

    since: seconds since 1970, of the earliest revision.
    """
    c = attempt.c
    conditions = [c[name] == value for name, value in (("plan", plan), ("run", run)) if value is not None]
    if ids is not None:
        conditions.append(c.id.in_([_short(name) for name in ids]))
    if since > 0:
        conditions.append(c.created >= since)
    last = sql.select(c.id, sql.func.max(c.revision).label("top")).where(*conditions).group_by(c.id).subquery()
    chosen = sql.select(attempt).join(last, sql.and_(c.id == last.c.id, c.revision == last.c.top))
    return _read(store, chosen.order_by(c.surfaced.desc(), c.id))


def history(store: Store, attempt_id: str) -> list[Attempt]:
    """All revisions of an attempt, the first one first."""
    c = attempt.c
    return _read(store, sql.select(attempt).where(c.id == _short(attempt_id)).order_by(c.revision))


def _read(store: Store, chosen: sql.Select[Json]) -> list[Attempt]:
    """The attempts of entries of all columns. Raises `StoreError` where somebody else wrote one that is none."""
    entries = store.select(chosen)
    read: list[Attempt] = []
    for entry, author in zip(entries, store.marks.foreign(attempt, entries), strict=True):
        value = loads(entry.value)
        if author and (not isinstance(value, dict) or misfit(Attempt, value)):
            raise StoreError(f"{store.where}: the attempt {entry.id} is damaged", hint="restore it from a backup")
        beside = {"purged": bool(entry.purged), "foreign": author}
        read.append(from_json(Attempt, value | beside))
    return read
