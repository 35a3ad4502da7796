"""Attempts and plans for tests of red teams."""

from collections.abc import Sequence
from typing import Any

from withstand.redteam.plan.records import Feature, Harm, Layer, Member, Persona, Plan, Purpose, Recording, Round
from withstand.store.attempts import Attempt, Turn, add
from withstand.store.store import Store

DAY = 1_771_200_000.0
"""16 February 2026, 0:00 UTC."""


def attempt(text: str, **fields: Any) -> Attempt:
    """An attempt of the plan `kitchen`, by m1, on that day, answered well."""
    usual: dict[str, Any] = {
        "id": f"F-{text}-{fields.get('tester', 'm1')}", "turns": (Turn("user", text),), "output": "Soup is served hot.",
        "verdict": "ok", "tester": "m1", "surfaced": DAY, "created": DAY, "plan": "kitchen", "round": "r2",
        "layer": "base", "harm": "recipe", "feature": "menu", "persona": "guest", "mindset": "benign", "language": "en",
    }  # fmt: skip
    return Attempt(**(usual | fields))


def record(store: Store, text: str, testers: Sequence[str] = ("m1", "m2"), **fields: Any) -> None:
    """The same input by each of the testers."""
    for tester in testers:
        assert add(store, attempt(text, tester=tester, **fields))


def plan(**fields: Any) -> Plan:
    """3 harms x 2 features x 2 personas x 2 layers, in an open round and a guided one with two inputs a cell."""
    usual: dict[str, Any] = {
        "path": "plan.toml", "purpose": Purpose("Kitchen"),
        "layers": (Layer("base", "model", "scripted-kitchen"), Layer("app", "application", "scripted-kitchen")),
        "harms": (
            Harm("recipe", "A recipe", severity=4, likelihood=3), Harm("secret", "A code", severity=3, likelihood=2),
            Harm("order", "An order", severity=1, likelihood=1),
        ),
        "features": (Feature("menu"), Feature("booking")),
        "personas": (Persona("guest", "benign"), Persona("rival", "adversarial", language="es")),
        "members": tuple(Member(name, ("benign",), hours_per_round=2) for name in ("m1", "m2", "m3")),
        "rounds": (Round("r1", "open", ("base",)), Round("r2", "guided", ("base", "app"), min_per_cell=2)),
        "recording": Recording(),
    }  # fmt: skip
    return Plan(**(usual | fields))
