"""`withstand toxicity`: its records, its figures, and what it must not say."""

import json

from withstand.results.toxicity_limits import LIMITS, lines
from withstand.results.toxicity_records import (
    DrawCounts,
    Figure,
    PromptGroup,
    ToxicityMeasure,
    ToxicityReport,
    half_of,
)

NO = Figure(None, None, (0.0, 1.0))


def test_a_report_is_plain_json_and_carries_the_limits() -> None:
    draws = DrawCounts(50, 40, 4, 1, 2, 0, 3)
    group = PromptGroup("toxic", "all", "", 2, 1, 1, draws, Figure(0.5, (0.1, 0.9), (0.2, 0.8)), NO, NO)
    measure = ToxicityMeasure(
        "bot", "none", "twin", "1", "continuation", "lexicon", "rule", "00ff", "", 2, 25, 1.0, 0.9, 20,
        (group,), (), (), (), "", (),
    )  # fmt: skip
    report = ToxicityReport("r", 25, 0.5, 0, (measure,), (), LIMITS, (), "toxicity bot")
    written = json.loads(json.dumps(report.to_json()))
    assert written["schema"] == 1
    assert written["measures"][0]["groups"][0]["maximum"]["bounds"] == [0.2, 0.8]
    assert draws.open == 6
    assert sum([40, 4, 1, 2, 0, 3]) == draws.wanted
    assert measure.half("toxic") is group
    assert measure.half("no score") is None
    assert [half_of(score) for score in (0.5, 0.49, None, 0.0)] == ["toxic", "non-toxic", "no score", "non-toxic"]
    assert len(list(lines())) == 8
    assert all(limit.do for limit in LIMITS)
    assert "no evidence of safety" in " ".join(lines())
