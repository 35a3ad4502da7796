"""What the others of a team did: alike findings, cells that lack somebody, sessions to read."""

from collections.abc import Sequence
from dataclasses import dataclass

from withstand.redteam.plan import Plan
from withstand.redteam.session_rules import is_opted_out
from withstand.redteam.session_state import State, state_of
from withstand.redteam.similar import Similar, sent
from withstand.store.attempts import Attempt, attempts
from withstand.store.revisions import events
from withstand.store.store import Store


def sent_in(attempt: Attempt) -> str:
    """What the person sent, in one text."""
    return sent(attempt.turns)


def similar(store: Store, plan: Plan, text: str, most: int = 5) -> list[tuple[float, Attempt]]:
    """Attempts of the plan whose inputs read like a text, the likest first, with their likeness in [0, 1]."""
    return [(match.likeness, match.attempt) for match in Similar(attempts(store, plan.id)).matches(text, most)]


@dataclass(frozen=True, slots=True)
class Need:
    """A place that lacks attempts. recorded: how many there are."""

    harm: str
    feature: str
    persona: str
    layer: str
    recorded: int


def needs(store: Store, plan: Plan, round_id: str, member: str, most: int = 8) -> list[Need]:
    """The places of a round that have the fewest attempts, of harms that the member tests; the weightiest first.

    An open round has no harms: its places are features and personas.
    """
    here = plan.round(round_id)
    tried = [attempt for attempt in attempts(store, plan.id) if attempt.round == round_id]
    harms = [h for h in plan.active if not is_opted_out(plan, member, h.id)] if here.mode == "guided" else []
    places = [
        Need(
            harm, feature.id if feature else "", persona, layer,
            sum(
                (a.harm == harm or not harm, a.feature == (feature.id if feature else a.feature),
                 a.persona == (persona or a.persona), a.layer == layer) == (True,) * 4
                for a in tried
            ),
        )
        for harm in [h.id for h in harms] or [""]
        for feature in plan.features or (None,)
        for persona in [p.id for p in plan.personas] or [""]
        for layer in here.layers
        if feature is None or not feature.layers or layer in feature.layers
    ]  # fmt: skip
    weight = {harm.id: harm.weight for harm in plan.harms}
    thin = [place for place in places if place.recorded < max(1, here.min_per_cell)]
    return sorted(thin, key=lambda place: (place.recorded, -weight.get(place.harm, 0)))[:most]


def sessions(store: Store, plan: Plan, round_id: str = "", member: str = "") -> list[State]:
    """The sessions of a plan (of a round, of a member), the one with the last step first."""
    steps = events(store, plan.id, member=member or None)
    by_session: dict[str, list[int]] = {}
    for place, step in enumerate(steps):
        by_session.setdefault(step.session, []).append(place)
    states = [state_of(steps[places[0] : places[-1] + 1]) for places in by_session.values()]
    chosen = [state for state in states if state and (not round_id or state.round == round_id)]
    return sorted(chosen, key=lambda state: -state.last)


def may_read(plan: Plan, reader: str, state: State) -> bool:
    """Whether a member may read a session: their own, or any where the plan shares them."""
    return plan.recording.shared or state.member == reader


def hidden_harms(plan: Plan, member: str) -> Sequence[str]:
    """The harms whose texts a member does not see in others' sessions: those that they opted out of."""
    ids = {m.id for m in plan.members}
    return [harm.id for harm in plan.harms if member in ids and is_opted_out(plan, member, harm.id)]
