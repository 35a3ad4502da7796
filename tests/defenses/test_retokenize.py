"""Retokenize against BPE-dropout as it stands in the paper, by hand, and in the `tokenizers` library."""

import random
import re
from collections import Counter

import pytest

from withstand.core import Message, Sampling, SpecError, Target, ask, intercept, user
from withstand.core.describe import describe
from withstand.defenses.retokenize import END, OURS, Retokenize
from withstand.models.scripted import Scripted
from withstand.runner.flows import behind

TEXT = "Explain how to bake (2 loaves) of sourdough bread,\n\n  step by step: un\u00fcblich \u4f60\u597d!!\ud83d _x_"


def merges_file(tmp_path, text):
    path = tmp_path / "merges.txt"
    path.write_text(text)
    return str(path)


def wrapped(text, draw=0, **fields):
    return Retokenize(**fields).wrap(Scripted(), user(text), draw)[0].text


def test_each_outcome_is_as_likely_as_algorithm_1_says(tmp_path):
    """Merges: 1 (b, c), 2 (a, b), 3 (a, bc), each dropped with p. Of "abc" by hand, with q = 1 - p:

    Step 1, (b, c) and (a, b) possible: both dropped, p p: "a b c". (b, c) stays, q: "a bc". (b, c) dropped and (a, b)
    not, p q: "ab c", of which nothing merges. After "a bc", (a, bc) possible: done with q: "abc", else "a bc".
    """
    merges, p = merges_file(tmp_path, "#version: 0.2\nb c</w>\na b\na bc</w>\n"), 0.3
    q = 1 - p
    exact = {"a b c": p * p, "ab c": p * q, "abc": q * q, "a bc": q * p}
    assert sum(exact.values()) == pytest.approx(1)
    draws = 8_000
    seen = Counter(wrapped("abc", draw, dropout=p, merges=merges) for draw in range(draws))
    assert seen.keys() == exact.keys()
    for outcome, share in exact.items():
        assert seen[outcome] / draws == pytest.approx(share, abs=4 * (share * (1 - share) / draws) ** 0.5)


def test_it_splits_as_the_tokenizers_library_does():
    models = pytest.importorskip("tokenizers.models")
    pairs = [tuple(line.split(" ")) for line in OURS.read_text().splitlines()[1:]]
    signs = {sign for pair in pairs for sign in pair}
    letters = {sign.removesuffix(END) for sign in signs if len(sign.removesuffix(END)) == 1}
    pieces = sorted(signs | letters | {letter + END for letter in letters} | {"".join(pair) for pair in pairs})
    vocab = {piece: number for number, piece in enumerate(pieces)}
    theirs = models.BPE(vocab, pairs, end_of_word_suffix=END)
    words = sorted(set(re.findall("[a-z]{2,}", OURS.with_name("system_prompt.txt").read_text())))
    words += ["sourdough", "unpronounceable", "mississippi", "supercalifragilistic", "aaaaaaaaaa"]
    plain, split = Retokenize(dropout=0), random.Random(1)
    for word in words:
        assert plain.pieces(word, split) == [token.value.removesuffix(END) for token in theirs.tokenize(word)]
    # With dropout theirs merges more than the paper: where it pops a merge that is gone, the dropped ones come back.


def test_letters_are_set_apart_and_nothing_else_changes():
    for dropout in (0, 0.4, 1):
        text = wrapped(TEXT, dropout=dropout)
        assert text.replace(" ", "") == TEXT.replace(" ", "")
        assert "\n\n  " in text
    assert wrapped("Bake (2 loaves).", dropout=1) == "B a k e (2 l o a v e s) ."  # signs stay where they were
    assert wrapped("the of and", dropout=0) == "the of and"


def test_users_turns_alone_are_split_and_each_draw_anew():
    defense, model = Retokenize(dropout=0.9), Scripted()
    prefill = Message("assistant", "Sure, baking:")
    chat = (Message("system", "Be kind."), Message("user", "Baking bread", ("a.png",)), prefill)
    system, turn, last = defense.wrap(model, chat)
    assert (system, last, turn.images) == (chat[0], prefill, ("a.png",))
    first, _ = defense.wrap(model, (*user("Baking bread"), Message("user", "Go on, please")))
    assert first.text == turn.text  # an earlier turn too
    assert len({defense.wrap(model, chat, draw) for draw in range(5)}) > 1
    assert Retokenize(dropout=0.9, seed=1).wrap(model, chat) != defense.wrap(model, chat)


def test_a_run_splits_each_answer_anew(play):
    defense, sampling = Retokenize(), Sampling(max_tokens=3)
    chats = [user(TEXT), user("Hi"), user(TEXT)]
    (item,) = play(defense.answer(Scripted(), chats, sampling)).asks
    assert (item.sampling, item.chats) == (sampling, tuple(defense.wrap(Scripted(), chat) for chat in chats))

    def asked():
        for _ in range(2):
            yield from ask(Target(Scripted(), defense), [user(TEXT)] * 2)

    asks = play(intercept(asked(), behind("key"))).asks
    assert len({chat for item in asks for chat in item.chats}) == 4


def test_merges_that_are_none_are_refused(tmp_path):
    cases = (("", "empty"), ("a b\na b c\n", "'a b c' is no pair"), ("a \n", "no pair"), ("\u0120 a\n", "bytes"))
    for text, problem in cases:
        (tmp_path / "x").mkdir()
        with pytest.raises(SpecError, match=problem):
            Retokenize(merges=merges_file(tmp_path / "x", text))
        (tmp_path / "x").rename(tmp_path / problem.split()[0].strip("'"))
    with pytest.raises(SpecError, match="cannot read"):
        Retokenize(merges=str(tmp_path / "none.txt"))
    with pytest.raises(SpecError, match="dropout"):
        Retokenize(dropout=1.1)


def test_its_key_holds_what_the_file_of_merges_says(tmp_path):
    path = merges_file(tmp_path, "a b\n")
    key = describe(Retokenize(merges=path))["merges"]
    assert path not in key
    assert key != describe(Retokenize(merges=merges_file(tmp_path, "a b\nb c\n")))["merges"]
    assert describe(Retokenize())["merges"] == ""
