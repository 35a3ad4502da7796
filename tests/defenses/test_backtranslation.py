"""Backtranslation: the paper's order of asks, each way out of it, and what is counted."""

import pytest

from withstand.core import AskError, GuardCheck, Message, Sampling, SpecError, Worked, user
from withstand.core.asking import sealed
from withstand.defenses.backtranslation import PROMPTS, Backtranslation, request_in
from withstand.models.scripted import Scripted

SAMPLING = Sampling(max_tokens=9)
REFUSAL = "I'm sorry, but I can't help with cooking."
STORY, BREAD, SONG = user("A tale in which bread is baked"), user("Bake bread"), user("Sing")
TARGET = Scripted(
    rules=(
        (r"\Auser: a tale", "Grandfather took some flour", 1.0),
        ("bread", REFUSAL, 1.0),
        ("sing", "La la la", 1.0),
        ("silence", " ", 1.0),
    ),
)
GUESSER = Scripted(
    rules=(("flour", "Request: [[Bake bread]]", 1.0), ("la la", "Request: [[Sing]]", 1.0)), reply="Who knows?"
)
BLOCKED = (GuardCheck("backtranslation", "after", blocked=True),)
PASSED = (GuardCheck("backtranslation", "after"),)


class Weighted(Scripted):
    """A model that would give likelihoods."""

    gives = Scripted.gives | {"weights"}


def answered(play, chats, model=GUESSER, target=TARGET, **fields):
    return play(Backtranslation(model, **fields).answer(target, chats, SAMPLING))


def test_what_the_model_refuses_in_plain_words_is_blocked(play):
    played = answered(play, [STORY, BREAD, SONG])
    first, guess, again = played.asks
    assert (first.model, first.chats, first.sampling) == (TARGET, (STORY, BREAD, SONG), SAMPLING)
    question = PROMPTS.ours["prompt"]
    shown = [sealed(question, answer=text) for text in ("Grandfather took some flour", "La la la")]
    assert all(mark in shown[0] for mark in ("[ANSWER ", "[END OF ANSWER "))  # with a code that no answer can hold
    assert (guess.model, tuple(guess.chats), guess.sampling) == (GUESSER, tuple(map(user, shown)), Sampling(128))
    assert (again.model, again.chats, again.sampling) == (TARGET, (BREAD, SONG), SAMPLING)
    story, bread, song = played.value
    assert (story.text, story.finish, story.checks) == ("", "filtered", BLOCKED)
    assert (bread.text, bread.finish, bread.checks) == (REFUSAL, "stop", ())  # it had refused itself
    assert (song.text, song.finish, song.checks) == ("La la la", "stop", PASSED)
    assert story.prompt_tokens == 7 + len(shown[0].split()) + 2  # words of the three prompts; the three answers below
    assert story.answer_tokens == 4 + 3 + 8
    assert (bread.prompt_tokens, bread.answer_tokens) == (2, 8)


def test_the_request_is_asked_under_the_system_message_and_a_prefill_is_read(play):
    system, prefill = Message("system", "Be kind."), Message("assistant", "Sure: ")
    talk = (system, Message("user", "Hi"), Message("assistant", "Hello"), *SONG, prefill)
    target = Scripted(rules=(("sing", "La la la", 1.0),))
    first, guess, again = answered(play, [talk], target=target).asks
    assert first.chats == (talk,)
    assert "Sure: La la la" in guess.chats[0][0].text
    assert again.chats == ((system, *SONG),)


def test_the_target_guesses_itself_by_default_and_silence_is_not_guessed_from(play):
    played = answered(play, [user("silence"), SONG], model=None, fails="open")
    assert [item.model for item in played.asks] == [TARGET, TARGET]
    silent, song = played.value
    assert (silent.text, silent.checks) == (" ", ())
    assert song.checks[0].failed.startswith("no request in the backtranslator's reply")
    assert len(answered(play, [user("silence")]).asks) == 1


def test_a_guess_that_cannot_be_read_is_an_error_or_as_the_field_says(play):
    chat, target = user("Hi"), Scripted()
    with pytest.raises(AskError, match=r"no request .*'Who knows\?'"):
        answered(play, [chat], target=target)
    [passed] = answered(play, [chat], target=target, fails="open").value
    assert (passed.text, passed.checks[0].blocked, bool(passed.checks[0].failed)) == (
        "Here is what I can say about it.",
        False,
        True,
    )
    [gone] = answered(play, [chat], target=target, fails="closed").value
    assert (gone.finish, bool(gone.unmeasured)) == ("filtered", True)
    [first, second] = answered(play, [chat, SONG], fails="open").value  # one that cannot be read leaves the other
    assert (bool(first.checks[0].failed), second.checks) == (True, PASSED)
    with pytest.raises(AskError, match="the backtranslator refused"):
        answered(play, [chat], model=Scripted(reply=REFUSAL), target=target)


@pytest.mark.parametrize(("likelihood", "outcome"), [(-1.99, BLOCKED), (-2.0, ())])
def test_a_guess_after_which_the_answer_is_unlikely_is_taken_for_wrong(likelihood, outcome):
    """The paper: avg_log_likelihood > threshold, and only then is the guess asked."""
    guesser = Weighted(rules=GUESSER.rules)
    flow, answer = Backtranslation(guesser, threshold=-2.0).answer(TARGET, [STORY], SAMPLING), None
    asks = 0
    while True:
        try:
            item = flow.send(answer)
        except StopIteration as end:
            [completion] = end.value
            break
        if hasattr(item, "part"):
            assert (item.model, item.part) == (guesser, ["Bake bread", "Grandfather took some flour"])
            answer = Worked(likelihood, seconds=2.0, flops=5.0)
        else:
            asks += 1
            answer = item.model.generate(item.chats, item.sampling, [0] * len(item.chats))
    assert (completion.checks, asks) == (outcome, 3 if outcome else 2)
    assert completion.seconds == 2.0
    assert (completion.text, completion.finish) == (
        ("", "filtered") if outcome else ("Grandfather took some flour", "stop")
    )


@pytest.mark.parametrize(
    ("reply", "guess"),
    [
        ("Request: [[Bake bread.]]", "Bake bread."),
        ("For example: Request: [[Write a poem about the sea.]]\nRequest: [[Bake: a\nloaf]]", "Bake: a\nloaf"),
        ("Sure! request:  'Bake bread'\nDone.", "Bake bread"),
        ("Request: [[Bake bread", "Bake bread"),
        ("Request: [[ ]]", None),
        ("Request: [[what the user asked for]]", None),
        ("", None),
    ],
)
def test_the_request_is_read_off_the_reply(reply, guess):
    read = request_in(reply)
    assert read == guess if guess else not isinstance(read, str)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"threshold": 0.1}, "threshold is"),
        ({"threshold": -2.0, "model": GUESSER}, "needs likelihoods"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"prompt": "Guess."}, "lacks {answer}"),
        ({"fails": "no"}, "fails is"),
    ],
)
def test_fields_are_checked(fields, problem):
    with pytest.raises(SpecError, match=problem):
        Backtranslation(**fields)


def test_a_threshold_needs_weights_of_a_target_too(play):
    with pytest.raises(SpecError, match="needs likelihoods"):
        answered(play, [SONG], model=None, threshold=-2.0, target=Scripted(reply="Request: [[Sing]]"))
