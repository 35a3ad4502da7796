"""Who sits at the console: the member that a signed-in person is, their session, and what they may send a text to."""

from collections.abc import Mapping
from typing import Any

from withstand.core import Sampling, SpecError
from withstand.explorer.app import PageRequest
from withstand.explorer.choices import choices
from withstand.explorer.security import Refused
from withstand.redteam.console import probing
from withstand.redteam.console.probing import Probe
from withstand.redteam.console.session import Session, open_session
from withstand.redteam.console.state import State
from withstand.redteam.plan.records import Plan, slug


def need(asked: PageRequest) -> Plan | None:
    """The plan, where this person may probe: an admin, and with a plan its members, who reach its layers alone.

    Raises `Refused`.
    """
    plan = asked.explorer.plan
    asked.need("admin" if plan is None else "labeler")
    if plan is not None and not members(asked, plan):
        ids = ", ".join(member.id for member in plan.members)
        raise Refused(403, f"the plan has no member {asked.who!r}", f"a person's name is the id of a member: {ids}")
    return plan


def members(asked: PageRequest, plan: Plan) -> list[str]:
    """The members that this person may be: the one of their name; for an admin any, that one first."""
    ids = [member.id for member in plan.members]
    own = [name for name in ids if name in (asked.who, slug(asked.who))]
    return own + [name for name in ids if name not in own] if asked.may("admin") else own


def is_own(asked: PageRequest, plan: Plan | None, state: State) -> bool:
    """Whether this person may write in a session."""
    return state.member in members(asked, plan) if plan else state.member == asked.who


def current(asked: PageRequest) -> Session | None:
    """The session that the request names, or else the last one of this browser; None for none that is open.

    Raises `Refused` for somebody else's.
    """
    plan = asked.explorer.plan
    name = str(asked.query.get("session") or asked.form.get("session") or asked.session.probe)
    session = open_session(asked.explorer.store, plan, name) if name and not asked.explorer.read_only else None
    if session is None:
        return None
    if not is_own(asked, plan, session.state):
        raise Refused(403, f"this session is of {session.state.member}", "read it, and go on by branching")
    asked.session.probe = name
    session.offline = asked.explorer.offline
    return session


class Unconfirmed(Exception):  # noqa: N818 - a question, not an error
    """The person has not said yet that a prompt may go to these hosts, with these variables."""


def probe_of(asked: PageRequest, session: Session, layer: str = "") -> Probe:
    """What the form sends a text to, built: the session's layer (or another one), or components of the store's runs.

    Raises `SpecError` for what is not in the list, and `Unconfirmed` until this person has seen and confirmed where a
    prompt goes and which secrets go with it.
    """
    options, plan, form = choices(asked), asked.explorer.plan, asked.form
    judges = _chosen(options, "judge", [str(name) for name in form.get("judge[]", [])])
    sampling = _sampling(form)
    if plan is not None:
        probe = probing.of_layer(plan.layer(layer or session.state.context.layer), judges, sampling)
    else:
        target, defense = str(form.get("target", "")), str(form.get("defense", ""))
        specs = _chosen(options, "target", [target]) | _chosen(options, "defense", [defense])
        probe = probing.build(target, specs[target], specs[defense], judges, sampling, defense)
    if where := probe.destination:
        if form.get("confirm") == where:
            asked.session.confirmed.add(where)
        if where not in asked.session.confirmed:
            raise Unconfirmed(where)
    return probe


def _chosen(options: Mapping[str, Mapping[str, Any]], kind: str, names: list[str]) -> dict[str, Any]:
    for name in names:
        if name not in options[kind]:
            raise SpecError(f"no run of this store has the {kind} {name!r}", hint="choose one from the list")
    return {name: options[kind][name] for name in names}


def _sampling(form: Mapping[str, Any]) -> Sampling:
    temperature, tokens = str(form.get("temperature", "0") or "0"), str(form.get("max_tokens", "512") or "512")
    try:
        return Sampling(max_tokens=min(int(tokens), 8_192), temperature=float(temperature))
    except ValueError as error:
        raise SpecError("temperature and answer tokens are numbers") from error
