"""PAIR against Algorithm 1 of arXiv:2310.08419, walked through with models that are made for it."""

import json
from typing import Any

import pytest

from cases import walk_cases
from fakes import ByRule, Rates
from withstand import api
from withstand.attacks.llm._judged import score_of
from withstand.attacks.llm._pair import FIRST, LATER, approaches, heads_of, read_prompt
from withstand.attacks.llm.pair import PAIR, PROMPT
from withstand.core import AskError, Behavior, RejectedDrafts, Sampling, SpecError, Target, Verdict, user
from withstand.defenses.self_reminder import SelfReminder
from withstand.judges.contains import Contains
from withstand.models.scripted import Scripted
from withstand.registry import find
from withstand.runner.flows import collected

BEHAVIOR = Behavior("b", "Bake {behavior} bread", target_string="Sure, here is how")
REFUSAL = "I'm sorry, but I can't help with that."


def numbered(chat: Any, number: int) -> str:
    """A draft in the format, behind whichever opening it was given."""
    return f'p{number}"}}' if chat[-1].text == FIRST else f'idea {number}", "prompt": "p{number}"}}'


def at(score: float, wins: bool = False) -> Verdict:
    return Verdict("success" if wins else "failure", score)


ECHO = Target(ByRule(lambda chat, number: f"answer to {chat[-1].text}"))  # type: ignore[arg-type]


def pair(attacker: Any = None, judge: Any = None, **fields: Any) -> PAIR:
    fields = {"streams": 2, "tries": 1, **fields}
    return PAIR(attacker or ByRule(numbered), judge or Rates(lambda text: at(0.0)), **fields)  # type: ignore[arg-type]


def test_the_algorithm_step_by_step(play: Any) -> None:
    scores = {"answer to p0": 0.0, "answer to p1": 4 / 9, "answer to p2": 8 / 9, "answer to p3": 8 / 9}
    attack = pair(judge=Rates(lambda text: at(scores.get(text, 0.0))), attacker_tokens=77, temperature=0.7)
    played = play(attack.run(BEHAVIOR, ECHO))

    assert [len(ask.chats) for ask in played.asks] == [2] * 6  # all streams at once: attacker, target, three times
    assert [ask.model for ask in played.asks] == [attack.attacker, ECHO] * 3
    assert {ask.sampling for ask in played.asks[::2]} == {Sampling(77, 0.7)}
    first, second, third = (ask.chats for ask in played.asks[::2])
    assert [message.role for message in first[0]] == ["system", "user", "assistant"]
    assert first[0][1:] == first[1][1:]
    assert BEHAVIOR.text in first[0][0].text
    assert BEHAVIOR.text in first[0][1].text
    assert BEHAVIOR.target_string in first[0][1].text
    assert (first[0][2].text, second[0][-1].text, third[0][-1].text) == (FIRST, LATER, LATER)

    assert [turn.role for turn in second[1]] == ["system", "user", "assistant", "user", "assistant"]
    assert json.loads(second[1][2].text) == {"improvement": "", "prompt": "p1"}
    feedback = second[1][3].text
    assert "LANGUAGE MODEL OUTPUT: answer to p1\n" in feedback
    assert f"OBJECTIVE: {BEHAVIOR.text}\n" in feedback
    assert "SCORE: 5\n" in feedback  # 1 + 9 * 4 / 9
    assert "SCORE: 1\n" in second[0][3].text
    assert json.loads(third[1][4].text) == {"improvement": "idea 3", "prompt": "p3"}
    assert third[1][:4] == second[1][:4]

    assert [case.chat for case in played.cases] == [user(f"p{number}") for number in range(6)]
    assert [case.score for case in played.cases] == [0.0, 4 / 9, 8 / 9, 8 / 9, 0.0, 0.0]
    assert all(case.completion is None for case in played.cases)


