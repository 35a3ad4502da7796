"""The board of findings: filters, an order, what waits for somebody, and triage in place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import Response

from withstand.explorer import team
from withstand.explorer.app import PageRequest
from withstand.explorer.numbers import whole
from withstand.explorer.read import Part, part
from withstand.redteam.findings import board
from withstand.redteam.findings.board import NOBODY, ORDERS, WAITS_FOR, Wanted
from withstand.redteam.findings.similar import Match, sent
from withstand.redteam.findings.triage import STATUSES, is_apart, lacks_rater, people
from withstand.store.attempts import SEVERE, SEVERITIES, Attempt, attempts

SNIPPET = 160
FILTERS = ("status", "severity", "owner", "harm", "layer", "round", "tester", "todo", "order", "run")
ELSEWHERE = "all"
"""In the query: findings of every plan of the store, and of none."""
LONGEST = 20_000
"""Characters of the query of a page."""


@dataclass(frozen=True, slots=True)
class Line:
    """A finding of a list. sent: what was asked, hidden until somebody asks for it; a severe one is read on its page,
    where it counts as exposure.   own: the severity that this person gave it, None for none.   same: how many others
    were made by the same input.
    """

    it: Attempt
    sent: Part
    shown: bool
    ratings: Mapping[str, int]
    apart: bool
    lacks_rater: bool
    own: int | None
    same: int = 0
    run_name: str = ""


def page(asked: PageRequest) -> Response:
    """The findings that are wanted, a page of them."""
    store, wanted = asked.explorer.store, wanted_of(asked)
    skip = whole(asked.query.get("skip", "")) or 0
    shown = board.page(store, wanted, skip)
    names = {run.key: run.name for run in asked.explorer.index.runs()}
    acted = team.acted_as(asked)
    lines = [
        replace(line_of(asked, it, acted, shown.same.get(it.id, 0)), run_name=names.get(it.run, ""))
        for it in shown.findings
    ]
    return asked.page(
        "findings", lines=lines, shown=shown, wanted=wanted, skip=skip, size=board.PAGE,
        options=_options(asked, wanted), query=query_of(asked, wanted),
        alike=",".join(it.id for it in shown.findings if it.turns), **vocabulary(asked),
    )  # fmt: skip


def wanted_of(asked: PageRequest) -> Wanted:
    """What the query asks for: without a word, the findings of this explorer's plan."""
    plan, query = asked.explorer.plan, asked.query
    chosen = {name: str(query.get(name, ""))[:200] for name in FILTERS}
    if chosen["order"] not in ORDERS:
        chosen["order"] = ORDERS[0]
    everywhere = plan is None or query.get("of") == ELSEWHERE or bool(chosen["run"])
    own = team.only(asked)
    return Wanted(plan=plan.id if plan and (own or not everywhere) else None, only=own, **chosen)


def query_of(asked: PageRequest, wanted: Wanted) -> Any:
    """What makes the query of an address from changes of a filter; a page after the first is left."""

    def query(**changes: Any) -> dict[str, str]:
        own = {name: value for name, value in wanted.query(**changes).items() if name != "plan"}
        return own | ({"of": ELSEWHERE} if asked.explorer.plan and wanted.plan is None and not wanted.run else {})

    return query


def _options(asked: PageRequest, wanted: Wanted) -> dict[str, Sequence[tuple[str, str]]]:
    """The values of each filter with their words: those of the plan first."""
    plan, store = asked.explorer.plan, asked.explorer.store
    here = plan if plan and wanted.plan == plan.id else None

    def column(name: str, own: Sequence[tuple[str, str]] = ()) -> list[tuple[str, str]]:
        """Of a plan its own ids, of which the findings are counted anyway; else what findings have."""
        listed = dict(own) or {value: value for value in board.values(store, wanted, name)}
        if (chosen := getattr(wanted, name)) and chosen not in listed:
            listed[chosen] = chosen
        return list(listed.items())

    harms = [(harm.id, harm.title or harm.id) for harm in here.harms] if here else []
    severities = [(str(number), f"{number} {SEVERITIES[number - 1]}") for number in (4, 3, 2, 1)]
    return {
        "severity": [*severities, ("0", "not rated")],
        "harm": column("harm", [*harms, ("new", "in a tester's words")] if here else ()),
        "layer": column("layer", [(layer.id, layer.id) for layer in here.layers] if here else ()),
        "round": column("round", [(r.id, r.id) for r in here.in_order] if here else ()),
        "tester": column("tester", [(member.id, member.id) for member in here.members] if here else ()),
        "owner": [(NOBODY, "nobody"), *((name, name) for name, _ in column("owner") if name != NOBODY)],
        "todo": list(WAITS_FOR.items()),
        "order": [("severity", "the severest first"), ("newest", "the newest first"), ("oldest", "the oldest first")],
    }  # fmt: skip


def vocabulary(asked: PageRequest) -> dict[str, Any]:
    """What the forms of triage offer, and whether this person may send them."""
    plan = asked.explorer.plan
    return {
        "statuses": STATUSES, "severities": SEVERITIES, "plan": plan,
        "titles": {harm.id: harm.title for harm in plan.harms if harm.title} if plan else {},
        "owners": [member.id for member in plan.members] if plan else [],
        "may": asked.may_write("labeler"),
    }  # fmt: skip


def line_of(asked: PageRequest, it: Attempt, acted: frozenset[str], same: int = 0) -> Line:
    """A finding for a list. acted: see `team.rater_of`."""
    severe = (it.rated or 0) >= SEVERE and team.member_of(asked) not in ("", it.tester)
    shown = asked.shows(f"finding/{it.id}") and not severe
    text = sent(it.turns) or it.output_description
    ratings = people(it)
    return Line(
        it, part("user", text, shown, SNIPPET), shown, ratings, is_apart(it), lacks_rater(it),
        ratings.get(team.rater_of(asked, it, acted)), same,
    )  # fmt: skip


def alike(asked: PageRequest) -> Response:
    """What reads like each finding of a page: one of them, the likest, for a list; five for the page of a finding."""
    ids = asked.query.get("ids", "")[:LONGEST].split(",")[: board.PAGE]
    store, most = asked.explorer.store, 5 if len(ids) == 1 else 1
    alike_to: dict[str, list[Match]] = {}
    read = True
    listed = [it for it in attempts(store, ids=ids) if team.may_see(asked, it)]
    for it in listed:
        matches = asked.explorer.alike.likest(store, it, most)
        if matches is None:
            read = False
            break
        near = [match for match in matches if match.near or most > 1]
        alike_to[it.id] = [match for match in near if team.may_see(asked, match.attempt)]
    revision = listed[0].revision if listed else 0
    return asked.page(
        "_alike", alike=alike_to, read=read, ids=",".join(ids), one=most > 1, revision=revision, **vocabulary(asked)
    )  # fmt: skip


ROUTES = (
    ("/findings", page, ["GET"]),
    ("/findings/alike", alike, ["GET"]),
)
