"""The living list of harms: proposals, decisions, history, and how it grew."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from red_team import DAY, record
from withstand.core import SpecError
from withstand.redteam.coverage.cells import coverage
from withstand.redteam.harms.kinds import discovery, grouped, proposals
from withstand.redteam.harms.living import By, add, by_round, history, merge, retire, split
from withstand.redteam.harms.unmeasured import unmeasured
from withstand.redteam.plan.records import Harm, Plan, read_plan
from withstand.store.attempts import attempts
from withstand.store.attempts import history as revisions_of
from withstand.store.revisions import Event, add_event
from withstand.store.store import Store

PLAN = """\
schema = "withstand.plan/1"
# comments stay
[plan]
name = "Kitchen"
[[layer]]
id = "base"
kind = "model"
target = "scripted-kitchen"
[[harm]]
id = "recipe" # the first one
title = "A recipe"
severity = 3
likelihood = 2
measured_by = "kitchen"
[[harm]]
id = "secret"
title = "A code"
unmeasured_because = "few"
[[feature]]
id = "menu"
[[member]]
id = "m1"
mindset = ["benign"]
[[member]]
id = "m2"
mindset = ["adversarial"]
[[round]]
id = "r1"
mode = "open"
layers = ["base"]
[[round]]
id = "r2"
mode = "guided"
layers = ["base"]
min_per_cell = 5
[[round]]
id = "r3"
mode = "guided"
layers = ["base"]
min_per_cell = 5
"""


class Team:
    """A plan's file and a store."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "plan.toml"
        self.path.write_text(PLAN, encoding="utf-8")
        self.db = str(folder / "team.db")
        self.store = Store(self.db)

    @property
    def plan(self) -> Plan:
        return read_plan(self.path)

    def finding(self, text: str, harm: str, **fields: Any) -> str:
        record(self.store, text, ("m1",), harm=harm, verdict="harmful", persona="", **fields)
        return f"F-{text}-m1"


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    made = Team(tmp_path)
    yield made
    made.store.close()


def by(round_id: str = "", reason: str = "", at: float = DAY) -> By:
    return By("ida", at, round_id, reason)


def test_a_harm_lives_from_a_proposal_to_its_split(team: Team) -> None:
    """Found in an open round, accepted, made part of another, split and retired; all of it can be read later."""
    first = team.finding("a", "new: soup that is too hot", round="r1", severity=3)
    second = team.finding("b", "new: Soup that is much too  hot", round="r1")
    team.finding("c", "new: insults the guest", round="r1")
    listed = proposals(team.store, team.plan)
    assert [(p.id, p.findings, p.severity) for p in listed] == [
        ("soup-that-is-too-hot", (first, second), 3), ("insults-the-guest", ("F-c-m1",), None)
    ]  # fmt: skip

    harm = Harm("hot-soup", "Soup too hot", "A guest could burn.", severity=4, likelihood=3, category="hazard")
    added = add(team.store, team.plan, harm, listed[0].findings, by())
    assert added.plan.harm("hot-soup").source == f"open-ended:{first}"
    assert (added.order[0], added.order_before[0]) == (("hot-soup", 12), ("recipe", 6))
    [revision] = attempts(team.store, ids=[second])
    assert (revision.harm, revision.revision, revision.editor) == ("hot-soup", 2, "ida")
    assert revisions_of(team.store, second)[0].harm == "new: Soup that is much too  hot"
    assert [p.id for p in proposals(team.store, team.plan)] == ["insults-the-guest"]

    merge(team.store, team.plan, "secret", ["hot-soup", "F-c-m1"], by("r2", "one list is enough", DAY + 1))
    plan = team.plan
    assert (plan.harm("hot-soup").status, plan.harm("hot-soup").merged_into) == ("merged", "secret")
    with pytest.raises(SpecError, match="hot-soup is merged into secret"):
        retire(team.store, plan, "hot-soup", by("r2", "gone"))
    changed = split(
        team.store, plan, "secret", [Harm("door", "The door's code"), Harm("pantry", "The pantry's code")],
        by("r3", at=DAY + 2),
    )  # fmt: skip
    assert changed.waiting == 1
    assert changed.plan.harm("secret").reason == "split into door and pantry"
    assert changed.plan.harm("door").unmeasured_because == "few"
    retire(team.store, team.plan, "door", by("r3", "the door has no code", DAY + 3))

    text = team.path.read_text(encoding="utf-8")
    assert [line for line in PLAN.splitlines() if line not in text.splitlines()] == []
    assert [(d.action, d.harm, d.round, d.by) for d in history(team.store, team.plan)] == [
        ("add", "hot-soup", "r1", "ida"), ("merge", "hot-soup", "r2", "ida"), ("merge", "secret", "r2", "ida"),
        ("add", "door", "r3", "ida"), ("add", "pantry", "r3", "ida"), ("split", "secret", "r3", "ida"),
        ("retire", "door", "r3", "ida"),
    ]  # fmt: skip
    assert [(c.round, c.source, c.harms) for c in by_round(team.store, team.plan)] == [
        ("r1", "initial", 2), ("r1", "open-ended", 1), ("r2", "initial", 2), ("r3", "initial", 2)
    ]  # fmt: skip