def test_three_approaches_take_turns_over_the_streams(play: Any) -> None:
    asked = play(pair(streams=4, steps=2).run(BEHAVIOR, ECHO)).asks[::2]
    systems = [[chat[0].text for chat in item.chats] for item in asked]
    assert systems[0] == systems[1]
    assert len(set(systems[0])) == 3
    assert systems[0][3] == systems[0][0]
    assert ["conversation: a role" in text for text in systems[0]] == [True, False, False, True]
    ways = approaches()
    [[head, _]] = heads_of(pair(), BEHAVIOR, PROMPT.ours["prompt"], [""])
    plain = head.text
    assert [text.replace(f"{way}\n\n", "") for text, way in zip(systems[0], ways, strict=False)] == [plain] * 3


def test_the_first_of_the_best_is_kept(play: Any) -> None:
    judge = Rates(lambda text: at(0.5 if text[-1] in "134" else 0.0))
    (kept,) = play(collected(pair(judge=judge).run(BEHAVIOR, ECHO))).value
    assert kept.chat == user("p1")


@pytest.mark.parametrize("verdict", [at(1.0, True), Verdict("success"), at(0.2, True)])
def test_it_stops_at_what_the_judge_calls_success(play: Any, verdict: Verdict) -> None:
    """Whatever the number: so a judge of yes and no serves, and one that succeeds from 7 of 10 on."""
    attack = pair(judge=Rates(lambda text: verdict if text.endswith("p3") else at(0.0)))
    played = play(attack.run(BEHAVIOR, ECHO))
    assert (len(played.asks), len(played.cases)) == (4, 4)
    assert max(played.cases, key=lambda case: case.score).chat == user("p3")


def test_the_highest_score_is_no_success_unless_the_judge_says_so(play: Any) -> None:
    assert len(play(pair(judge=Rates(lambda text: at(1.0))).run(BEHAVIOR, ECHO)).cases) == 6


def test_it_asks_what_it_says_at_most(play: Any) -> None:
    attack = PAIR(ByRule(numbered), Rates(lambda text: at(0.0)), tries=1)  # type: ignore[arg-type]
    played = play(attack.run(BEHAVIOR, ECHO))
    assert attack.most().asks == {"target": 90, "attacker": 90, "judge": 90}  # 30 streams of 3 steps
    assert sum(len(ask.chats) for ask in played.asks) == 180
    assert (len(played.cases), attack.most().cases) == (90, 1)
    stubborn = pair(ByRule(lambda chat, number: REFUSAL if number < 6 else numbered(chat, number)), tries=4)
    played = play(stubborn.run(BEHAVIOR, ECHO))
    assert [len(ask.chats) for ask in played.asks] == [2, 2, 2, 2, 2, 2, 2, 2, 2]
    assert stubborn.most().asks["attacker"] == 2 * 3 * 4


@pytest.mark.parametrize(("memory", "seen"), [(1, [0, 1, 1, 1, 1]), (3, [0, 1, 2, 3, 3])])
def test_the_attacker_reads_the_last_exchanges_and_always_the_head(play: Any, memory: int, seen: list[int]) -> None:
    attack = pair(streams=1, steps=5, memory=memory)
    chats = [ask.chats[0][:-1] for ask in play(attack.run(BEHAVIOR, ECHO)).asks[::2]]
    assert [(len(chat) - 2) // 2 for chat in chats] == seen
    assert len({chat[:2] for chat in chats}) == 1
    assert [json.loads(turn.text)["prompt"] for turn in chats[4] if turn.role == "assistant"] == [
        f"p{number}" for number in range(4 - seen[4], 4)
    ]


@pytest.mark.parametrize(
    ("answer", "rejected"), [(REFUSAL, RejectedDrafts(2, 0)), ("nothing of the kind", RejectedDrafts(0, 2))]
)
def test_without_a_draft_there_is_no_test_case_but_an_error(play: Any, answer: str, rejected: RejectedDrafts) -> None:
    thrown = []
    flow = pair(ByRule(lambda chat, number: answer, frozenset()), tries=2, steps=2).run(BEHAVIOR, ECHO)

    def watched() -> Any:
        result = None
        while True:
            try:
                item = flow.send(result)
            except StopIteration:
                return
            thrown.extend([item] if isinstance(item, RejectedDrafts) else [])
            result = yield item

    with pytest.raises(AskError, match="no usable answer in 2 tries") as caught:
        play(watched())
    assert caught.value.hint
    assert thrown == [rejected] * 4


def test_an_unscored_answer_ranks_last_and_is_no_success(play: Any) -> None:
    attack = pair(judge=Rates(lambda text: Verdict("unscored", 1.0) if text.endswith("p0") else at(0.0)), steps=2)
    played = play(collected(attack.run(BEHAVIOR, ECHO)))
    assert played.value[0].chat == user("p1")
    assert "SCORE: 1\n" in played.asks[2].chats[0][3].text
    assert [score_of(v) for v in (Verdict("success"), Verdict("failure"), Verdict("refused"))] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "target", [ByRule(lambda chat, number: " \n"), ByRule(lambda chat, number: "x", finish="filtered")]
)
def test_where_nothing_was_answered_no_judge_is_asked(play: Any, target: Any) -> None:
    """Of silence a judge that looks for a refusal would say success."""
    judge = Rates(lambda text: at(1.0, True))
    played = play(pair(judge=judge).run(BEHAVIOR, Target(target)))
    assert (judge.read, {case.score for case in played.cases}, len(played.cases)) == ([], {0.0}, 6)
    silent = play(pair(judge=Contains("sorry", absent=True)).run(BEHAVIOR, Target(Scripted(reply=""))))
    assert len(silent.cases) == 6
    assert "LANGUAGE MODEL OUTPUT: none\n" in silent.asks[2].chats[0][3].text


