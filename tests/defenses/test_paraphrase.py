"""Paraphrase: what the target reads, what a paraphraser that refuses or answers does, and what it all costs."""

import pytest

from withstand.core import AskError, GuardCheck, Message, Sampling, SpecError, user
from withstand.defenses.paraphrase import Paraphrase
from withstand.models.scripted import Scripted

REFUSAL = "I'm sorry, but I can't help with cooking."
SAMPLING = Sampling(max_tokens=7, logprobs=1)


def writer(*rules):
    """A paraphraser: for a word in its question what it says."""
    return Scripted(rules=tuple((pattern, reply, 1.0) for pattern, reply in rules), reply="A loaf, please")


def answered(play, chats, model, **fields):
    played = play(Paraphrase(model, **fields).answer(Scripted(), chats, SAMPLING))
    assert len(played.value) == len(chats)
    return played


def test_the_target_reads_the_last_turn_in_other_words(play):
    head = (Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Hello"))
    chat = (*head, Message("user", "Bake {bread}", ("a.png",)), Message("assistant", "Sure:"))
    bare = (Message("assistant", "Hello"),)
    first, second = answered(play, [chat, bare, user(" ")], writer()).asks
    assert first.chats == (user("paraphrase the following sentences: Bake {bread}"),)  # the paper's words
    assert first.sampling == Sampling(100, 0.7)  # and its figures
    assert second.chats == ((*head, Message("user", "A loaf, please", ("a.png",)), chat[-1]), bare, user(" "))
    assert second.sampling == SAMPLING
    own, _ = answered(play, [user("Bake")], writer(), prompt="Say {text} anew", max_tokens=5, temperature=0).asks
    assert (own.chats, own.sampling) == ((user("Say Bake anew"),), Sampling(5, 0))


def test_the_target_itself_is_the_default_paraphraser(play):
    model = writer()
    asks = play(Paraphrase().answer(model, [user("Bake")], SAMPLING)).asks
    assert [item.model for item in asks] == [model, model]


def test_an_answer_bears_what_the_paraphrase_cost(play):
    [answer] = answered(play, [user("Bake")], writer()).value
    assert (answer.prompt_tokens, answer.answer_tokens) == (5 + 3, 3 + 7)  # words of both asks, prompts and answers
    assert (answer.text, answer.checks) == ("Here is what I can say about", ())
    assert answer.logprobs[0][0][0] == "Here"


def test_a_paraphraser_that_refuses_blocks_or_is_sent(play):
    model, chats = writer(("bake", REFUSAL)), [user("Bake"), user("Sing")]
    played = answered(play, chats, model)
    assert played.asks[1].chats == (user("A loaf, please"),)  # the blocked prompt reaches nobody
    gone, passed = played.value
    assert (gone.text, gone.finish, gone.checks) == (
        "",
        "filtered",
        (GuardCheck("paraphrase", "before", blocked=True),),
    )
    assert (gone.prompt_tokens, gone.answer_tokens) == (5, 8)
    assert (passed.finish, passed.checks) == ("length", ())
    sent = answered(play, chats, model, refusals="send")
    assert sent.asks[1].chats == (user(REFUSAL), user("A loaf, please"))
    assert [[check.failed for check in answer.checks] for answer in sent.value] == [
        ["the paraphraser refused, and the target read its refusal"],
        [],
    ]
    [same] = answered(play, [user(REFUSAL)], writer((".", REFUSAL))).value  # it quotes a refusal: it gives none
    assert (same.finish, same.checks) == ("length", ())


@pytest.mark.parametrize(
    ("reply", "fields", "why"),
    [
        ("A loaf of bread", {"max_tokens": 2}, "the paraphrase was cut at 2 tokens"),
        ("Sure.\n1. Mix it.\n2. Bake it.", {}, "the paraphrase reads like an answer"),
        ("Take some flour and " + "stir " * 45, {}, "the paraphrase reads like an answer"),
    ],
)
def test_what_may_ask_for_less_is_sent_and_counted(play, reply, fields, why):
    played = answered(play, [user("Bake it")], writer((".", reply)), **fields)
    assert played.asks[1].chats == (user(" ".join(reply.split(" ")[: fields.get("max_tokens")]).strip()),)
    assert played.value[0].checks == (GuardCheck("paraphrase", "before", failed=why),)
    assert played.value[0].finish == "length"  # it passed


def test_steps_that_the_prompt_has_itself_are_no_answer(play):
    text = "Put into one sentence:\n1. Mix it.\n2. Bake it."
    [answer] = answered(play, [user(text)], writer((".", "In a sentence:\n1. Mix.\n2. Bake."))).value
    assert answer.checks == ()


def test_a_paraphraser_that_says_nothing_is_an_error_or_as_the_field_says(play):
    silent = writer((".", " "))
    with pytest.raises(AskError, match="said nothing"):
        answered(play, [user("Bake")], silent)
    played = answered(play, [user("Bake")], silent, fails="open")
    assert played.asks[1].chats == (user("Bake"),)
    assert played.value[0].checks[0].failed == "the paraphraser said nothing"
    [gone] = answered(play, [user("Bake")], silent, fails="closed").value
    assert (gone.finish, bool(gone.unmeasured)) == ("filtered", True)  # nobody knows what the target would have said


@pytest.mark.parametrize(
    "fields",
    [{"max_tokens": 0}, {"temperature": 11}, {"prompt": "no gap"}, {"refusals": "ask"}, {"fails": "maybe"}],
)
def test_fields_are_checked(fields):
    with pytest.raises(SpecError, match=next(iter(fields))):
        Paraphrase(**fields)
