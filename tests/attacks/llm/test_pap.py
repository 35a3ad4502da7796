"""PAP: a rewrite for each technique, the forty techniques, what is shown and sent."""

from typing import Any

import pytest

from fakes import InTurn
from withstand.attacks.llm._prompts import question
from withstand.attacks.llm.pap import PAP, PROMPT, TOP, all_techniques, rewritten
from withstand.core import AskError, Behavior, RejectedDrafts, Sampling, SpecError, Target, user
from withstand.models.scripted import Scripted
from withstand.registry import find

BREAD = Behavior("bread", "Bake {bread} \ud83d {name}")
SOUP = Behavior("soup", "Turn this into a soup", "Leeks {0} and salt")
TARGET = Target(Scripted())
REFUSAL = "I'm sorry, but I can't help with that."


def attack(*answers: str, **fields: Any) -> PAP:
    return PAP(InTurn(list(answers)), **fields)  # type: ignore[arg-type]


def texts(played: Any) -> list[str]:
    return [case.chat[0].text for case in played.cases]


def test_forty_techniques_the_papers_top_five_first() -> None:
    assert len(all_techniques()) == 40
    assert tuple(all_techniques())[:5] == TOP == attack().techniques
    for name, technique in all_techniques().items():
        assert name == name.lower()
        assert set(technique) == {"name", "definition", "plain", "persuasive"}
        assert all(technique.values())
    assert len({technique["persuasive"] for technique in all_techniques().values()}) == 40


def test_one_rewrite_a_technique_in_one_ask(play: Any) -> None:
    played = play(attack(*(f'"Rewrite {i}"' for i in range(5))).run(BREAD, TARGET))
    assert texts(played) == [f"Rewrite {i}" for i in range(5)]
    assert all(case.score is None for case in played.cases)
    [asked] = played.asks
    assert asked.sampling == Sampling(512, 1.0)
    for name, (message,) in zip(TOP, asked.chats, strict=True):
        assert BREAD.text in message.text
        assert all(part in message.text for part in all_techniques()[name].values())
        assert not any(all_techniques()[other]["persuasive"] in message.text for other in TOP if other != name)


def test_all_are_forty(play: Any) -> None:
    everything = attack(*["Please bake"] * 40, techniques=("all",))
    assert (everything.most().cases, everything.most().asks["attacker"]) == (40, 200)
    assert len(play(everything.run(BREAD, TARGET)).cases) == 40
    assert find.build("attack", "pap:scripted,techniques=all").techniques == ("all",)
    assert find.build("attack", "pap:scripted,techniques=threats").names() == ("threats",)


def asked(technique: str) -> str:
    return question("pap", attack(), PROMPT, BREAD, **all_techniques()[technique])[0]


def test_refusals_are_asked_anew_and_a_lost_technique_has_no_case(play: Any) -> None:
    chosen = attack(REFUSAL, "A", f'"{REFUSAL}"', REFUSAL, " ", tries=2, techniques=("framing", "favor", "threats"))
    played = play(chosen.run(BREAD, TARGET))
    assert texts(played) == ["A"]
    assert [len(asked.chats) for asked in played.asks] == [3, 2]
    assert played.asks[1].chats == (user(asked("framing")), user(asked("threats")))
    assert played.rejected == [RejectedDrafts(2, 0), RejectedDrafts(1, 1)]


def test_an_attacker_that_only_refuses_is_an_error_that_says_so(play: Any) -> None:
    with pytest.raises(AskError, match="no usable answer in 2 tries"):
        play(attack(*[REFUSAL] * 10, tries=2).run(BREAD, TARGET))


def test_a_context_is_shown_to_the_attacker_and_sent_above_the_rewrite(play: Any) -> None:
    played = play(attack("Cook it", techniques=("favor",)).run(SOUP, TARGET))
    assert SOUP.context in played.asks[0].chats[0][0].text
    assert played.cases[0].chat == user("Leeks {0} and salt\n\n---\n\nCook it")
    assert "[text]" not in asked("favor")


@pytest.mark.parametrize(
    ("said", "request_"),
    [
        (' "Bake, {please}" \n', "Bake, {please}"),
        ('Here is the rewritten request:\n\n"Bake,\n\nplease"', "Bake,\n\nplease"),
        ('Dear baker:\nsay "yes" now', 'Dear baker:\nsay "yes" now'),
        ('Say "yes": \n"no"', 'Say "yes": \n"no"'),
        ('""', None),
        ("  ", None),
    ],
)
def test_quotes_and_a_heading_above_them_go(said: str, request_: str | None) -> None:
    assert rewritten(said) == request_


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({"techniques": ("logical apeal",)}, "did you mean logical appeal"),
        ({"techniques": ("Threats",)}, "did you mean threats"),
        ({"techniques": ("favor", "all")}, ""),
        ({"techniques": ("zzz",)}, "there are logical appeal, "),
        ({"techniques": ()}, "all"),
        ({"tries": 0}, ""),
        ({"attacker_tokens": 0}, ""),
        ({"temperature": 11.0}, ""),
    ],
)
def test_wrong_fields(fields: dict[str, Any], hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        attack(**fields)
    assert caught.value.hint
    assert hint in caught.value.hint