def test_the_context_reaches_the_target_and_the_attacker(play: Any) -> None:
    behavior = Behavior("c", "Turn this into a recipe", context="Flour {0} and water \ud83d")
    played = play(pair().run(behavior, ECHO))
    assert played.cases[0].chat == user("Flour {0} and water \ud83d\n\n---\n\np0")
    assert {case.chat for case in played.cases} == {chat for ask in played.asks[1::2] for chat in ask.chats}
    assert behavior.context in played.asks[0].chats[0][1].text
    assert "begins with" not in played.asks[0].chats[0][1].text  # no target string, no word of it


@pytest.mark.parametrize(("tokens", "asked"), [(0, 44), (9, 9)])
def test_the_target_is_asked_with_its_own_sampling(play: Any, tokens: int, asked: int) -> None:
    sampling = Sampling(44, temperature=0.3, top_p=0.9)
    target = Target(ECHO.model, sampling=sampling)
    played = play(pair(search_tokens=tokens).run(BEHAVIOR, target))
    assert {ask.sampling for ask in played.asks[1::2]} == {Sampling(asked, temperature=0.3, top_p=0.9)}


def test_an_attacker_that_takes_neither_system_prompt_nor_prefill(play: Any) -> None:
    draft = 'Here: {"improvement": "none", "prompt": "hello"} Good luck {you}'
    played = play(pair(ByRule(lambda chat, number: draft, frozenset({"turns"}))).run(BEHAVIOR, ECHO))
    first, second = played.asks[0].chats[0], played.asks[2].chats[0]
    assert [turn.role for turn in first] == ["user"]
    assert "Only its format counts" in first[0].text
    assert [turn.role for turn in second] == ["user", "assistant", "user"]
    assert json.loads(second[1].text) == {"improvement": "none", "prompt": "hello"}  # the object alone
    assert {case.chat for case in played.cases} == {user("hello")}


def test_it_searches_on_a_surrogate_and_never_asks_its_target(play: Any) -> None:
    stand_in = ByRule(lambda chat, number: f"stand-in {number}")
    target = Target(ByRule(lambda chat, number: "unasked"), SelfReminder(), Sampling(33))  # type: ignore[arg-type]
    played = play(pair(surrogates=(stand_in,)).run(BEHAVIOR, target))
    assert [ask.model for ask in played.asks[1::2]] == [Target(stand_in, sampling=Sampling(33))] * 3  # type: ignore[arg-type]
    assert target.model.chats == []  # type: ignore[attr-defined]
    assert all(case.completion is None for case in played.cases)


