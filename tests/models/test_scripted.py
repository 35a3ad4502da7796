import json
import math
import re
from types import SimpleNamespace

import pytest

from withstand.core import Completion, Message, Sampling, SpecError, user
from withstand.models.scripted import Scripted

HOT = Sampling(temperature=1.0)


def say(model, text, sampling=None, seed=0):
    return model.generate([user(text)], sampling or Sampling(), [seed])[0].text


def test_first_rule_that_matches_answers():
    model = Scripted((("^user: .*bread", "no", 1.0), ("bake", "yes", 1.0)), reply="else")
    assert [say(model, text) for text in ("Bake BREAD", "line\nbread", "bake it", "hello")] == [
        "no",
        "no",
        "yes",
        "else",
    ]


def test_a_reply_holds_what_the_groups_of_its_rule_matched():
    rules = ((r"bake (?P<what>.+?) in (?P<where>\w+)(?P<none>!)?$", "{what} {where}{none} {other} {n}", 1.0),)
    model = Scripted(rules, reply="no {what}")
    assert re.fullmatch(r"an {n} oven {other} \d+", say(model, "Bake an {n} in oven"))  # what is put in is no gap
    assert say(model, "Fry it") == "no {what}"
    quoted = Scripted((("say (?P<it>.*)", '{"prompt": "{it}"}', 1.0),))
    assert json.loads(say(quoted, 'Say "a\\b"\n')) == {"prompt": '"a\\b"\n'}


def test_the_chat_is_written_as_lines_of_role_and_text():
    model = Scripted(((r"^system: a\nuser: b\nassistant: c\Z", "seen", 1.0),))
    chat = (Message("system", "a"), Message("user", "b"), Message("assistant", "c"))
    assert model.generate([chat], Sampling(), [0])[0].text == "seen"


def test_a_rule_whose_draw_fails_passes_on():
    model = Scripted((("x", "never", 0.0), ("x", "then", 1.0)))
    assert say(model, "x") == "then"


def test_the_draw_is_as_likely_as_the_rule_says():
    model = Scripted((("x", "yes", 0.3),), reply="no")
    by_chat = [say(model, f"x {i}") for i in range(2000)]
    by_seed = [say(model, "x", HOT, seed) for seed in range(2000)]
    assert by_chat.count("yes") / 2000 == pytest.approx(0.3, abs=0.04)
    assert by_seed.count("yes") / 2000 == pytest.approx(0.3, abs=0.04)


def test_the_seed_counts_above_temperature_zero_only():
    model = Scripted(reply="draw {n} of {m}")
    assert len({say(model, "x", Sampling(), seed) for seed in range(9)}) == 1
    assert len({say(model, "x", HOT, seed) for seed in range(9)}) == 9
    assert say(model, "x", HOT, 3) == say(model, "x", HOT, 3)
    assert say(model, "x").endswith(" of {m}")


def test_answers_do_not_depend_on_their_neighbors():
    model = Scripted((("x", "yes {n}", 0.5),), reply="no {n}")
    chats = [user(f"x {i}") for i in range(20)]
    together = model.generate(chats, HOT, range(20))
    assert together == [model.generate([chat], HOT, [seed])[0] for seed, chat in enumerate(chats)]


def test_tokens_are_words_and_long_answers_are_cut():
    model = Scripted(reply="one  two\nthree four ")
    chat = (Message("system", "a b"), Message("user", "c"))
    whole = model.generate([chat], Sampling(max_tokens=4), [0])[0]
    assert whole == Completion(chat, "one  two\nthree four ", prompt_tokens=3, answer_tokens=4)
    cut = model.generate([chat], Sampling(max_tokens=3), [0])[0]
    assert cut == Completion(chat, "one  two\nthree", finish="length", prompt_tokens=3, answer_tokens=3)


def test_logprobs_only_if_asked():
    answer = Scripted(reply="yes it is").generate([user("x")], Sampling(logprobs=5), [0])[0]
    assert answer.logprobs == ((("yes", math.log(0.9)),),)
    assert Scripted(reply="").generate([user("x")], Sampling(logprobs=5), [0])[0].logprobs == ()


def test_what_it_is():
    model = Scripted(width=2, lanes=3)
    assert (model.place, model.width, model.lanes, model.hosts, model.identity()) == ("scripted", 2, 3, (), {})
    assert model.gives == {"system", "turns", "forged", "prefill", "logprobs", "raw"}
    model.check()


def test_seconds_pass_per_call(monkeypatch):
    slept = []
    monkeypatch.setattr("withstand.models.scripted.time", SimpleNamespace(sleep=slept.append))
    Scripted(seconds=0.05).generate([user("a"), user("b")], Sampling(), [0, 1])
    assert slept == [0.05]


@pytest.mark.parametrize(
    "fields",
    [{"rules": (("(", "a", 1.0),)}, {"rules": (("a", "a", 1.5),)}, {"width": 0}, {"lanes": 0}, {"seconds": -1.0}],
)
def test_wrong_fields(fields):
    with pytest.raises(SpecError) as caught:
        Scripted(**fields)
    assert caught.value.hint
