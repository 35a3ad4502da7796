"""How far a round is: hours without pauses, who is silent, what is asked, and what to send to whom."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from red_team import attempt
from withstand import api
from withstand.core import SpecError
from withstand.redteam.plan.assign import assign, assignment
from withstand.redteam.plan.progress import answer, progress, reminders, running
from withstand.redteam.plan.records import read_plan
from withstand.store.attempts import add
from withstand.store.purge import purge_probes
from withstand.store.revisions import Event, add_event
from withstand.store.store import Store

EXAMPLE = Path(__file__).parents[2] / "examples" / "redteam" / "plan.toml"
PLAN = read_plan(EXAMPLE)
NOON = datetime(2026, 2, 19, 12, tzinfo=UTC).timestamp()
"""Of the fourth day of r2."""
HOUR = 3600.0


def session(store: Store, member: str, name: str, *steps: tuple[float, str, dict[str, str]]) -> None:
    """Events of a session in r2: seconds before noon, kind, value."""
    for number, (before, kind, value) in enumerate(steps):
        assert add_event(store, Event(name, number, kind, PLAN.id, "r2", member, NOON - before, value))


def test_a_round_by_member(where: str) -> None:
    with api.open_store(where) as store:
        assign(store, PLAN, "r2", NOON - 90 * HOUR)
        session(
            store, "m1", "s1", (2 * HOUR, "begin", {}), (2 * HOUR - 600, "turn", {}), (2 * HOUR - 1200, "pause", {}),
            (HOUR, "resume", {}), (HOUR - 300, "note", {"text": "May I try the phone?", "about": "question"}),
            (HOUR - 600, "note", {"text": "for the next mark", "about": "pair"}), (HOUR - 600, "end", {}),
        )  # fmt: skip
        session(store, "m2", "s2", (70 * HOUR, "begin", {}), (70 * HOUR - 1, "end", {}))
        session(store, "m3", "s3", (3 * HOUR, "begin", {}), (3 * HOUR, "note", {"text": "no login", "about": "access"}))
        for number, harm in enumerate(("told-secret", "told-secret", "planted-order")):
            fields = {"harm": harm, "layer": "app", "tester": "m1", "surfaced": NOON - 1.9 * HOUR, "persona": "rival"}
            assert add(store, attempt(f"{number}", plan=PLAN.id, round="r2", verdict="harmful", **fields))
        assert add(store, attempt("alone", plan=PLAN.id, round="r2", tester="m1", harm="baking", feature=""))
        assert add(store, attempt("other", plan=PLAN.id, round="r1", tester="m4", surfaced=NOON - HOUR))
        of = progress(store, PLAN, NOON)
        assert (of.round, of.mode, of.state, of.days) == ("r2", "guided", "running", 2)
        m1, m2, m3, m4 = of.members
        assert (m1.worked, m1.planned, m1.attempts) == (pytest.approx(1800 / HOUR), 4.0, 4)  # 1200 s, and 600 after
        assert not {("told-secret", "app"), ("planted-order", "app")} & {(task.harm, task.layer) for task in m1.left}
        assert len(m1.left) == m1.tasks - 2
        assert [member.silent for member in (m1, m2, m3, m4)] == [False, True, False, True]
        assert (m4.attempts, m4.last) == (0, None)  # what m4 did was in another round
        assert [(question.member, question.about, question.text) for question in of.questions] == [
            ("m3", "access", "no login"), ("m1", "question", "May I try the phone?"),
        ]  # fmt: skip
        assert of.cells["thin"] == 2
        assert [(outside.attempts, outside.reason) for outside in of.outside] == [(1, "no feature was said")]
        assert {cell.round for cell in of.next} == {"r2"}
        assert (len(of.next), of.blocked) == (5, {})
        answer(store, PLAN, "s1:", "Yes, today.", NOON)
        with pytest.raises(SpecError, match="no question begins with 's9'"):
            answer(store, PLAN, "s9", "Yes.", NOON)
        texts = reminders(PLAN, progress(store, PLAN, NOON))
        assert "You asked: May I try the phone?\nThe answer: Yes, today." in texts["m1"]
        assert "You recorded 0 attempts in 0.0 of 4 hours." in texts["m4"]
        assert "Ask the channel #red-team, or Ida Brandt." in texts["m4"]
        assert not any("recipe.meat" in text or "opt" in text.replace("options", "") for text in texts.values())
        before = assignment(store, PLAN, "r2")
        purge_probes(store, "lead")
        assert assignment(store, PLAN, "r2") == before  # ids alone: who had which harm is not forgotten
        after = progress(store, PLAN, NOON)
        assert [(question.text, question.answer) for question in after.questions] == [("", ""), ("", "(erased)")]
        assert "You asked: (erased)" in reminders(PLAN, after)["m1"]


def test_time_decides_which_round_runs_and_whom_one_asks(tmp_path: Path) -> None:
    days = {"2026-01-01": ("r1", "waits"), "2026-02-04": ("r1", "running"), "2026-02-10": ("r1", "over")}
    with api.open_store(tmp_path / "s.db") as store:
        for day, (round_id, state) in days.items():
            now = datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
            of = progress(store, PLAN, now)
            assert (of.round, of.state) == (round_id, state)
            assert {member.silent for member in of.members} == {state == "over"}
            assert bool(reminders(PLAN, of)) == (state == "over")
        later = progress(store, PLAN, datetime(2026, 2, 5, tzinfo=UTC).timestamp() + 1)
        assert {member.silent for member in later.members} == {True}
    with pytest.raises(SpecError, match="the plan has no round"):
        running(replace(PLAN, rounds=()), datetime.now(UTC).date())


def test_the_command_shows_it_and_sends_nothing(withstand, tmp_path: Path) -> None:
    lines = EXAMPLE.read_text().splitlines()
    undated = "\n".join(line for line in lines if not line.startswith(("starts", "ends")))
    (tmp_path / "plan.toml").write_text(undated)
    (tmp_path / "policy.toml").write_text(EXAMPLE.with_name("policy.toml").read_text())
    nothing = withstand("plan", "status", "plan.toml")
    assert (nothing.code, "withstand.db" in nothing.err) == (2, True)
    assert withstand("plan", "assign", "plan.toml", "--round", "r2").code == 0
    with api.open_store("withstand.db") as store:
        notes = [(0.0, "note", {"text": f"May I {number}\x1b[2J?", "about": "question"}) for number in range(1, 11)]
        session(store, "m1", "s1", (60, "begin", {}), *notes)
    value = withstand("plan", "status", "plan.toml", "--round", "r2", "--remind", "--json").json
    assert (value["round"], value["state"], len(value["members"])) == ("r2", "running", 4)
    assert [question["answer"] for question in value["questions"]] == [""] * 10  # keys are there at their defaults too
    assert (value["skipped"], value["members"][1]["silent"]) == ([], True)
    assert set(value["reminders"]) == {"m1", "m2", "m3", "m4"}
    shown = withstand("plan", "status", "plan.toml", "--round", "r2", "--remind")
    assert "m1 asks [s1:1]: May I 1" in shown.out
    assert "\x1b" not in shown.out
    assert "Hello m2, this is about round r2" in shown.out
    answered = withstand("plan", "status", "plan.toml", "--round", "r2", "--answer", "s1:1", "Yes.")
    assert (answered.code, "m1 asks [s1:1]:" in answered.out, "m1 asks [s1:10]:" in answered.out) == (0, False, True)
    assert "open ones: s1:2," in withstand("plan", "status", "plan.toml", "--answer", "x", "Yes.").err
