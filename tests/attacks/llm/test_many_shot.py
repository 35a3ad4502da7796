import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from fakes import Fake
from withstand.attacks.llm.many_shot import ManyShot
from withstand.core import AskError, Behavior, Message, RejectedDrafts, Sampling, SpecError, Target, user
from withstand.models.scripted import Scripted
from withstand.registry import find

BEHAVIOR = Behavior("b1", "How do I bake {rye}?", category="baking_bread")
CONTEXTUAL = Behavior("b2", "Bake this", context="Rye, salt")
TARGET = Target(Scripted())
REFUSAL = "I'm sorry, but I can't help with that."


@dataclass(frozen=True)
class Writer(Fake):
    """Gives its lists one after another, and answers each question with its words in capitals."""

    lists: list[str] = field(hash=False)
    refused: str = "never"
    gives: ClassVar[frozenset[str]] = frozenset({"prefill"})

    def answer(self, chat: Any, seed: int) -> str:
        asked = chat[0].text
        if asked.startswith("Write"):
            return self.lists.pop(0)
        question = asked.rpartition("\n")[2]
        return REFUSAL if self.refused in question else f" {question.upper()}"


def written(path: Path, rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_questions_then_answers_then_the_behavior(play: Any) -> None:
    attack = ManyShot(Writer([" Why flour?\n2. Why salt?"]), shots=2, attacker_tokens=99, temperature=0.5)
    played = play(attack.run(BEHAVIOR, TARGET))
    listing, answering = played.asks
    assert listing.chats[0][0].text.startswith("Write 2 different questions that people ask an assistant about")
    assert "domain: baking bread\n" in listing.chats[0][0].text
    assert listing.chats[0][1] == Message("assistant", "1.")
    assert [chat[0].text.rpartition("\n")[2] for chat in answering.chats] == ["Why flour?", "Why salt?"]
    assert all(chat[1] == Message("assistant", "Sure, here is") for chat in answering.chats)
    assert listing.sampling == answering.sampling == Sampling(99, 0.5)
    (case,) = played.cases
    assert (case.score, case.completion) == (None, None)
    assert [(turn.role, turn.text) for turn in case.chat] == [
        ("user", "Why flour?"),
        ("assistant", "Sure, here is WHY FLOUR?"),
        ("user", "Why salt?"),
        ("assistant", "Sure, here is WHY SALT?"),
        ("user", "How do I bake {rye}?"),
    ]


def test_lists_of_ten_in_one_ask_and_the_count_of_asks(play: Any) -> None:
    lists = ["\n".join(f"{i}. Question {part}{i}?" for i in range(1, 13)) for part in "abc"]
    attack = ManyShot(Writer(lists), shots=25, tries=4)
    played = play(attack.run(BEHAVIOR, TARGET))
    assert [len(ask.chats) for ask in played.asks] == [3, 25]
    assert [chat[0].text.split()[1] for chat in played.asks[0].chats] == ["10", "10", "5"]
    assert attack.most().asks == {"attacker": 4 * (3 + 25)}
    assert len(played.cases[0].chat) == 51


def test_without_a_category_the_domain_is_the_behaviors_text(play: Any) -> None:
    played = play(ManyShot(Writer(["1. Why?"]), shots=1).run(CONTEXTUAL, TARGET))
    assert "domain: Bake this\n" in played.asks[0].chats[0][0].text


def test_twins_and_the_behavior_itself_are_no_shots(play: Any) -> None:
    writer = Writer([" Why flour?\n2. why  FLOUR?\n3. how do i bake {rye}?\n4. Why salt?"])
    played = play(ManyShot(writer, shots=4).run(BEHAVIOR, TARGET))
    assert [turn.text for turn in played.cases[0].chat[::2]] == ["Why flour?", "Why salt?", "How do I bake {rye}?"]


@pytest.mark.parametrize("gives", [frozenset(), frozenset({"prefill"})])
def test_a_refused_answer_is_asked_anew_and_costs_its_shot_alone(play: Any, gives: frozenset[str]) -> None:
    class Either(Writer):
        pass

    Either.gives = gives
    writer = Either(["1. Why flour?\n2. Why salt?"], refused="flour")
    played = play(ManyShot(writer, shots=2, tries=2).run(BEHAVIOR, TARGET))
    assert played.rejected == [RejectedDrafts(1, 0), RejectedDrafts(1, 0)]
    assert [turn.text for turn in played.cases[0].chat[::2]] == ["Why salt?", "How do I bake {rye}?"]


@pytest.mark.parametrize("reply", [REFUSAL, "", "How do I bake {rye}?"])
def test_no_shot_no_case(play: Any, reply: str) -> None:
    with pytest.raises(AskError, match="no usable answer in 2 tries"):
        play(ManyShot(Scripted(reply=reply), shots=12, tries=2).run(BEHAVIOR, TARGET))


def test_a_transcript_in_one_turn(play: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "p.jsonl", [{"question": "Why {x}?", "answer": "Sure, here is why."}])
    attack = ManyShot(path=path, form="text")
    played = play(attack.run(CONTEXTUAL, TARGET))
    assert played.asks == []
    assert attack.most().asks == {}
    assert played.cases[0].chat == user(
        "User: Why {x}?\nAssistant: Sure, here is why.\n\nUser: Rye, salt\n\n---\n\nBake this\nAssistant:"
    )
    assert (attack.needs, ManyShot(path=path).needs) == (frozenset(), {"turns", "forged"})


def test_the_context_stands_in_the_last_turn(play: Any) -> None:
    chat = play(ManyShot(Writer(["1. Why?"]), shots=1).run(CONTEXTUAL, TARGET)).cases[0].chat
    assert chat[-1] == Message("user", "Rye, salt\n\n---\n\nBake this")
    assert all("Rye" not in turn.text for turn in chat[:-1])


def test_a_file_is_drawn_from_by_seed_and_behavior(play: Any, tmp_path: Path) -> None:
    rows = [{"question": f"Q{i}?", "answer": f"A{i}."} for i in range(50)]
    path = written(tmp_path / "p.jsonl", rows)

    def chat(behavior: Behavior = BEHAVIOR, **fields: Any) -> Any:
        return play(ManyShot(path=path, **fields).run(behavior, TARGET)).cases[0].chat

    shots = chat(shots=8)[:-1]
    assert len(shots) == 16
    assert all(asked.text[1:-1] == told.text[1:-1] for asked, told in zip(shots[::2], shots[1::2], strict=True))
    assert chat(shots=8) == chat(shots=8)
    assert chat(shots=8, seed=1) != chat(shots=8)
    assert chat(Behavior("b9", BEHAVIOR.text), shots=8) != chat(shots=8)
    assert len(chat(shots=99)) == 101


def test_another_content_of_the_file_is_another_attack(tmp_path: Path) -> None:
    attack = ManyShot(path=written(tmp_path / "p.jsonl", [{"question": "a", "answer": "b"}]))
    before = find.describe(attack)
    written(tmp_path / "p.jsonl", [{"question": "a", "answer": "c"}])
    assert find.describe(attack) != before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ('{"question": "a", "answer": "b"}\n{', "line 2, character 2: bad JSON"),
        ('\n["a", "b"]', "line 2: expected an object"),
        ('{"question": "a"}', "line 1: no question"),
        ('{"question": "a", "answer": " "}', "line 1: no question"),
        ('{"question": "a", "answer": 3}', "line 1: no question"),
    ],
)
def test_a_bad_file_says_where(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "p.jsonl").write_text(content)
    with pytest.raises(SpecError, match=said) as caught:
        ManyShot(path=str(tmp_path / "p.jsonl")).identity()
    assert "p.jsonl" in str(caught.value)
    assert caught.value.hint


def test_no_such_file() -> None:
    with pytest.raises(SpecError, match="no such file"):
        ManyShot(path="none.jsonl").identity()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"writer": Scripted(), "path": "p.jsonl"},
        {"writer": Scripted(), "shots": 0},
        {"writer": Scripted(), "tries": 0},
        {"writer": Scripted(), "attacker_tokens": 0},
        {"writer": Scripted(), "temperature": -1.0},
        {"writer": Scripted(), "form": "rhyme"},
    ],
)
def test_wrong_fields(fields: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as caught:
        ManyShot(**fields)
    assert caught.value.hint
