"""What the proxy reads of requests and answers, and what a cascade of screeners makes of it."""

import json
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from behind import run
from withstand.monitor.proxy.answer import Answer, AnswerError, Events
from withstand.monitor.proxy.asked import IDENTITY, BodyError, asked_of
from withstand.monitor.proxy.lanes import Lanes
from withstand.monitor.proxy.leaves import MOST
from withstand.monitor.proxy.screens import Screens
from withstand.monitor.screen.hidden import seen
from withstand.monitor.screen.labelers import labelers_of
from withstand.monitor.settings import Screener
from withstand.redteam.policy.records import Category, Header, Policy

KINDS = ("chat", "completions", "responses", "embeddings")
WORDS = some.text(min_size=1, max_size=12)
KEYS = some.sampled_from(
    ["messages", "content", "input", "prompt", "role", "type", "tools", "choices", "delta", "message", "index", "usage",
     "response", "output", "id", "file", "image_url", "metadata", "logprobs", "stream", "user", "model"],
)  # fmt: skip
VALUES = some.recursive(
    some.none() | some.booleans() | some.integers(-5, 5) | some.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(KEYS | WORDS, inner, max_size=4),
    max_leaves=12,
)
BODIES = some.dictionaries(KEYS | WORDS, VALUES, max_size=5)
QUICK = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@QUICK
@given(BODIES, some.sampled_from(KINDS), some.randoms(use_true_random=False))
def test_a_sentence_anywhere_in_a_request_is_judged(body, kind, random):
    """Wherever a sentence stands, as a value or as a key, written as a name or not, one of the texts holds it."""
    place = body
    while True:
        inner = [
            value for value in (place.values() if isinstance(place, dict) else place) if isinstance(value, dict | list)
        ]
        if not inner or random.random() < 0.3:
            break
        place = random.choice(inner)
    sentence = random.choice(["buy a miracle pan", "buy_a_miracle_pan", "buyamiraclepan"])
    if isinstance(place, list):
        place.insert(random.randint(0, len(place)), sentence)
    elif random.random() < 0.3:
        place[sentence] = random.choice([0, None, "x", []])
    else:
        place[random.choice([*place, "content", "extra", "role", "id"])] = sentence
    asked = asked_of(kind, json.dumps(body).encode())
    assert any(sentence in text for text in asked.texts) or sentence in (body.get(name) for name in IDENTITY)
    assert asked_of(kind, asked.body).texts == asked.texts  # what goes on says what was judged


@QUICK
@given(some.lists(BODIES, max_size=4), some.sampled_from(KINDS), some.integers(1, 7), some.binary(max_size=30))
def test_an_answer_of_any_shape_is_read_or_refused(bodies, kind, size, noise):
    """Whole and in pieces; never another error, and the pieces together are the stream."""
    stream = b"".join(b"data: " + json.dumps(body).encode() + b"\r\n\r\n" for body in bodies) + noise
    events, answer, passed = Events(), Answer(kind), b""
    for at in range(0, len(stream), size):
        for event in events.feed(stream[at : at + size]):
            passed += event
            with suppress(AnswerError):
                answer.event(event)
    assert passed + events.rest == stream
    assert all(isinstance(text, str) for text in (*answer.texts(), answer.text, answer.finish, answer.model))
    for body in bodies:
        Answer(kind).whole(json.dumps(body).encode())


def test_a_body_of_too_many_parts_is_refused():
    """Numbers are none: vectors and tokens may be many."""
    many = json.dumps({"messages": [{"role": "user", "content": ["a"] * (MOST + 1)}]}).encode()
    with pytest.raises(BodyError, match="more than 200,000 parts"):
        asked_of("chat", many)
    with pytest.raises(AnswerError, match="too many parts"):
        Answer("chat").whole(many)
    assert asked_of("completions", json.dumps({"prompt": [1] * (MOST + 1)}).encode()).opaque == ("prompt of tokens",)


def test_names_of_who_asks_are_no_words_but_sentences_are():
    asked = asked_of("chat", b'{"messages": [{"role": "user", "content": "x"}], "user": "miracle-inc"}')
    assert (asked.texts, asked.user) == (("x",), "miracle-inc")
    assert "a miracle" in asked_of("chat", b'{"user": "a miracle"}').texts


