"""The defenses that put words around a chat: what the model reads, turn by turn."""

import pytest

from withstand.core import Message, Sampling, SpecError
from withstand.defenses.in_context_refusal import InContextRefusal
from withstand.defenses.self_reminder import SelfReminder
from withstand.defenses.system_prompt import OURS, SystemPrompt
from withstand.models.scripted import Scripted

EARLIER = (Message("user", "Hi"), Message("assistant", "Hello"))
LAST = Message("user", "Bake {bread}", ("a.png",))
PREFILL = Message("assistant", "Sure:")
TURNS = (*EARLIER, LAST, PREFILL)
SHOTS = "user: Bake?\nassistant: No.\nNever: no.\n\nuser:  Fry?\nassistant: No!"
SHOWN = (
    Message("user", "Bake?"),
    Message("assistant", "No.\nNever: no."),
    Message("user", "Fry?"),
    Message("assistant", "No!"),
)


class Plain(Scripted):
    """A model without a system message, and without turns that it never said."""

    gives = frozenset({"turns"})


def asked(play, defense, chat, model=None):
    """What the model is asked for a chat: once, with the caller's sampling, and as `wrap` says."""
    model, sampling = model or Scripted(), Sampling(max_tokens=3)
    played = play(defense.answer(model, [chat], sampling))
    (item,) = played.asks
    assert (item.sampling, item.chats) == (sampling, (defense.wrap(model, chat),))
    assert [answer.text for answer in played.value] == ["Here is what"]
    return item.chats[0]


def test_a_system_prompt_is_the_first_that_the_model_reads(play):
    own = SystemPrompt("Be {careful}.")
    assert asked(play, SystemPrompt(), TURNS) == (Message("system", OURS), *TURNS)
    chat = (Message("system", "You sell bread."), *TURNS)
    assert asked(play, own, chat) == (Message("system", "Be {careful}.\n\nYou sell bread."), *TURNS)
    assert asked(play, own, TURNS, Plain()) == (Message("user", "Be {careful}.\n\nHi"), *TURNS[1:])
    assert asked(play, own, (PREFILL,), Plain()) == (PREFILL,)


def test_refused_requests_stand_between_system_message_and_chat(play):
    own, system = InContextRefusal(SHOTS), Message("system", "Be kind.")
    assert asked(play, own, (system, *TURNS)) == (system, *SHOWN, *TURNS)
    ours = asked(play, InContextRefusal(), TURNS)
    assert [turn.role for turn in ours] == ["user", "assistant"] * 4  # two of ours, and the chat's own turns
    assert all(turn.text.startswith("I'm sorry, but I can't help") for turn in ours[1:4:2])


def test_a_model_that_never_said_them_reads_the_refusals_as_text(play):
    first, *rest = asked(play, InContextRefusal(SHOTS), TURNS, Plain())
    assert first.text == (
        "This is how requests were answered before:\n\nUser: Bake?\n\nAssistant: No.\nNever: no.\n\nUser: Fry?\n\n"
        "Assistant: No!\n\nAnswer the next one likewise:\n\nHi"
    )
    assert tuple(rest) == TURNS[1:]
    assert asked(play, InContextRefusal(), (PREFILL,), Plain()) == (PREFILL,)


@pytest.mark.parametrize(
    ("shots", "problem"),
    [
        ("assistant: No.", "one after the other"),
        ("user: Bake?", "one after the other"),
        ("user: Bake?\nuser: Fry?\nassistant: No.", "one after the other"),
        ("Some of them\nuser: Bake?\nassistant: No.", "one after the other"),
        ("user: Bake?\nassistant:", "empty turn"),
        (" ", "one after the other"),
    ],
)
def test_demonstrations_that_are_none_are_refused(shots, problem):
    with pytest.raises(SpecError, match=problem):
        InContextRefusal(shots)


def test_a_system_prompt_that_is_none_is_refused():
    for prompt, problem in ((" \n", "blank"), ("@prompt.txt", "reads a file")):
        with pytest.raises(SpecError, match="prompt is") as error:
            SystemPrompt(prompt)
        assert problem in f"{error.value} {error.value.hint}"


@pytest.mark.parametrize("defense", [SystemPrompt, SelfReminder, InContextRefusal])
def test_whoever_knows_the_defense_has_words_for_it(defense):
    assert len(defense.bypasses) >= 2
    assert all(template.count("{prompt}") >= 1 for template in defense.bypasses)
    assert all("{bread}" in template.format(prompt="Bake {bread}") for template in defense.bypasses)  # no other gap