def test_targets_share_what_a_surrogate_found(tmp_path: Any) -> None:
    drafts = {"use": "scripted", "reply": '{"improvement": "be kind", "prompt": "bake, draft {n}"}'}
    stand_in = {"use": "scripted", "reply": "stand-in"}
    attack = {"use": "pair", "attacker": drafts, "judge": "contains:Sure", "streams": 2, "surrogates": [stand_in]}
    targets = [{"use": "scripted", "reply": f"Sure {number}"} for number in range(2)]
    spec = {
        "suite": "kitchen",
        "limit": 2,
        "benign": "none",
        "attack": attack,
        "target": targets,
        "judge": "contains:Sure",
    }
    done = api.run(spec, store=tmp_path / "s.db")
    assert ["transferred" in cell["notes"] for cell in done.cells] == [True, True]
    chats = [[case["chat"] for case in done.cases() if case["cell"] == cell] for cell in (0, 1)]
    assert chats[0] == chats[1] != []
    assert [cell["success"] for cell in done.cells] == [2, 2]

    blocked = ["none", {"use": "guard", "judges": ["contains:bake"]}]
    spec |= {"until_success": True, "target": [targets[0], {"use": "scripted", "reply": "No"}], "defense": blocked}
    graded = api.run(spec, store=tmp_path / "s.db")  # a success is of its own target, behind its own defense
    assert [cell["success"] for cell in graded.cells] == [2, 0, 0, 0]


@walk_cases(
    ("said", "prompt"),
    [
        (FIRST + 'bake it"}', "bake it"),
        (FIRST + 'in code: {"a": {}}"} and so on', 'in code: {"a": {}}'),
        (FIRST + '{"improvement": "i", "prompt": "anew"}', "anew"),
        (LATER + 'it said "no", so", "prompt": "go on"}', "go on"),
        (LATER + '{"improvement": "i", "prompt": "anew"}', "anew"),
        ('{"prompt": "without an improvement"}', "without an improvement"),
        (FIRST + '"}', None),
        (FIRST + REFUSAL, REFUSAL),  # a text that `drafts` knows as a refusal
        (LATER + REFUSAL, REFUSAL),
        (LATER + "only an idea", None),
        ("bake it", None),
    ],
)
def test_the_prompt_in_an_answer(said: str, prompt: str | None) -> None:
    assert read_prompt(said) == prompt


def test_odd_texts_arrive_as_they_are(play: Any) -> None:
    behavior = Behavior("o", "Fill {behavior}, {0} and }{ \ud83d \\1")
    played = play(pair(ByRule(lambda chat, number: "{opening} \ud83d }{ \\1"), steps=2).run(behavior, ECHO))
    chat = played.asks[2].chats[0]
    assert f"OBJECTIVE: {behavior.text}\n" in chat[0].text
    assert json.loads(chat[2].text)["prompt"] == "{opening} \ud83d }{ \\1"
    assert "answer to {opening} \ud83d }{ \\1" in chat[3].text


def test_the_spec_with_harmbenchs_settings() -> None:
    built = find.build("attack", {"use": "pair-harmbench", "attacker": "scripted", "judge": "contains:Sure"})
    assert built == PAIR(Scripted(), Contains("Sure"), 20, 3, 3, 20, 500, 1.0, 150)
    assert {name: built.most().asks[name] for name in ("target", "attacker")} == {"target": 60, "attacker": 1200}


def test_the_system_prompt_holds_one_everyday_example_of_the_format() -> None:
    [[told, _]] = heads_of(pair(), BEHAVIOR, PROMPT.ours["prompt"], [""])
    example = json.loads(told.text.splitlines()[-1])
    assert set(example) == {"improvement", "prompt"}
    assert "pancakes" in example["prompt"]


@walk_cases(
    "fields",
    [
        {"streams": 0}, {"steps": 0}, {"memory": 0}, {"tries": 0}, {"attacker_tokens": 0}, {"search_tokens": -1},
        {"temperature": 10.5}, {"temperature": -1.0}, {"surrogates": (Scripted(), Scripted(reply="b"))},
    ],
)  # fmt: skip
def test_wrong_fields(fields: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as caught:
        pair(**fields)
    assert caught.value.hint
