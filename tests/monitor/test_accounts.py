"""Who: accounts ranked with shrinkage, corrected by audits, and told apart by how they behave."""

import numpy as np
import pytest

from traffic_rows import context, write
from withstand.core import dumps
from withstand.monitor.accounts import behavior
from withstand.monitor.accounts.rates import Errors, ranking
from withstand.monitor.accounts.section import section
from withstand.monitor.settings import Accounts
from withstand.monitor.traffic import PERSON_STAGE, Traffic


@pytest.fixture
def traffic(tmp_path):
    with Traffic(tmp_path / "monitor") as opened:
        yield opened


def population(draw, accounts=120, rate=0.01):
    """(account, flagged) of a population like that of the reference, with its two accounts."""
    pairs = [(f"u{at}", bool(hit)) for at in range(accounts) for hit in draw.random(40) < draw.beta(1, 99)]
    return pairs + [("small", at < 3) for at in range(4)] + [("large", at < 40) for at in range(200)]


def fill(traffic, pairs, **label):
    [(before,)] = traffic.rows("SELECT count(*) FROM exchange")
    write(
        traffic, [{"account": account, "ts": 60.0 * at} for at, (account, _) in enumerate(pairs)],
        [{"seq": before + at, "flagged": flagged, **label} for at, (_, flagged) in enumerate(pairs, 1)],
    )  # fmt: skip


def test_the_account_with_many_flags_of_many_is_above_the_one_with_most_of_few(traffic):
    """openai-lessons 4.4: raw rates would rank 3 of 4 above 40 of 200."""
    # a labeler of a log may be called as if it were a person of an audit
    fill(traffic, population(np.random.default_rng(0)), labeler="person 7", version="", stage=-1)
    ranks = ranking(traffic, Accounts())
    listed = [row.account for row in ranks.ranked]
    assert listed[0] == "large"
    assert [row.account for row in ranks.ranked if row.alarm] == ["large"]
    small = next(row for row in ranks.ranked if row.account == "small")
    assert (small.q, small.alarm) == (None, False)
    assert small.mean < next(row.mean for row in ranks.ranked if row.account == "large") / 2
    [(labelers, prior)] = ranks.priors.items()
    assert labelers.title == "spam, prompt, by person 7"
    assert (prior.method, prior.trials) == ("ML", 5004)
    fill(traffic, [("", True)] * 30)  # whoever has no name is nobody's account
    assert ranking(traffic, Accounts(), {"spam"}).priors == {}  # harm that nobody intends is no account's doing
    shown = section(context(traffic))
    assert shown.state == "alarm"
    assert "Without an account, and left out: 30 exchanges" in shown.answer
    assert "1 of 121 accounts with 20 requests or more is above 5%" in shown.answer
    assert [table.title for table in shown.tables] == [
        "Accounts by the rate of flagged requests",
        "Priors",
        "Automation",
    ]
    assert "alarm" in shown.tables[0].markdown()
    assert dumps(section(context(traffic)).value) == dumps(shown.value)


def test_without_a_screener_or_enough_requests_it_is_unknown_and_not_calm(traffic):
    assert section(context(traffic)).state == "unknown"
    fill(traffic, [("a", True)] * 5)
    assert section(context(traffic)).state == "unknown"
    assert "none of 1 account has 20 screened requests" in section(context(traffic)).answer
    fill(traffic, [("b", False)] * 50 + [("c", False)] * 50)
    assert section(context(traffic)).state == "note"
    assert "1 account asked too little for an alarm, 1 of them as surely above it" in section(context(traffic)).answer
    traffic.database.execute("UPDATE label SET flagged = false")
    assert section(context(traffic)).state == "calm"


def test_versions_are_apart_and_the_last_stage_decides(traffic):
    """A new version that flags everything must not look like accounts that turned bad, nor hide among the old."""
    fill(traffic, [(f"u{at % 9}", False) for at in range(360)])
    fill(traffic, [(f"u{at % 9}", True) for at in range(360)], version="2")
    by = {row.labelers.names: row for row in ranking(traffic, Accounts()).ranked}
    assert {names: (row.flagged, row.requests) for names, row in by.items()} == {
        ("rule 1",): (0, 40),
        ("rule 2",): (40, 40),
    }
    # a model clears what the rule flagged; a stage that saw few is no share of its own
    write(traffic, [], [{"seq": at, "stage": 1, "labeler": "model", "chosen": "cascade"} for at in range(361, 721)])
    write(traffic, [], [{"seq": 1, "stage": 1, "labeler": "model", "chosen": "cascade", "flagged": None}])
    assert {row.flagged for row in ranking(traffic, Accounts()).ranked} == {0}


