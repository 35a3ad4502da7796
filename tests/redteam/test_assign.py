"""Who tests what: the rules that no table breaks, and what stands in the store."""

import copy
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from red_team import attempt
from withstand import api
from withstand.redteam.plan.assign import Table, assign, assignment, table
from withstand.redteam.plan.matching import CRITICAL, KEPT, latin_square
from withstand.redteam.plan.progress import progress
from withstand.redteam.plan.records import SCHEMA, Harm, Member, Plan, Purpose, Recording, Round, plan_of, read_plan
from withstand.redteam.plan.records import Layer as PlanLayer
from withstand.redteam.tables import read_tables
from withstand.store.attempts import add
from withstand.store.revisions import Event, add_event
from withstand.store.store import Store

EXAMPLE = Path(__file__).parents[2] / "examples" / "redteam" / "plan.toml"
CATEGORIES = ("a", "a.b", "c")


def test_a_latin_square_is_balanced() -> None:
    for size in range(1, 8):
        rows = latin_square(size)
        for column in zip(*rows, strict=True):
            assert set(Counter(column).values()) == {len(rows) // size}
        followers = Counter(pair for row in rows for pair in pairwise(row))
        assert len(followers) == size * (size - 1)
        assert len(set(followers.values())) <= 1  # each follows each other one equally often (Williams 1949)


@st.composite
def plans(draw: Any, ample: bool = False) -> Plan:
    """A plan of an open round and three guided ones that rotate. ample: each member has hours for every harm."""
    severities = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    harms = [
        Harm(
            f"h{n}",
            "",
            severity=severity,
            likelihood=draw(st.integers(1, 4)),
            category=draw(st.sampled_from(CATEGORIES)),
        )
        for n, severity in enumerate(severities)
    ]
    mindsets: Any = st.sampled_from([("benign",), ("adversarial",), ("benign", "adversarial")])
    hours = st.just(8.0) if ample else st.sampled_from([0.5, 1.0, 1.25, 2.0, 4.0])
    members = [
        Member(
            f"m{n}", draw(mindsets), expertise=tuple(draw(st.sets(st.sampled_from([h.id for h in harms]), max_size=1))),
            hours_per_round=draw(hours), opt_out=tuple(draw(st.sets(st.sampled_from([*CATEGORIES, "h0"]), max_size=1))),
        )
        for n in range(draw(st.integers(1, 6)))
    ]  # fmt: skip
    ramp_up = draw(st.sampled_from([0.0, 0.25, 1.0]))
    rounds = [Round("r0", "open", ("l",))]
    rounds += [
        Round(f"r{n}", "guided", ("l", "k"), rotate=True, ramp_up_hours=ramp_up, min_per_cell=1) for n in (1, 2, 3)
    ]
    layers = (PlanLayer("l", "model", "echo"), PlanLayer("k", "application", "echo"))
    return Plan("plan.toml", Purpose("P"), layers, tuple(harms), (), (), tuple(members), tuple(rounds), Recording())


def tables_of(plan: Plan, seed: int) -> list[Table]:
    """The tables of all rounds, one after the other."""
    made: dict[str, Table] = {}
    for one_round in plan.rounds:
        made[one_round.id] = table(plan, one_round.id, seed, {name: t.tasks for name, t in made.items()})
    return list(made.values())


@settings(max_examples=40)
@given(plan=plans(), seed=st.integers(0, 9))
def test_no_table_breaks_an_opt_out_the_hours_or_the_rounds_of_a_critical_harm(plan: Plan, seed: int) -> None:
    made = tables_of(plan, seed)
    assert made == tables_of(plan, seed)
    rounds: dict[tuple[str, str], set[str]] = defaultdict(set)
    for one_table in made:
        minutes: Counter[str] = Counter()
        for task in one_table.tasks:
            member = plan.member(task.member)
            minutes[task.member] += task.minutes + task.ramp_up
            assert task.mindset in ("", *member.mindset)
            assert (one_table.round == "r0") == (task.harm == "")
            if task.harm:
                rounds[task.member, task.harm].add(one_table.round)
                assert not member.opts_out(plan.harm(task.harm))
        for member in plan.members:
            assert minutes[member.id] <= 60 * member.hours_per_round + 0.1 * len(one_table.tasks)
            if not minutes[member.id] and one_table.round != "r0":
                assert any(text.startswith(f"{member.id} has nothing to do: ") for text in one_table.unmet)
        for harm in plan.active if one_table.round != "r0" else ():
            if not any(task.harm == harm.id for task in one_table.tasks):
                assert any(text.startswith(f"nobody tests {harm.id} in ") for text in one_table.unmet)
    for (_, harm_id), had in rounds.items():
        assert plan.harm(harm_id).severity < CRITICAL or len(had) <= KEPT


@settings(max_examples=25)
@given(plan=plans(ample=True), seed=st.integers(0, 9))
def test_with_hours_enough_hands_change_and_both_mindsets_meet_each_harm(plan: Plan, seed: int) -> None:
    made = tables_of(plan, seed)[1:]
    for harm in plan.active:
        able = [member for member in plan.members if not member.opts_out(harm)]
        tasks = [task for one_table in made for task in one_table.tasks if task.harm == harm.id]
        for number in range(1, len(made) + 1):
            hands = {task.member for one_table in made[:number] for task in one_table.tasks if task.harm == harm.id}
            assert len(hands) >= min(number, len(able))
        two = any(a != b for a, b in product(able, able) if "benign" in a.mindset and "adversarial" in b.mindset)
        if two:
            assert {task.mindset for task in tasks} == {"benign", "adversarial"}


@settings(max_examples=25)
@given(plan=plans(), seed=st.integers(0, 3))
def test_no_exchange_gives_more_harms_a_tester(plan: Plan, seed: int) -> None:
    """Against exact enumeration: as many harms have a tester in the first round as any table of these hours allows."""
    plan = replace(plan, rounds=(*plan.rounds[:1], replace(plan.rounds[1], ramp_up_hours=0.0)))
    tested = {task.harm for task in tables_of(plan, seed)[1].tasks}
    slots = {member.id: int(member.hours_per_round / 0.5) for member in plan.members}
    choices = [[None, *(m.id for m in plan.members if not m.opts_out(harm))] for harm in plan.active]
    possible = [
        sum(name is not None for name in chosen)
        for chosen in product(*choices)
        if all(chosen.count(name) <= slots[name] for name in slots)
    ]
    assert len(tested) == max(possible)


def test_the_example_gives_every_need_of_its_plan_somebody() -> None:
    made = tables_of(read_plan(EXAMPLE), 0)
    assert [one_table.unmet for one_table in made] == [(), (), (), ()]
    first = [task for task in made[1].tasks if task.member == "m2" and task.harm == "meat-recipe"]
    assert [(task.mindset, task.minutes, task.ramp_up) for task in first] == [("benign", 15.0, 5.0)] * 3
    assert {task.feature for task in made[2].tasks if task.layer == "app-ui"} == {"menu", "bookings"}
    assert not any(t.layer == "base" and t.harm == "canceled-booking" for t in made[1].tasks)  # not applicable


def test_unmet_needs_say_why() -> None:
    content = copy.deepcopy(read_tables(EXAMPLE, SCHEMA))
    for member in content["member"]:
        member["hours_per_round"] = 0.75
    content["member"][3]["opt_out"] = ["injection"]
    content["layer"][2]["blocked"] = "no account yet"
    content["persona"][1]["language"] = "fr"
    unmet = table(plan_of(EXAMPLE, content), "r2", 0, {}).unmet
    for text in (
        "two testers for each harm take 5 h or more, and the members have 3",
        "no benign tester for baking: m2 without hours left; m3 with the other mindset",
        "only m3 tests baking in r2: a cell is covered by two testers or more",
        "nobody tests planted-order in r2: m1, m2, m3 without hours left; m4 opted out",
        "nobody tests canceled-booking in r2: m1, m2, m3, m4 without hours left",
        "nobody tests app: it is blocked: no account yet",
        "nobody plays new-cook, in fr",
    ):
        assert text in unmet, unmet


def test_the_last_table_stands_and_a_changed_plan_says_who_changed(withstand, tmp_path: Path, monkeypatch) -> None:
    for name in ("plan.toml", "policy.toml"):
        (tmp_path / name).write_text(EXAMPLE.with_name(name).read_text())
    one = withstand("plan", "assign", "plan.toml", "--round", "r2", "--seed", "3", "-o", "r2.csv", "--json").json
    assert (one["revision"], one["new"], one["removed"]) == (1, True, [])
    lines = (tmp_path / "r2.csv").read_text().splitlines()
    assert lines[0] == "member,harm,mindset,layer,feature,persona,minutes,ramp_up"
    assert len(lines) == len(one["tasks"]) + 1
    again = withstand("plan", "assign", "plan.toml", "--round", "r2", "--json").json  # with the seed of the last
    assert (again["revision"], again["new"], again["tasks"]) == (1, False, one["tasks"])
    out = '"recipe", "injection", "hidden_context"'
    text = (tmp_path / "plan.toml").read_text().replace('opt_out = ["recipe.meat"]', f"opt_out = [{out}]")
    (tmp_path / "plan.toml").write_text(text)
    with api.open_store("withstand.db") as store:
        plan = read_plan("plan.toml")
        assert assignment(store, plan, "r1") == ()
        standing = assignment(store, plan, "r2")
        assert not any(task.member == "m3" and task.harm != "canceled-booking" for task in standing)
        assert len(standing) == len([t for t in one["tasks"] if t["member"] != "m3" or t["harm"] == "canceled-booking"])
        other = replace(plan, purpose=replace(plan.purpose, id="another"))
        assert assign(store, other, "r2", 1.0).revision == 1  # a round of another plan has the same name
        assert assignment(store, plan, "r2") == standing
    with monkeypatch.context() as race:  # somebody else's revision stands already
        race.setattr("withstand.redteam.plan.assign.add_record", lambda *_: False)
        lost = withstand("plan", "assign", "plan.toml", "--round", "r2")
    assert (lost.code, "somebody else assigned r2 at the same moment" in lost.err) == (2, True)
    shown = withstand("plan", "assign", "plan.toml", "--round", "r2")
    assert "against revision 1:" in shown.out
    assert "- m3 " in shown.out
    assert "seed 3, revision 2" in shown.out
    (tmp_path / "plan.toml").write_text(text.replace("hours_per_round = 3\n", ""))
    refused = withstand("plan", "assign", "plan.toml", "--round", "r2")
    assert (refused.code, "member 3 (m3), hours_per_round: it is missing" in refused.err) == (2, True)
    assert "the plan has no round 'r9'" in withstand("plan", "assign", EXAMPLE, "--round", "r9").err


def test_what_members_recorded_and_skipped_decides_too(tmp_path: Path) -> None:
    """A person who tested a harm unassigned is no new eye; who skipped it is not asked again until they test it."""
    plan = read_plan(EXAMPLE)

    def holders(store: Store) -> set[str]:
        made = assign(store, plan, "r3", 1.0).table
        return {task.member for task in made.tasks if task.harm == "meat-recipe"}

    with api.open_store(tmp_path / "s.db") as store:
        first = holders(store)
        for number, member in enumerate(sorted(first)):
            for round_id in ("r1", "r2"):
                fields = {"plan": plan.id, "round": round_id, "harm": "meat-recipe", "tester": member, "surfaced": 5.0}
                assert add(store, attempt(f"{number} {round_id}", **fields))
        second = holders(store)
        assert second
        assert not first & second  # critical, and twice is enough
        skipping = min(second)
        assert add_event(
            store, Event("s", 0, "skip", plan.id, "r3", skipping, 9.0, {"harm": "meat-recipe", "reason": ""})
        )
        of = progress(store, plan, 10.0, "r3")
        assert of.skipped == ("meat-recipe",)
        assert not any(task.harm == "meat-recipe" for m in of.members if m.member == skipping for task in m.left)
        assert skipping not in holders(store)
        fields = {"plan": plan.id, "round": "r3", "harm": "meat-recipe", "tester": skipping, "surfaced": 20.0}
        assert add(store, attempt("again", **fields))
        assert skipping in holders(store)
