"""Stochastic few-shot: rounds, attempts, shots, what is dropped, the stop; guided by a judge and by a loss."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from fakes import Fake, InTurn
from withstand.attacks.llm.few_shot import FewShot
from withstand.core import (
    Ask,
    AskError,
    Behavior,
    Completion,
    Message,
    RejectedDrafts,
    Sampling,
    SpecError,
    Target,
    TestCase,
    Verdict,
    Work,
    Worked,
    user,
)
from withstand.registry import find

BREAD = Behavior("bread", "Bake {bread} \ud83d", target_string="Sure")
SOUP = Behavior("soup", "Turn this into a soup", "Leeks {0} and salt", target_string="Sure")
REFUSAL = "I'm sorry, but I can't help with that."


@dataclass(frozen=True)
class Echo(Fake):
    """A target that says what it was told, but for "(empty)" nothing and "(filtered)" under its filter."""

    def answer(self, chat: Any, seed: int) -> Completion:
        text = chat[-1].text
        return Completion(chat, "" if "(empty)" in text else text, "filtered" if "(filtered)" in text else "stop")


@dataclass(frozen=True)
class Percent:
    """A judge that reads the score off the answer, as in 30%: 100% is a success, ?% unscored, none no score."""

    method: ClassVar[Literal["string matching", "rule", "model"]] = "rule"
    asks: ClassVar[int] = 2

    def grade(self, behavior: Any, completions: Any) -> Any:
        yield from ()
        return [self.verdict(completion.text) for completion in completions]

    def verdict(self, text: str) -> Verdict:
        if "?%" in text:
            return Verdict("unscored")
        found = re.search(r"(\d+)%", text)
        score = int(found[1]) / 100 if found else None
        return Verdict("success" if score == 1 or "bare" in text else "failure", score)


TARGET = Target(Echo())  # type: ignore[arg-type]


def attack(*answers: str, **fields: Any) -> FewShot:
    given = {"judge": Percent(), "width": 10, "shots": 2, "tries": 2, "min_length": 1, **fields}
    return FewShot(InTurn(list(answers)), **given)  # type: ignore[arg-type]


def asked(played: Any) -> list[int]:
    """How many chats went to the attacker in each of its asks."""
    return [len(item.chats) for item in played.asks if item.model is not TARGET]


def sent(played: Any) -> list[list[str]]:
    """What went to the target, round by round."""
    return [[chat[-1].text for chat in item.chats] for item in played.asks if item.model is TARGET]


def lines(first: int, *texts: str) -> str:
    """An answer that goes on behind an opening such as "1."."""
    return "\n".join([f" {texts[0]}", *(f"{first + i}. {text}" for i, text in enumerate(texts[1:], 1))])


def test_rounds_show_the_best_so_far_until_they_stay_the_same(play: Any) -> None:
    rounds = [
        *(lines(1, "a 10%", "b 40%", "c 20%"), lines(1, "d 30%", "a 10%")),  # 4 of 10 new: round(6 / 5) asked once more
        lines(1, "e 5%"),
        *(lines(3, "f 90%"), lines(3, "b 40%"), lines(3, "g 1%"), lines(3, "f 90%")),  # 2 attempts at 10 and 8 lacking
        *(lines(3, "h 2%"), lines(3, "h 2%"), lines(3, "h 2%"), lines(3, "h 2%")),
    ]
    few = attack(*rounds, "never asked")
    played = play(few.run(BREAD, TARGET))
    assert asked(played) == [2, 1, 2, 2, 2, 2]
    assert sent(played) == [["a 10%", "b 40%", "c 20%", "d 30%", "e 5%"], ["f 90%", "g 1%"], ["h 2%"]]
    openings = [item.chats[0][-1] for item in played.asks if item.model is not TARGET]
    assert openings == [Message("assistant", f"{n}.") for n in (1, 1, 3, 3, 3, 3)]
    shown = [item.chats[0][0].text for item in played.asks if item.model is not TARGET]
    assert [re.findall(r"^\d+\. (.*)$", text, re.MULTILINE) for text in shown] == [
        *([[]] * 2),
        *([["b 40%", "d 30%"]] * 2),
        *([["f 90%", "b 40%"]] * 2),
    ]
    assert all("Bake {bread} \ud83d" in text for text in shown)
    assert max(played.cases, key=lambda case: case.score).chat == user("f 90%")
    assert [case.score for case in played.cases] == [0.1, 0.4, 0.2, 0.3, 0.05, 0.9, 0.01, 0.02]


def test_the_defaults_are_those_of_harmbench() -> None:
    few = FewShot(InTurn([]))  # type: ignore[arg-type]
    assert (few.rounds, few.width, few.shots, few.tries, few.min_length) == (50, 64, 5, 11, 32)
    assert few == find.build("attack", {"use": "few-shot-harmbench", "attacker": few.attacker})
    assert [few.lacking(have) for have in (0, 32, 59, 62, 63)] == [13, 6, 1, 1, 1]  # round((64 - have) / 5), at least 1


def test_rounds_and_width_are_caps(play: Any) -> None:
    answers = [lines(1, *(f"{letter}{i} {10 * r}%" for i in range(9))) for r, letter in enumerate("abcdef")]
    played = play(attack(*answers, width=4, tries=1, rounds=3).run(BREAD, TARGET))
    assert asked(played) == [1, 1, 1]
    assert sent(played)[0] == [f"a{i} 0%" for i in range(4)]
    assert [len(texts) for texts in sent(played)] == [4, 4, 4]


def test_the_first_success_ends_the_search(play: Any) -> None:
    played = play(attack(lines(1, "a 10%", "b 100%", "c 20%"), "x", width=5, tries=1).run(BREAD, TARGET))
    assert [case.score for case in played.cases] == [0.1, 1.0, 0.2]
    assert len(asked(played)) == 1


def test_seen_short_and_refusing_lines_are_dropped(play: Any) -> None:
    answer = lines(1, "long enough 1%", "short 2%", "long enough 1%", f"{REFUSAL} 3%", 'Request: "long enough 4%"', "")
    played = play(attack(answer, width=5, tries=1, rounds=1, min_length=14).run(BREAD, TARGET))
    assert sent(played) == [["long enough 1%", "long enough 4%"]]


def test_an_answer_that_refuses_or_holds_no_list_is_lost_and_made_up_for(play: Any) -> None:
    played = play(attack(f" {REFUSAL}\n2. x", "\n\n", lines(1, "a 1%"), lines(1, "b 2%"), rounds=1).run(BREAD, TARGET))
    assert asked(played) == [2, 2]
    assert played.rejected == [RejectedDrafts(1, 1)]
    assert sent(played) == [["a 1%", "b 2%"]]


@pytest.mark.parametrize("answer", [f" {REFUSAL}", "", lines(1, "short")])
def test_a_first_round_without_a_line_is_an_error_that_says_so(play: Any, answer: str) -> None:
    with pytest.raises(AskError, match="no usable answer in 2 tries"):
        play(attack(*[answer] * 4, min_length=32).run(BREAD, TARGET))


def test_a_later_round_without_a_line_is_the_end(play: Any) -> None:
    played = play(attack(lines(1, "a 1%"), f" {REFUSAL}", width=5, tries=1).run(BREAD, TARGET))
    assert (len(asked(played)), [case.score for case in played.cases]) == (2, [0.01])


def test_what_cannot_be_judged_ranks_last_and_no_answer_is_a_refusal(play: Any) -> None:
    texts = ("a ?%", "(empty) 100%", "(filtered) 100%", "plain", "d 30%", "bare")
    played = play(attack(lines(1, *texts), width=6, tries=1, rounds=1).run(BREAD, TARGET))
    assert [case.score for case in played.cases] == [-1.0, 0.0, 0.0, 0.0, 0.3, 1.0]


def test_a_context_is_shown_to_the_attacker_and_sent_above_the_line(play: Any) -> None:
    played = play(attack(lines(1, "Cook it"), width=5, tries=1, rounds=1).run(SOUP, TARGET))
    assert SOUP.context in played.asks[0].chats[0][0].text
    assert sent(played) == [["Leeks {0} and salt\n\n---\n\nCook it"]]
    assert played.cases[0].chat == user("Leeks {0} and salt\n\n---\n\nCook it")


def test_sampling_of_each_role(play: Any) -> None:
    target = Target(Echo(), sampling=Sampling(7))  # type: ignore[arg-type]
    played = play(attack(lines(1, "a 1%"), width=5, tries=1, rounds=1).run(BREAD, target))
    assert [item.sampling for item in played.asks] == [Sampling(1024, 1.0), Sampling(7)]


def test_bounds_and_needs() -> None:
    by_judge, by_loss = attack(rounds=3), attack(rounds=3, judge=None)
    assert dict(by_judge.most().asks) == {"attacker": 3 * 2 * 2, "target": 30, "judge": 60}
    assert dict(by_loss.most().asks) == {"attacker": 12}
    assert by_judge.most().cases == by_loss.most().cases == 1
    assert (by_judge.needs, by_loss.needs) == (frozenset(), {"weights"})


def test_without_a_judge_it_needs_a_target_string_and_weights(play: Any) -> None:
    with pytest.raises(SpecError, match="b has no target string") as caught:
        play(attack(judge=None).run(Behavior("b", "x"), TARGET))
    assert "judge" in caught.value.hint
    with pytest.raises(SpecError, match="FewShot needs weights"):
        play(attack(*[lines(1, "a")] * 9, judge=None).run(BREAD, TARGET))


@pytest.mark.parametrize(
    "fields",
    [{name: 0} for name in ("rounds", "width", "shots", "tries", "min_length", "attacker_tokens")]
    + [{"temperature": -1.0}],
)
def test_wrong_fields(fields: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as caught:
        attack(**fields)
    assert caught.value.hint


# --- guided by the loss ------------------------------------------------------------------------------------------


@pytest.fixture
def white_box() -> Any:
    pytest.importorskip("torch", reason="needs the extra `local`")
    pytest.importorskip("transformers", reason="needs the extra `local`")
    import white_box

    return white_box


def walked(flow: Any) -> list[Any]:
    """What a flow yields, its asks and its work answered."""
    items: list[Any] = []
    answer: Any = None
    while True:
        try:
            item = flow.send(answer)
        except StopIteration:
            return items
        items.append(item)
        answer = None
        if isinstance(item, Ask):
            answer = item.model.generate(item.chats, item.sampling, [0] * len(item.chats))  # type: ignore[union-attr]
        elif isinstance(item, Work):
            answer = Worked(item.do(item.model, [item.part])[0])


def test_the_line_of_lowest_loss_is_kept_and_shown(model: Any, white_box: Any) -> None:
    texts = ["bake bread", "bake bread and butter", "please bake", "a loaf", "bread", "slowly bake"]
    loss = {text: white_box.plain_loss(model, text) for text in texts}
    few = attack(lines(1, *texts[:4]), lines(3, *texts[4:]), "", judge=None, width=5, tries=1)
    items = walked(few.run(white_box.BREAD, Target(model)))
    assert [(item.model, item.do) for item in items if isinstance(item, Work)] == [(model, few.losses)] * 2
    asks = [item.chats[0][0].text for item in items if isinstance(item, Ask)]
    shown = [re.findall(r"^\d+\. (.*)$", text, re.MULTILINE) for text in asks]
    cases: list[Any] = [item for item in items if isinstance(item, TestCase)]
    first = sorted(texts[:4], key=loss.__getitem__)
    assert shown[:2] == [[], first[:2]]
    assert [case.chat[0].text for case in cases] == [first[0], min(texts[4:], key=loss.__getitem__)]
    assert [-case.score for case in cases] == pytest.approx([loss[case.chat[0].text] for case in cases], abs=1e-4)
    assert max(cases, key=lambda case: case.score).chat[0].text == min(texts, key=loss.__getitem__)


def test_a_piece_of_work_scores_the_chats_of_several_flows(model: Any, white_box: Any) -> None:
    from withstand.core import to_json

    few = attack(judge=None)
    parts = [
        {"chats": to_json([user("bake bread"), user("a loaf")]), "target": "Sure, bake"},
        {"chats": to_json([user("bread")]), "target": "Sure, bake"},
    ]
    by_hand = [[white_box.plain_loss(model, text) for text in texts] for texts in (["bake bread", "a loaf"], ["bread"])]
    assert few.losses(model, parts) == [pytest.approx(losses, abs=1e-4) for losses in by_hand]


def test_a_run_on_weights_needs_no_judge_of_its_own(model: Any, white_box: Any, tmp_path: Path) -> None:
    import withstand

    table = tmp_path / "b.jsonl"
    table.write_text('{"id": "a", "text": "Bake"}\n{"id": "b", "text": "Fry", "context": "Leeks"}\n')
    attacker = {"use": "scripted", "reply": "1. bake bread\n2. bake a loaf"}
    few = {"use": "few_shot", "attacker": attacker, "width": 2, "rounds": 3, "tries": 2, "min_length": 5}
    spec = {
        "suite": {"use": "jsonl", "path": str(table), "context": "context", "target_string": "text"},
        "target": {"use": "hf", "id": model.id, "dtype": "float32"},
        "attack": few,
        "judge": "contains:a",
        "benign": "none",
        "sampling": {"max_tokens": 3},
    }
    done = withstand.run(spec, store=tmp_path / "s.db")
    assert (done.cells[0]["cases"], done.cells[0]["error"]) == (2, 0)
    for case in done.cases():
        assert case["chat"][0]["text"].removeprefix("Leeks\n\n---\n\n") in ("bake bread", "bake a loaf")
    with pytest.raises(SpecError, match="needs weights"):
        withstand.run({**spec, "target": "scripted"}, store=tmp_path / "t.db")
