"""The same texts to two layers, to see with and without a mitigation (T3)."""

from collections.abc import Callable, Sequence

from withstand.core import SpecError
from withstand.redteam.console.probing import Probe
from withstand.redteam.console.session import Session
from withstand.redteam.console.state import Exchange


def compare(session: Session, layers: Sequence[str], probe_of: Callable[[str], Probe]) -> list[Exchange]:
    """Send the texts of the conversation at hand to each layer, in a new conversation; the last exchange of each.

    Each layer gives its own answers on the way. The session is back on its layer afterwards. Raises `SpecError` where
    there is no conversation, or a layer cannot be asked.
    """
    path, head = session.state.path(), session.state.head
    if not path or len(set(layers)) < 2:
        raise SpecError("two layers and a conversation are needed", hint="send something, then compare two layers")
    probes = {layer: probe_of(layer) for layer in layers}
    ends = []
    for layer, probe in probes.items():
        session.change(layer=layer)
        session.new()
        for entry in path:
            text = entry.turn.original or entry.turn.text
            last = session.send(text, probe, entry.turn.converter, entry.behavior, origin=entry.number)
        ends.append(last)
    session.branch(head)
    return ends
