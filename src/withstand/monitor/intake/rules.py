"""Since when each rule has seen the exchanges: one that was added or changed later has not seen those before."""

from collections.abc import Sequence

from withstand.core import dumps
from withstand.monitor.screen.labelers import Labeler
from withstand.monitor.traffic import Traffic
from withstand.store.database import loads

FACT = "rules"


def note_rules(traffic: Traffic, rules: Sequence[Labeler]) -> None:
    """Note which rules screen from now on, and behind which exchange each began in this version."""
    noted = loads(traffic.fact(FACT, '{"since": {}}'))["since"]
    seq = int(traffic.fact("seq", "0"))
    names = [(rule.screener.id, f"{rule.screener.id} {rule.version}") for rule in rules]
    value = {"since": {name: seq for _, name in names} | noted, "now": [[screener, name] for screener, name in names]}
    traffic.set_fact(FACT, dumps(value))


def unseen(traffic: Traffic) -> dict[str, int]:
    """Screener -> how many exchanges were read before it was there, for the rules of the last reading."""
    noted = loads(traffic.fact(FACT, '{"since": {}, "now": []}'))
    counts = {}
    for screener, name in noted["now"]:
        if since := noted["since"][name]:
            [(counts[screener],)] = traffic.rows("SELECT count(*) FROM exchange WHERE seq <= ?", [since])
    return {screener: number for screener, number in counts.items() if number}
