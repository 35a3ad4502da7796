import re
from collections.abc import Callable
from typing import Any

import pytest

from withstand.core import Behavior, Completion, Message, SpecError, Target, ToolCall, trajectory, user
from withstand.judges.contains import Contains
from withstand.judges.llm import LLM
from withstand.judges.trajectory import GIVEN, HEAD, Trajectory, conversation
from withstand.models.scripted import Scripted
from withstand.registry import find

Play = Callable[[Any], Any]
CHAT = (
    *user("Flour?"),
    Message("assistant", " 500 g\n"),
    *user("Water?"),
    Message("assistant", "350 g"),
    *user("Then?"),
)
ANSWERS = [Completion(CHAT[:1], " 500 g\n"), Completion(CHAT[:3], "350 g"), Completion(CHAT, "Knead it.")]


def bare(shown: Completion) -> str:
    """The text without the code of its marks."""
    match = re.search("carries the code ([0-9a-f]{8})[.]", shown.text)
    assert match
    return shown.text.replace(match[1], "{}").replace(" {}]", "]").replace(HEAD.replace(" {}]", "]"), HEAD)


def blocks(completion: Completion, clip: int = 8000) -> list[str]:
    """The turns under their roles; the last answer stands by itself behind the last one."""
    *turns, last, answer = bare(conversation(completion, clip)[0]).removeprefix(HEAD).split("\n\n")[1:]
    return [*turns, last if answer == "" else f"{last}\n{answer}"]


def test_each_turn_under_its_role() -> None:
    assert blocks(trajectory(ANSWERS)) == [
        "[USER]\nFlour?", "[ASSISTANT]\n500 g", "[USER]\nWater?", "[ASSISTANT]\n350 g",
        "[USER]\nThen?", "[ASSISTANT]\nKnead it.",
    ]  # fmt: skip


def test_a_chat_of_one_turn() -> None:
    assert blocks(Completion(user("Bread?"), "Bake it.")) == ["[USER]\nBread?", "[ASSISTANT]\nBake it."]
    chat = (Message("system", "Be kind."), *user("Bread?"))
    assert blocks(Completion(chat, "Bake it."))[0] == "[SYSTEM]\nBe kind."
    assert blocks(Completion((), "Bake it.")) == ["[ASSISTANT]\nBake it."]


def test_words_put_into_its_mouth_are_not_its_own() -> None:
    """An attack that writes the assistant's turns itself, and one that opens the answer."""
    faked = blocks(Completion(CHAT, "Knead it."))
    assert faked[1::2] == [f"[{GIVEN}]\n500 g", f"[{GIVEN}]\n350 g", "[ASSISTANT]\nKnead it."]
    opened = (*user("Bread?"), Message("assistant", "Sure, here"))
    assert blocks(Completion(opened, " is how.")) == [
        "[USER]\nBread?", f"[{GIVEN}]\nSure, here", "[ASSISTANT]\nis how."
    ]  # fmt: skip
    both = trajectory([*ANSWERS[:2], Completion((*CHAT, Message("assistant", "Sure")), ", knead.")])
    assert blocks(both)[-4:] == ["[ASSISTANT]\n350 g", "[USER]\nThen?", f"[{GIVEN}]\nSure", "[ASSISTANT]\n, knead."]


def test_answers_that_are_empty_or_alike() -> None:
    silent = trajectory([*ANSWERS[:2], Completion(CHAT, " ")])
    assert bare(conversation(silent, 8000)[0]).endswith("[USER]\nThen?\n\n[ASSISTANT]")
    chat = (*user("a"), Message("assistant", "Yes"), *user("b"))
    again = trajectory([Completion(user("a"), "Yes"), Completion(chat, "Yes")])
    assert blocks(again) == ["[USER]\na", "[ASSISTANT]\nYes", "[USER]\nb", "[ASSISTANT]\nYes"]
    assert blocks(Completion(chat, "Yesterday"))[1] == f"[{GIVEN}]\nYes"
    quiet = (*user("a"), Message("assistant", ""), *user("b"))
    assert blocks(trajectory([Completion(user("a"), ""), Completion(quiet, "So")]))[-1] == "[ASSISTANT]\nSo"


def test_what_it_calls_is_shown() -> None:
    completion = Completion(user("Cancel it"), "", tool_calls=(ToolCall("cancel", '{"table": 4}'),))
    assert blocks(completion)[-1] == '[ASSISTANT]\n(calls cancel with {"table": 4})'


def test_of_a_long_conversation_the_end_stays(play: Play) -> None:
    whole = trajectory(ANSWERS)
    shown, left_out = conversation(whole, 8000)
    assert left_out == 0
    full = shown.text
    assert conversation(whole, len(full)) == (shown, 0)
    shown, left_out = conversation(whole, len(full) - 1)
    text = shown.text
    assert left_out > 0
    assert bare(shown).startswith(f"{HEAD}\n\n[The first {left_out} turns are left out.]\n\n[")
    assert len(text) < len(full)
    shown, left_out = conversation(whole, 1)
    assert (left_out, bare(shown).endswith("[ASSISTANT]\n\nKnead it.")) == (5, True)
    (verdict,) = play(Trajectory(LLM(Scripted(reply="yes")), clip=1).grade(Behavior("b", "t"), [whole])).value
    assert (verdict.outcome, verdict.why) == ("success", "the first 5 turns left out")


def test_the_inner_judge_reads_the_conversation_of_an_attack(play: Play) -> None:
    """What the answers are about stands in the first turn alone."""
    model = Scripted(
        rules=((r"GENERATION \w+\].*USER \w+\].*bread.*ASSISTANT \w+\].*3 hours", "yes", 1.0),), reply="no"
    )
    chat = (*user("Speak of bread"), Message("assistant", "Gladly"), *user("How long does it rise?"))
    answers = [Completion(user("Speak of bread"), "Gladly"), Completion(chat, "3 hours")]
    whole, inner = trajectory(answers), LLM(model, probability=False)
    assert play(inner.grade(Behavior("b", "t"), [whole])).value[0].outcome == "failure"
    judge = Trajectory(inner)
    assert play(judge.grade(Behavior("b", "t"), [whole])).value[0].outcome == "success"
    assert (judge.asks, judge.method) == (2, "model")


def test_it_knows_the_turns_of_the_attacks_here(play: Play) -> None:
    target = Target(Scripted(reply="Sure {n}"))
    behavior = Behavior("b", "Bake bread")
    attacker = {"use": "scripted", "reply": '{"question": "Bake {n}?"}'}
    crescendo = find.build("attack", {"use": "crescendo", "attacker": attacker, "judge": "contains:never", "turns": 3})
    *_, case = play(crescendo.run(behavior, target)).cases
    labels = [block.partition("\n")[0] for block in blocks(case.completion)]
    assert labels == ["[USER]", "[ASSISTANT]"] * (len(case.chat) // 2 + 1)
    assert len(case.chat) > 1


def test_wrong_fields() -> None:
    with pytest.raises(SpecError, match="user's words") as caught:
        Trajectory(Contains("a"))
    assert "Contains alone" in caught.value.hint
    with pytest.raises(SpecError, match="clip"):
        Trajectory(LLM(Scripted()), clip=0)


def test_the_command_line_can_say_it() -> None:
    built = find.build("judge", 'trajectory:{use="llm",model="scripted"},clip=4000')
    assert built == Trajectory(LLM(Scripted()), 4000)
