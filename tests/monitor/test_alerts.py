"""Rules over traffic become alerts: once, with evidence, never across a labeler's jump, and people decide."""

import numpy as np
import pytest

from monitor.alert_traffic import FIRST, context_of, fill, weekly
from withstand.core import SpecError
from withstand.monitor.alerts import records
from withstand.monitor.alerts.section import section
from withstand.monitor.intake.retention import expire
from withstand.monitor.series.panel import marks, read_panel
from withstand.monitor.series.section import section as trend
from withstand.monitor.traffic import Traffic

DAYS = 30
SPAM, OLD, NEW = (
    ("spam", "prompt", "words", "1"),
    ("insult", "completion", "rude", "1"),
    ("insult", "completion", "rude", "2"),
)


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory):
    """A month: spam on day 26 from 13:00, and a labeler that flags three times as much from day 22 on."""
    rng, folder = np.random.default_rng(6), tmp_path_factory.mktemp("kitchen")
    volume, spam, insult = weekly(DAYS, 40, rng), weekly(DAYS, 0.5, rng), weekly(DAYS, 2, rng)
    spam[26, 13:15] = 60
    volume[26, 13:15] += 60
    late = np.arange(DAYS)[:, None] >= 22
    with Traffic(folder / "monitor") as traffic:
        fill(traffic, volume, {SPAM: spam, OLD: np.where(late, -1, insult), NEW: np.where(late, 3 * insult, -1)})
        context = context_of(folder, traffic)
        with context.store:
            yield context


def test_alerts_of_planted_traffic(kitchen):
    shown = section(kitchen)
    start = (FIRST + 26) * 86_400 + 13 * 3_600
    assert shown.state == "alarm", shown.answer
    listed = records.alerts(kitchen.store, "kitchen")
    by_rule = {alert.rule: alert for alert in listed}
    # spam is seen within its first hour, by a rule within the budget and by the policy's
    assert {alert.series.category for alert in listed if alert.budgeted} == {"spam"}, listed
    budgeted = next(alert for alert in listed if alert.budgeted)
    assert start < budgeted.at <= start + 3_600
    assert (budgeted.action, budgeted.owner, budgeted.policy, budgeted.state) == ("throttle", "cooks", "7", "open")
    assert budgeted.expected < 2 < 4 < budgeted.low
    assert len(budgeted.evidence) > 9 < 10 * budgeted.accounts
    assert by_rule["policy"].observed == 60
    assert by_rule["policy"].detail == "at least 30 in 1h and 4 times what is usual"
    # a labeler's jump is a mark, its new counts are unknown, and nothing alarms across it
    [mark] = marks(read_panel(kitchen))
    assert (mark.ts, mark.text[:17]) == ((FIRST + 22) * 86_400, "rude changed to 2")
    assert "Unknown is what is usual for insult in the completion (rude)" in shown.answer
    assert [rule["fired"] for rule in shown.value["policy_rules"]] == [2]
    assert 0 <= shown.value["policy_rules"][0]["implied"] < 0.1

    people_decide(kitchen, listed)


def people_decide(kitchen, listed):
    """The second run, after decisions."""
    for alert in listed:
        records.decide(kitchen.store, alert, "true" if alert.budgeted else "duplicate", "a bot", "ann", 5.0)
    shown = section(kitchen)
    assert shown.state == "unknown"  # all is decided, but a labeler's new version has no past
    [first, _] = records.alerts(kitchen.store)  # the same traffic gives no second alert
    assert section(kitchen).value == shown.value
    assert (first.decision, first.reason, first.by) == ("true", "a bot", "ann")
    assert [past.state for past in records.history(kitchen.store, first.id)] == ["open", "true"]
    assert records.find(kitchen.store, first.id[:6]) == first
    with pytest.raises(SpecError, match="no alert 'A-x'"):
        records.find(kitchen.store, "A-x")
    [precision, _] = shown.value["precision"]
    assert (precision["true"], precision["false"], precision["share"], precision["re_tune"]) == (1, 0, 1, False)
    poor = records.Precision("spike", 40, 5, 25)
    assert (poor.poor, records.Precision("spike", 40, 5, 24).poor, records.Precision("spike", 40, 6, 24).poor) == (
        True, False, False,
    )  # fmt: skip


def test_retention_changes_no_alert_and_an_outage_is_no_calm(tmp_path):
    """What is deleted still counts as usual; hours without any traffic do not make the next ones high."""
    rng = np.random.default_rng(8)
    volume, spam = weekly(30, 20, rng), weekly(30, 4, rng)
    volume[20:27] = spam[20:27] = 0  # a week of logs is missing
    spam[28, 5] += 40
    volume[28, 5] += 40
    with Traffic(tmp_path / "monitor") as traffic:
        fill(traffic, volume, {SPAM: spam})
        context = context_of(tmp_path, traffic)
        with context.store:
            before = section(context)
            budgeted = [alert for alert in records.alerts(context.store) if alert.budgeted]
            assert [(alert.series.category, int(alert.start) % 86_400 // 3600) for alert in budgeted] == [("spam", 5)]
            expire(traffic, context.now, 12)
            after = section(context)
            traffic.database.execute(
                "DELETE FROM label WHERE seq IN (SELECT seq FROM exchange WHERE ts > ?)", [context.now - 3 * 86_400]
            )
            for alert in records.alerts(context.store):
                records.decide(context.store, alert, "true", "a bot", "ann", 5.0)
            silent = section(context)
    assert (silent.state, "none has labeled the last day" in silent.answer) == ("unknown", True)
    assert after.value["alerts"] == before.value["alerts"]
    assert "Quarters of an hour are unknown" in after.answer


def test_a_labeler_that_died_and_flags_from_the_first_day_on_are_no_calm(tmp_path):
    """One labels nothing from day 22 on, one says zero of everything, and what is always there never rises."""
    rng = np.random.default_rng(9)
    volume, late = weekly(DAYS, 20, rng), np.arange(DAYS)[:, None] >= 22
    spam, insult = np.where(late, 0, weekly(DAYS, 2, rng)), np.where(late, -1, weekly(DAYS, 2, rng))
    secret = ("secret", "prompt", "sauce", "1")
    with Traffic(tmp_path / "monitor") as traffic:
        fill(traffic, volume, {SPAM: spam, OLD: insult, secret: volume // 4})
        context = context_of(tmp_path, traffic)
        with context.store:
            shown, alerts = trend(context), section(context)
    since = "2026-03-26"  # the last day that it was seen to label is not known to be whole
    assert shown.state == "note"
    assert "Below their usual range: spam in the prompt (words)." in shown.answer
    assert f"Unknown is insult in the completion (rude) since {since}: it labels nothing" in shown.answer
    assert "Much is flagged, also where it is usual: secret in the prompt (sauce) 23%" in shown.answer
    assert "Nothing was looked for in insult in the completion (rude) since" in alerts.answer
    assert alerts.state != "calm"
