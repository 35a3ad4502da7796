"""The card of a screener: what people said of the random stream alone, and what it never said counts as an error."""

import pytest

from kitchen_traffic import START, fill, write
from monitored import policy, screened
from withstand.core import SpecError
from withstand.monitor.screen.card import screener_card
from withstand.monitor.screen.labelers import labelers_of
from withstand.monitor.section import Context
from withstand.report import card as page
from withstand.results.card import Make

MAKE = Make("0.1", "2026-11-29")


def test_a_screener_is_measured_by_the_audits(tmp_path):
    """Of 40 exchanges people call each fourth spam; the rule flags those and one more, and never saw the last two."""
    rows = [
        (START + at, f"a{at % 10}", f"Sell my pan {at}" if at % 4 == 0 else f"Boil {at} eggs", {}) for at in range(41)
    ]
    settings, rules = screened(tmp_path), policy(tmp_path)
    version = next(
        labeler.version for labeler in labelers_of(settings.screeners, rules) if labeler.screener.id == "pan"
    )
    with fill(tmp_path / "monitor", rows) as traffic:
        context = Context(traffic, settings, rules, None, START)
        made = screener_card(context, "pan", "policy.toml", "monitor", MAKE)
        assert made.measured.figures is None
        assert "people labeled nothing of the random stream" in made.measured.why
        assert "monitor audit monitor --policy policy.toml" in made.measured.command
        of = "(seq, category, side, flagged, labeler, version, chosen)"
        people = [
            (seq, "spam", "prompt", (seq - 1) % 4 == 0, "person ann", "policy 1", "audit") for seq in range(1, 41)
        ]
        people += [(2, "spam", "prompt", None, "person bob", "policy 1", "audit"),  # unsure beside a no: a no
                   (6, "spam", "prompt", True, "person bob", "policy 1", "audit"),  # differs: left out
                   (9, "spam", "prompt", False, "person ann", "policy 1", "targeted:spam:prompt"),
                   (9, "spam", "prompt", False, "person ann", "policy 0", "audit")]  # fmt: skip
        write(traffic, f"person_label {of}", people)
        made = screener_card(context, "pan", "policy.toml", "monitor", MAKE)
        assert "its version of now labeled none of the 39 exchanges" in made.measured.why
        flags = [(seq, (seq - 1) % 4 == 0 or seq == 3) for seq in range(1, 39)]
        label = "(seq, category, side, score, flagged, labeler, version, stage, chosen)"
        write(traffic, f"label {label}",
              [(seq, "spam", "prompt", +flag, flag, "pan", version, 0, "all") for seq, flag in flags])  # fmt: skip
        write(traffic, f"label {label}",
              [(40, "spam", "prompt", 1.0, True, "pan", "contains/1 old", 0, "all")])  # fmt: skip
        made = screener_card(context, "pan", "policy.toml", "monitor", MAKE)
        figures = made.measured.figures
        assert (figures.positive, figures.negative, figures.unscored) == (10, 29, (0, 2))
        assert (figures.caught.count, figures.alarms.count, figures.alarms.reversed) == (10, 3, 1 / 29)
        notes = " ".join(made.measured.notes)
        assert "1 exchange on which people are unsure or differ left out" in notes
        assert "2 exchanges without a word of this version count as errors" in notes
        assert (made.kind, made.threshold, made.categories) == ("screener", 0.5, ("spam",))
        assert "by 2 people" in made.measured.by
        assert "People see redacted texts" in page.markdown(made)
        write(traffic, f"person_label {of}", [(41, "spam", "prompt", None, "nobody", "policy 1", "audit")])
        skipped = screener_card(context, "pan", "policy.toml", "monitor", MAKE)
        assert "by 2 people" in skipped.measured.by
        notes = " ".join(skipped.measured.notes)
        assert "1 drawn exchange has no label, and so no part in these figures, which may flatter" in notes
        assert "1 exchange on which people are unsure or differ left out" in notes
        with pytest.raises(SpecError, match="no screener 'pen'"):
            screener_card(context, "pen", "policy.toml", "monitor", MAKE)