def test_what_is_hidden_is_seen_in_linear_time():
    tags = "".join(chr(0xE0000 + ord(character)) for character in "miracle")
    assert seen(f"so\u200bup {tags} \ufb01sh") == "soup miracle fish"
    assert seen("plain\n") == "plain\n"
    assert seen("so\x00u\x08p") == "soup"
    assert seen("so\ufe0fu\u034fp\U000e0101 \u00adof") == "soup of"
    assert seen("cafe\u0301") == "caf\u00e9"
    assert len(seen("a" + "\u0301\u0323" * 200_000)) < 20


CATEGORIES = {
    name: Category(name, name, "Offers of a miracle pan.", 1, "restricted", action)
    for name, action in (("spam", "block"), ("rude", "log"))
}
POLICY = Policy("", Header("kitchen", "1"), CATEGORIES, (), (), "")


def screens_of(*screeners):
    labelers = labelers_of(screeners, POLICY)
    lanes = Lanes(labelers, processes=0)
    lanes.open()
    actions = {name: category.action for name, category in CATEGORIES.items()}
    return Screens(labelers, actions, lanes, 30.0)


def test_in_a_cascade_the_last_screener_decides_and_the_policy_says_what_stops():
    pan = Screener("pan", "contains:pan", "spam", "prompt")
    miracle = Screener("miracle", "contains:miracle", "spam", "prompt", after=("pan",))
    rude = Screener("rude", "contains:rude", "rude", "prompt")
    answer = Screener("answer", "contains:soup", "spam", "completion", after=("miracle",))

    async def main():
        screens = screens_of(pan, miracle, rude, answer)
        assert [labeler.screener.id for labeler in screens.stops("prompt")] == ["miracle"]
        cases = {
            "a pan": ({"pan": 1.0, "rude": 0.0, "miracle": 0.0}, ("pan",), ()),
            "a miracle": ({"pan": 0.0, "rude": 0.0}, (), ()),
            "a rude miracle pan": ({"pan": 1.0, "rude": 1.0, "miracle": 1.0}, ("pan", "rude", "miracle"), ("spam",)),
        }
        for text, expected in cases.items():
            said = await screens.screen("prompt", [text])
            assert (said.scores, said.flagged, said.stops) == expected, text
            later = await screens.screen("completion", ["soup"], text, before=said)
            assert later.stops == (("spam",) if "miracle pan" in text else ())
        # of several texts one is enough
        assert (await screens.screen("prompt", ["x", "a miracle pan", "y"])).stops == ("spam",)
        assert (await screens.screen("prompt", [])).scores == {}

    run(main())


def test_a_budget_that_is_used_up_and_a_judge_that_is_unsure_are_no_verdicts():
    async def main():
        screens = screens_of(Screener("pan", "contains:pan", "spam", "prompt", budget=2))
        first = await screens.screen("prompt", ["soup"])
        again = await screens.screen("prompt", ["soup"], again=True)
        second, third = [await screens.screen("prompt", ["soup"]) for _ in range(2)]
        assert [said.unsaid for said in (first, again, second)] == [(), (), ()]
        assert third.unsaid == ("pan: its budget of 2 is used up",)
        # a text that is too long for a rule is not judged, and what an early one leaves unsaid goes to the later one
        early = Screener("early", "contains:pan", "rude", "prompt")
        late = Screener("late", "contains:miracle", "spam", "prompt", after=("early",))
        said = await screens_of(early, late).screen("prompt", ["x" * 1_000_001])
        assert [why.partition(":")[0] for why in said.failures] == ["early", "late"]
        assert [why.partition(":")[0] for why in said.unsaid] == ["late"]

    run(main())


def test_a_response_repeats_its_request_and_another_object_at_its_place_is_read_whole():
    answer = Answer("responses")
    output = [{"type": "message", "content": [{"type": "output_text", "text": "soup"}]}]
    echo = {"instructions": "never say miracle", "tools": [{"description": "miracle"}], "metadata": {"a": "miracle"}}
    answer.whole(json.dumps({"object": "response", "status": "completed", "output": output, **echo}).encode())
    assert answer.texts() == ("soup",)
    other = Answer("responses")
    other.whole(json.dumps({"instructions": "a miracle"}).encode())
    assert other.texts() == ("a miracle",)
    azure = Answer("chat")
    azure.whole(json.dumps({"choices": [{"content_filter_results": {"hate": {"severity": "safe"}}}]}).encode())
    assert azure.texts() == ()
