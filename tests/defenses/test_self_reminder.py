import pytest

from withstand.core import Message, Sampling, SpecError, user
from withstand.defenses.self_reminder import SYSTEM, SelfReminder
from withstand.models.scripted import Scripted

DEFENSE = SelfReminder(reminder="Mind.", closing="Remember.")
ASKED = "Mind.\n\nBake {bread}\n\nRemember."


class Plain(Scripted):
    """A model without a system message."""

    gives = frozenset({"turns"})


def asked(play, chat, model=None):
    sampling = Sampling(max_tokens=3)
    played = play(DEFENSE.answer(model or Scripted(), [chat], sampling))
    (item,) = played.asks
    assert item.sampling == sampling
    assert [answer.text for answer in played.value] == ["Here is what"]
    return item.chats[0]


def test_wraps_the_user_turn_and_adds_the_system_sentence(play):
    assert asked(play, user("Bake {bread}")) == (Message("system", SYSTEM), Message("user", ASKED))


def test_joins_an_existing_system_message(play):
    chat = (Message("system", "Be brief."), *user("Bake {bread}"))
    assert asked(play, chat) == (Message("system", f"Be brief.\n\n{SYSTEM}"), Message("user", ASKED))


def test_only_the_last_user_turn_is_wrapped_and_a_prefill_stays(play):
    chat = (*user("Hi"), Message("assistant", "Hello"), Message("user", "Bake {bread}", ("a.png",)))
    prefill = Message("assistant", "Sure:")
    wrapped = asked(play, (*chat, prefill))
    assert wrapped == (Message("system", SYSTEM), *chat[:2], Message("user", ASKED, ("a.png",)), prefill)


def test_a_model_without_system_message_reads_the_sentence_first(play):
    assert asked(play, user("Bake {bread}"), Plain()) == (Message("user", f"{SYSTEM}\n\n{ASKED}"),)


def test_a_chat_without_a_user_turn_is_left_alone(play):
    chat = (Message("assistant", "Hello"),)
    assert asked(play, chat) == chat


def test_one_ask_for_all_chats(play):
    played = play(DEFENSE.answer(Scripted(), [user("a"), user("b")], Sampling()))
    assert [len(item.chats) for item in played.asks] == [2]
    assert len(played.value) == 2
    assert DEFENSE.asks == 1


@pytest.mark.parametrize("fields", [{"reminder": " "}, {"closing": ""}])
def test_blank_sentences_are_refused(fields):
    with pytest.raises(SpecError):
        SelfReminder(**fields)
