"""The cascade: who is asked about what, in which order, and what is said of the rest."""

import re
import sys
from types import SimpleNamespace

import pytest

from traffic_rows import context, write
from withstand.monitor.screen.cascade import Spending, screen, spending
from withstand.monitor.settings import Keeping, Screener, Settings
from withstand.monitor.traffic import Traffic
from withstand.redteam.policy.records import Category, Header, Policy
from withstand.store.store import Store

SPAM = Category("spam", "Spam", "It promotes the miracle pan.", 2, "monitored", "log")
ASKED: list[str] = []


def answer(messages):
    """A model that says yes to the miracle pan; on "mumble" it says neither, and on "broken" it fails."""
    [text] = re.findall(r"\[GENERATION[^]]*\]\n(.*?)\n\[END", messages[-1]["content"], re.DOTALL)
    ASKED.append(text)
    if "broken" in text:
        raise RuntimeError("no answer")
    return "Perhaps" if "mumble" in text else "Yes" if "miracle" in text else "No"


FIRST = Screener("rule", "contains:pan", "spam", "prompt", threshold=0.9, uncertain=0.4)
MODEL = 'llm,model={use = "function", path = "model_of_screening:answer", tries = 1}'


@pytest.fixture
def ready(tmp_path, monkeypatch):
    """Ten exchanges, those with an even number in the audit stream, as the first stage left them."""
    texts = [
        ("miracle pan", 1.0), ("miracle soup", 0.0), ("a pan", 0.5), ("a soup", 0.0), ("mumble pan", 1.0),
        ("a stew", 0.1), ("miracle pan", 1.0), ("", 0.0), ("miracle", 0.3), ("mumble", 0.0),
    ]  # fmt: skip
    ASKED.clear()
    monkeypatch.setitem(sys.modules, "model_of_screening", SimpleNamespace(answer=answer))
    with Traffic(tmp_path / "monitor") as traffic, Store(str(tmp_path / "store.db")) as store:
        exchanges = [
            {"prompt": text, "completion": "ok", "audit": 0.001 if at % 2 == 0 else 0.9, "ts": at}
            for at, (text, _) in enumerate(texts, 1)
        ]
        labels = [{"seq": at, "score": score, "flagged": score >= 0.9} for at, (_, score) in enumerate(texts, 1)]
        write(traffic, exchanges, labels)
        yield lambda *later, version="1": context(
            traffic, store, Settings("m.toml", Keeping(audit_rate=0.01), (FIRST, *later)),
            Policy("p", Header("Kitchen", version), {"spam": SPAM}, (), (), "d"),
        )  # fmt: skip


def labeled(monitor, labeler="model"):
    query = "SELECT seq, score, flagged, chosen, stage FROM label WHERE labeler = ? ORDER BY seq"
    return monitor.traffic.rows(query, [labeler])


def test_a_stage_sees_what_was_passed_on_and_the_audit_stream(ready):
    later = Screener("model", MODEL, "spam", "prompt", after=("rule",))
    monitor = ready(later)
    screen(monitor)
    assert labeled(monitor) == [
        (1, 1.0, True, "cascade", 1), (2, 1.0, True, "audit", 1), (3, 0.0, False, "cascade", 1),
        (4, 0.0, False, "audit", 1), (6, 0.0, False, "audit", 1), (7, 1.0, True, "cascade", 1),
    ]  # fmt: skip
    unscored = monitor.traffic.rows("SELECT seq, kind FROM unscored ORDER BY seq")
    assert unscored == [(5, "unscored"), (8, "no text"), (10, "unscored")]  # 9 is not passed on: 0.3 is below 0.4
    assert len(ASKED) == 7  # the same prompt of 1 and 7 is asked about once
    assert spending(monitor.traffic, "model") == Spending(10, 8, asked=8)
    screen(monitor)
    assert (len(ASKED), len(labeled(monitor))) == (7, 6)


def test_budget_goes_to_the_audit_stream_first_then_to_the_highest_score(ready):
    later = Screener("model", MODEL, "spam", "prompt", after=("rule",), budget=6)
    monitor = ready(later)
    assert screen(monitor) == ["model: screened 6 of 9 exchanges that waited; 3 are not screened (a budget of 6)"]
    assert [row[0] for row in labeled(monitor)] == [1, 2, 4, 6]  # and 8 and 10, of which nothing could be said
    screen(monitor)
    assert len(labeled(monitor)) == 4  # a run again over the same logs has no new budget
    write(monitor.traffic, [{"prompt": "a miracle", "audit": 0.9}], [{"seq": 11, "score": 0.95}])
    screen(monitor)
    assert [row[0] for row in labeled(monitor)] == [1, 2, 3, 4, 6, 7, 11]


def test_a_change_of_version_labels_nothing_again(ready):
    later = Screener("model", MODEL, "spam", "prompt", after=("rule",))
    screen(ready(later))
    monitor = ready(later, version="2")
    before = labeled(monitor)
    write(monitor.traffic, [{"prompt": "the pan again", "audit": 0.9}], [{"seq": 11, "score": 1.0}])
    screen(monitor)
    assert labeled(monitor) == [*before, (11, 0.0, False, "cascade", 1)]
    versions = monitor.traffic.rows("SELECT count(DISTINCT version) FROM label WHERE labeler = 'model'")
    assert versions == [(2,)]


def test_a_failed_ask_is_no_label_and_is_tried_again(ready, monkeypatch):
    later = Screener("model", MODEL, "spam", "prompt", after=("rule",))
    monitor = ready(later)
    write(monitor.traffic, [{"prompt": "broken pan", "audit": 0.9}], [{"seq": 11, "score": 1.0}])
    screen(monitor)
    assert 11 not in [row[0] for row in labeled(monitor)]
    assert spending(monitor.traffic, "model").failed == 1
    monkeypatch.setattr(sys.modules["model_of_screening"], "answer", lambda messages: "Yes")
    screen(monitor)
    assert labeled(monitor)[-1][:3] == (11, 1.0, True)


def test_a_kill_between_two_chunks_asks_nothing_twice(ready, monkeypatch):
    monkeypatch.setattr("withstand.monitor.screen.cascade.CHUNK", 3)
    monitor = ready(Screener("model", MODEL, "spam", "prompt"))

    def stop(_id, done, _total):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        screen(monitor, stop)
    asked = len(ASKED)
    screen(monitor)
    assert sorted(set(ASKED)) == sorted(ASKED)
    assert asked < len(ASKED) == 8
    assert {row[3] for row in labeled(monitor)} == {"all"}
    assert len(labeled(monitor)) == 7
