"""The rules of a week: another mix of categories, and other prompts than before; neither where nothing has changed."""

import numpy as np

from monitor.alert_traffic import FIRST, context_of, fill, weekly
from withstand.monitor.alerts.budget import Budget
from withstand.monitor.alerts.weekly import weekly as weekly_alarms
from withstand.monitor.series.panel import read_panel
from withstand.monitor.traffic import Traffic

MONDAY = 25
"""Rows to 2026-03-30, when the last whole week begins."""


def test_a_week_of_another_mix_and_of_other_prompts(tmp_path):
    rng = np.random.default_rng(3)
    days = MONDAY + 8
    spam, insult = weekly(days, 0.6, rng), weekly(days, 0.6, rng)
    with Traffic(tmp_path / "monitor") as traffic:
        labels = {("spam", "prompt", "words", "1"): spam, ("insult", "prompt", "rude", "1"): insult}
        fill(traffic, weekly(days, 12, rng), labels)
        context = context_of(tmp_path, traffic)
        with context.store:
            assert weekly_alarms(context, read_panel(context), Budget(1 / 30)) == []
            start = (FIRST + MONDAY) * 86_400
            traffic.database.execute(
                "UPDATE label SET flagged = false WHERE category = 'insult' AND seq % 6 > 0 AND seq IN "
                "(SELECT seq FROM exchange WHERE ts >= ?)",
                [start],
            )
            traffic.database.execute(
                "UPDATE exchange SET prompt = 'a coupon for the miracle pan ' || seq WHERE ts >= ?", [start]
            )
            mix, text = weekly_alarms(context, read_panel(context), Budget(1 / 30))
    assert (mix.rule, mix.start, mix.end, mix.observed > mix.expected) == ("mix", start, start + 7 * 86_400, True)
    assert mix.detail.startswith(("spam: 5", "spam: 4", "insult: 5", "insult: 4"))
    assert mix.p <= mix.alpha < 0.01
    assert (text.rule, text.observed > 0.9, text.low > 0.5) == ("text", True, True)