def test_a_new_harm_of_a_guided_round_opens_its_cells_at_one_input(team: Team) -> None:
    name = team.finding("a", "new: cold soup", round="r2")
    add(team.store, team.plan, Harm("cold-soup", "Cold soup", "It is cold."), [name], by())
    needs = {(cell.round, cell.need) for cell in coverage(team.store, team.plan).cells if cell.harm == "cold-soup"}
    assert needs == {("r2", 1), ("r3", 5)}


def test_what_is_refused_changes_nothing(team: Team) -> None:
    name = team.finding("a", "new: cold soup", round="r2")
    harm = Harm("cold-soup", "Cold soup", "It is cold.")
    for refused, message in (
        (lambda: add(team.store, team.plan, harm, ["F-nobody"], by()), "F-nobody is neither a harm nor an attempt"),
        (lambda: add(team.store, team.plan, Harm("Cold Soup", "x"), [name], by()), "'Cold Soup' is no id"),
        (lambda: add(team.store, team.plan, Harm("recipe", "x"), [name], by()), "has a harm 'recipe'"),
        (lambda: add(team.store, team.plan, harm, [name], by("r9")), "no round 'r9'"),
        (lambda: retire(team.store, team.plan, "recipe", by()), "cannot be retired without a reason"),
        (lambda: merge(team.store, team.plan, "recipe", ["recipe"], by()), "part of itself"),
        (lambda: split(team.store, team.plan, "recipe", [harm], by()), "cannot be split into 1"),
    ):  # fmt: skip
        with pytest.raises(SpecError, match=message):
            refused()
    assert team.path.read_text(encoding="utf-8") == PLAN
    assert (history(team.store, team.plan), attempts(team.store)[0].revision) == ([], 1)


def test_a_plan_without_rounds_has_a_list_too(team: Team) -> None:
    team.path.write_text(PLAN[: PLAN.index("[[round]]")], encoding="utf-8")
    changed = retire(team.store, team.plan, "secret", by(reason="told to nobody"))
    assert (changed.order, by_round(team.store, changed.plan)) == ((("recipe", 6),), [])
    assert coverage(team.store, changed.plan).cells == ()


def test_kinds_found_by_round_and_their_lower_bound(team: Team) -> None:
    """Chao1 of open rounds alone: two kinds seen once, one twice: 3 + 2 * 1 / (2 * 2)."""
    team.finding("a", "new: cold soup", round="r1")
    team.finding("b", "new: cold  SOUP", round="r1")
    team.finding("c", "recipe", round="r1")
    team.finding("d", "new: insults the guest", round="r1")
    team.finding("e", "", round="r1")
    team.finding("f", "recipe", round="r1", status="duplicate")
    team.finding("g", "secret", round="r2")
    team.finding("h", "new: cold soup", round="r2")
    for number, at in enumerate((0, 600, 1200, 1800)):
        add_event(team.store, Event("s", number, "turn", "kitchen", "r1", "m1", DAY + at, {}))
    of = discovery(team.store, team.plan)
    assert (of.kinds, of.at_least) == (3, 3.5)
    assert [(r.round, r.kinds, r.new, r.unnamed, r.per_hour) for r in of.rounds] == [
        ("r1", 3, 3, 1, 6.0), ("r2", 2, 1, 0, None), ("r3", 0, 0, 0, None)
    ]  # fmt: skip


def test_words_that_are_alike_are_one_group() -> None:
    words = {"1": "leaks the door code", "2": "Insults guests", "3": "leaks the door codes", "4": "it insults a guest",
             "5": "leaks the door code"}  # fmt: skip
    assert grouped(words) == [["1", "5", "3"], ["2", "4"]]
    assert grouped({}) == []


def test_harms_without_measurement_are_handed_over_with_a_reason(team: Team) -> None:
    text = PLAN.replace('measured_by = "kitchen"', 'measured_by = "kichen"').replace('"few"', '" "')
    team.path.write_text(text, encoding="utf-8")
    team.finding("a", "secret")
    listed = unmeasured(team.store, team.plan)
    assert [(u.harm, u.weight, u.findings) for u in listed] == [("recipe", 6, 0), ("secret", 4, 1)]
    assert listed[0].why.startswith("measured_by = 'kichen', but")  # a suite that is not there measures nothing
    assert listed[1].why == "none given"


def test_the_commands(team: Team, withstand: Callable[..., Any]) -> None:
    name = team.finding("a", "new: cold soup", round="r2")
    store = ("--store", team.db)
    assert "cold-soup" in withstand("plan", "harms", team.path, *store).out
    added = withstand(
        "plan", "harms", "add", team.path, "cold-soup", "--title", "Cold soup", "--definition", "It is cold.",
        "--category", "hazard", "--severity", 4, "--from", name, "--by", "ida", *store,
    )  # fmt: skip
    assert "1. cold-soup, weight 8 (new)" in added.out
    assert "2. recipe, weight 6 (was 1)" in added.out
    listed = withstand("plan", "harms", team.path, "--unmeasured", "--json", *store)
    assert [entry["harm"] for entry in json.loads(listed.out)["unmeasured"]] == ["cold-soup", "secret"]
    assert withstand("plan", "harms", "retire", team.path, "secret", "--by", "ida", *store).code == 2