def test_audits_correct_for_false_alarms(traffic):
    """A rule that flags 10% of good requests: without audits a clean account can be an alarm, with them it is none."""
    draw = np.random.default_rng(1)
    pairs = [(f"u{at}", bool(hit)) for at in range(40) for hit in draw.random(50) < 0.1]
    fill(traffic, pairs + [("clean", at < 50) for at in range(400)] + [("bad", at < 320) for at in range(400)])
    assert {"bad", "clean"} < {row.account for row in ranking(traffic, Accounts()).ranked if row.alarm}
    people = {"labeler": "person ada", "version": "", "chosen": "audit", "stage": PERSON_STAGE}
    write(traffic, [], [{"seq": at, **people} for at in range(1, 1501)])
    write(traffic, [], [{"seq": at, "flagged": True, **people} for at in range(2420, 2440)])
    ranks = ranking(traffic, Accounts())
    [errors] = ranks.errors.values()
    assert (errors.audits, errors.sensitivity) == (1520, pytest.approx(21 / 22))
    assert errors.specificity == pytest.approx(0.9, abs=0.02)
    assert [row.account for row in ranks.ranked if row.alarm] == ["bad"]
    assert ranks.ranked[0].violating == pytest.approx(0.82, abs=0.03)
    assert "above 5% violating requests" in section(context(traffic)).answer


def test_errors_need_audits_and_screeners_better_than_chance():
    assert Errors.of(9, 0, 0, 29) is None
    assert Errors.of(2, 8, 20, 20) is None
    errors = Errors.of(8, 0, 0, 38)
    # Rogan and Gladen by hand: sensitivity 9/10, specificity 39/40
    assert errors.violating(0.2) == pytest.approx((0.2 + 0.975 - 1) / (0.9 + 0.975 - 1))
    assert (errors.violating(0.0), errors.violating(1.0)) == (0, 1)


def test_a_program_scores_above_a_person(traffic):
    draw = np.random.default_rng(2)
    program = [{"account": "clock", "ts": 1800.0 * at, "skeleton": 7, "completion_chars": 4000} for at in range(480)]
    people = [
        {"account": f"p{person}", "ts": day * 86_400 + 30_000 + draw.random() * 20_000,
         "skeleton": int(draw.integers(1 << 40)), "completion_chars": int(draw.integers(40, 160))}
        for person in range(5) for day in range(10) for _ in range(6)
    ]  # fmt: skip
    write(traffic, [*program, *people])
    first, *others = behavior.automation(traffic)
    assert (first.account, first.regular, first.alike, first.awake) == ("clock", 1, 1, 1)
    assert first.repeated == pytest.approx(479 / 480)
    assert first.score > 0.9
    assert max(row.score for row in others) < 0.45
    write(traffic, [{"account": "mute", "ts": 100.0 * at * at} for at in range(30)])
    [mute] = [row for row in behavior.automation(traffic) if row.account == "mute"]
    assert (mute.alike, mute.repeated) == (None, None)


def test_volume_is_held_against_an_accounts_own_days_and_newcomers_against_two_weeks(traffic):
    days = [
        {"account": "loud", "ts": 86_400.0 * day + 600 * at} for day in range(20) for at in range(4 if day < 19 else 40)
    ]
    write(traffic, [*days, {"account": "fresh", "ts": 86_400 * 19.9}, {"account": "old", "ts": 0.0}])
    now = 86_400.0 * 20
    by = {row.account: row for row in behavior.volumes(traffic, now)}
    assert set(by) == {"loud", "fresh"}
    assert (by["loud"].requests, by["loud"].tokens, by["loud"].usual, by["loud"].peak) == (40, 1200, 120, 180)
    assert by["loud"].times == 10
    assert by["fresh"].times is None
    assert behavior.newcomers(traffic, now) == behavior.Newcomers(1, 1, 2, 64)
    assert behavior.newcomers(traffic, 86_400.0 * 13) is None
