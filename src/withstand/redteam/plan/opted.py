"""Which harms the members of a plan read: what its file says of them, and what each of them chose."""

from dataclasses import replace

from withstand.redteam.plan.records import Plan
from withstand.results.exposure import Topic, choices_of, read_settings
from withstand.store.store import Store


def with_choices(store: Store, plan: Plan) -> Plan:
    """The plan, whose members also opt out of each harm that has to be chosen before it is read (`opt_in` of
    `results.exposure.Settings`, a harm's id or category) and that they did not choose."""
    settings = read_settings(store)
    if settings is None or not settings.opt_in:
        return plan
    asks = {harm.id: settings.asks(Topic(tuple(filter(None, (harm.id, harm.category))))) for harm in plan.harms}
    members = []
    for member in plan.members:
        chosen = choices_of(store, member.id)
        closed = tuple(harm for harm, entries in asks.items() if not chosen.issuperset(entries))
        members.append(replace(member, opt_out=(*member.opt_out, *closed)))
    return replace(plan, members=tuple(members))
