"""Pilots: what stops one, what lets it go on, and that a missing count never does."""

from dataclasses import replace
from datetime import date

import pytest

from withstand.core import SpecError
from withstand.redteam.lifecycle.pilots import Pilot, PilotCount, PilotDecision, StopRule, SuccessRule, judge
from withstand.stats.sequential import binomial_sequence, poisson_sequence

NOW = date(2026, 3, 10)
PILOT = Pilot(
    "long", "recipes", "mara", "cooks who asked", 500, "long answers do no more harm", "2026-03-01", "2026-03-31",
    StopRule(0.05), SuccessRule(0.02, 200),
)  # fmt: skip


def counted(**values):
    full = {"users": 100, "violating": 1, "requests": 4_000, "violations": 40, "hours": 80.0, "severe": 0}
    return PilotCount("2026-03-09", **{**full, **values})


def answer(pilot=PILOT, now=NOW, **values):
    return judge(pilot, now, counted(**values))


def test_the_answers_of_a_share_of_users():
    seen = answer()
    assert (seen.answer, seen.exit_code) == ("GO ON", 0)
    assert (seen.low, seen.high) == binomial_sequence(1, 100)
    above = answer(violating=7)
    assert (above.answer, above.exit_code) == ("DECIDE", 3)
    assert "7% (1\u201319): the rate is above 5%" in above.reasons[0]
    assert answer(violating=30).answer == "STOP"
    assert answer(users=400, violating=0, violations=0).reasons[0].endswith("success, the upper limit is not above 2%")
    assert (
        answer(users=150, violating=0, violations=0).answer == "GO ON"
    )  # fewer than the least that a success must have seen
    strict = replace(PILOT, success=SuccessRule(0.01, 200))
    assert "cannot succeed" in answer(strict, users=400, violating=19).reasons[0]
    assert answer(users=500, violating=5).reasons == ("the cap of 500 users is reached",)


@pytest.mark.parametrize("per", ["user", "request", "hour"])
def test_what_is_not_counted_is_not_zero(per):
    pilot = replace(PILOT, per=per, stop=StopRule(0.9))
    needed = {"user": ["violating"], "request": ["requests", "violations"], "hour": ["hours", "violations"]}[per]
    for name in ["users", "severe", *needed]:
        verdict = answer(pilot, **{name: None})
        assert verdict.answer == "DECIDE"
        assert f"not counted: {name}" in verdict.reasons[0]
    assert judge(pilot, NOW).answer == "DECIDE"
    nobody = answer(pilot, users=0, violating=0, requests=0, hours=0.0, violations=0)
    assert nobody.answer == "DECIDE"


def test_what_is_known_stops_it_though_the_rest_is_not_counted():
    assert answer(users=None, violating=None, severe=1).answer == "STOP"
    assert answer(users=501, severe=None).answer == "STOP"
    assert answer(replace(PILOT, stop=StopRule(0.05, severe=3)), severe=2).answer == "GO ON"


def test_days():
    assert answer(now=date(2026, 3, 17)).answer == "DECIDE"  # a count of eight days ago
    assert answer(now=date(2026, 3, 8)).answer == "DECIDE"  # a count of tomorrow
    assert judge(PILOT, date(2026, 4, 1), PilotCount("2026-04-01", 100, 1, severe=0)).answer == "STOP"
    extended = PilotDecision("2026-03-30", "mara", "extend", "too few users", "2026-04-30")
    later = replace(PILOT, decision=(extended,))
    assert judge(later, date(2026, 4, 1), PilotCount("2026-04-01", 100, 1, severe=0)).answer == "GO ON"
    for outcome in ("end", "release"):
        over = replace(PILOT, decision=(PilotDecision("2026-03-09", "mara", outcome, "enough"),))
        assert answer(over).answer == "STOP"


def test_requests_stop_it_as_if_independent_and_succeed_as_if_all_of_a_user_were_alike():
    pilot = replace(PILOT, per="request")
    seen = answer(pilot, users=3, violating=0, violations=0)
    assert seen.low == 0
    assert seen.high == binomial_sequence(0, 3)[1]  # 4,000 requests of 3 users say little
    assert seen.answer == "GO ON"
    assert answer(pilot, violations=600).low == binomial_sequence(600, 4_000)[0]
    assert answer(pilot, violations=600).answer == "STOP"
    with pytest.raises(SpecError, match="4001 violations in 4000 requests"):
        answer(pilot, violations=4_001)


def test_violations_an_hour_of_one_user_are_one_event():
    pilot = replace(PILOT, per="hour")
    alone, spread = answer(pilot, violations=3, violating=1), answer(pilot, violations=3, violating=3)
    assert spread.high == poisson_sequence(3, 80.0, 0.05)[1]
    assert alone.high > spread.high
    assert alone.low == spread.low


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"starts": "2026-04-01"}, "before it starts"),
        ({"cap": 0}, "cap"),
        ({"hypothesis": " "}, "hypothesis is empty"),
        ({"success": SuccessRule(0.06, 200)}, "higher rate"),
        ({"count": (counted(), replace(counted(), date="2026-03-02"))}, "is after that of"),
        ({"count": (counted(), replace(counted(), users=99, date="2026-03-10"))}, "users falls from 100"),
    ],
)
def test_a_pilot_that_cannot_be(fields, message):
    with pytest.raises(SpecError, match=message):
        replace(PILOT, **fields)


def test_counts_that_cannot_be():
    for wrong in (
        {"violating": 101, "violations": 200},
        {"severe": 41},
        {"users": -1},
        {"violating": 41},
        {"violating": 0},
    ):
        with pytest.raises(SpecError):
            counted(**wrong)
    with pytest.raises(SpecError, match="has a count of"):
        judge(replace(PILOT, count=(counted(),)), NOW, PilotCount("2026-03-01", users=1))
