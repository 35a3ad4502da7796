"""Joint attacks through the runner: one flow for a suite, a row for each of its behaviors."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

from withstand import api
from withstand.core import SpecError
from withstand.models.scripted import Scripted
from withstand.store import tables
from withstand.store.store import Store

FOUR = ["a", "b", "c", "d"]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "toys"))
    path = tmp_path / "four.csv"
    path.write_text("id,text\n" + "".join(f"{name},do {name}\n" for name in FOUR))
    return path


@pytest.fixture
def where(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path / "s.db")) as opened:
        yield opened


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The last turn of every chat that a scripted model was sent."""
    texts: list[str] = []
    generate = Scripted.generate

    def watched(self: Scripted, chats: Any, *rest: Any) -> Any:
        texts.extend(chat[-1].text for chat in chats)
        return generate(self, chats, *rest)

    monkeypatch.setattr(Scripted, "generate", watched)
    return texts


def spec(data: Path, **fields: Any) -> dict[str, Any]:
    return {
        "suite": {"use": "csv", "path": str(data)},
        "target": {"use": "scripted", "reply": "ok {n}"},
        "attack": {"use": "withstand_toys:Together"},
        "judge": "contains:ok",
        **fields,
    }


def test_one_flow_makes_the_rows_of_all_behaviors(data: Path, where: Store, sent: list[str]) -> None:
    run = api.run(spec(data), store=where)
    assert [text[:2] for text in sent[:3]] == ["0:", "1:", "2:"]  # once a step, not once a step and behavior
    assert {"".join(sorted(text[3:].split())) for text in sent[:3]} == {"abcd"}
    assert sorted(sent[3:]) == ["do a 2", "do b 2", "do c 2", "do d 2"]  # the best candidate of each
    [cell] = run.cells
    assert (cell["behaviors"], cell["cases"], cell["success"], cell["error"]) == (4, 4, 4, 0)
    cases = where.select(sql.select(tables.row.c.asks).where(tables.row.c.label == "1"))
    assert [asks for (asks,) in cases] == [1, 1, 1, 1]  # three asks, borne by four: rounded
    assert api.run(spec(data), store=where).cells == run.cells
    assert len(sent) == 7


def test_a_killed_joint_flow_goes_on_where_it_stopped(
    data: Path, where: Store, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    generate = Scripted.generate

    def dying(self: Scripted, chats: Any, *rest: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RuntimeError("the machine went down")
        return generate(self, chats, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Scripted, "generate", dying)
        [cell] = api.run(spec(data), store=where).cells
    assert (cell["error"], cell["success"]) == (4, 0)  # each behavior is told to lack its row
    first = list(sent)
    [cell] = api.run(spec(data), store=where).cells
    assert (cell["error"], cell["success"]) == (0, 4)
    assert [text[:2] for text in sent[len(first) :][:1]] == ["2:"]  # the first two steps were replayed


def test_a_failure_is_told_for_every_behavior(data: Path, where: Store) -> None:
    data.write_text("id,text\na,do a\nb,crash\n")
    run = api.run(spec(data), store=where)
    [cell] = run.cells
    assert (cell["error"], cell["success"]) == (2, 0)


def test_a_behavior_without_a_test_case_costs_the_others_nothing(data: Path, where: Store) -> None:
    data.write_text("id,text\na,do a\nb,nothing\nc,do c\n")
    run = api.run(spec(data), store=where)
    [cell] = run.cells
    assert (cell["error"], cell["success"]) == (1, 2)
    assert [(case["behavior"], case["error"]) for case in run.cases() if case["error"]] == [
        ("b", "the attack made no test case")
    ]


def test_the_order_of_the_file_does_not_matter(data: Path, where: Store, sent: list[str]) -> None:
    first = api.run(spec(data), store=where)
    sent.clear()
    data.write_text("id,text\n" + "".join(f"{name},do {name}\n" for name in "dbca"))
    again = api.run(spec(data), store=where)
    assert sent == []
    assert [cell["success"] for cell in (*first.cells, *again.cells)] == [4, 4]


def test_targets_share_the_test_cases_found_on_surrogates(data: Path, where: Store, sent: list[str]) -> None:
    surrogate = {"use": "scripted", "reply": "a surrogate"}
    targets = [{"use": "scripted", "reply": f"ok {i}"} for i in range(2)] + [surrogate]
    attack = {"use": "withstand_toys:Together", "surrogates": [surrogate]}
    run = api.run(spec(data, target=targets, attack=attack), store=where)
    assert [text for text in sent if text.startswith("0: ")] == sent[:1]
    assert [cell["success"] for cell in run.cells] == [4, 4, 0]
    assert [cell["notes"][0] for cell in run.cells] == [
        "transferred", "transferred", "not transfer: the target is one of the surrogates",
    ]  # fmt: skip


def test_other_behaviors_are_another_joint_attack(data: Path, where: Store, sent: list[str]) -> None:
    api.run(spec(data), store=where)
    sent.clear()
    data.write_text("id,text\na,do a\nb,do b\n")
    api.run(spec(data), store=where)
    assert sorted(sent[0].split()[1:]) == ["a", "b"]


def test_a_shard_does_a_joint_attack_whole_or_not_at_all(data: Path, tmp_path: Path, sent: list[str]) -> None:
    for i in range(2):
        with Store(str(tmp_path / f"shard{i}.db")) as part:
            api.run(spec(data), store=part, shard=(i + 1, 2))
        assert bool(sent) is (i == 0)
        sent.clear()


def test_it_cannot_stop_at_the_success_of_one(data: Path, where: Store) -> None:
    with pytest.raises(SpecError, match="searches for all behaviors together"):
        api.run(spec(data, until_success=True), store=where)
