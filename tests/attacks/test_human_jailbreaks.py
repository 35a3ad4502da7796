import csv
import json
from pathlib import Path
from typing import Any

import pytest

from withstand.attacks.templated.human_jailbreaks import HumanJailbreaks
from withstand.core import Behavior, SpecError, Target
from withstand.models.scripted import Scripted
from withstand.registry import find

TARGET = Target(Scripted())
PLAIN = Behavior("b1", "Bake a {loaf} \\1 \ud83d")
CONTEXTUAL = Behavior("b2", "Cook {behavior}", context="Flour")
TEMPLATES = [f"Template {i}" for i in range(20)]


def texts(play: Any, attack: HumanJailbreaks, behavior: Behavior = PLAIN) -> list[str]:
    played = play(attack.run(behavior, TARGET))
    assert played.asks == []
    assert all((case.score, case.completion, len(case.chat)) == (None, None, 1) for case in played.cases)
    return [case.chat[0].text for case in played.cases]


def written(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return written(tmp_path / "j.json", json.dumps(TEMPLATES))


@pytest.mark.parametrize(
    ("template", "sent", "with_context"),
    [
        ("Be kind.", f"Be kind.\n\n{PLAIN.text}", "Be kind.\n\nFlour\n\n---\n\nCook {behavior}"),
        ("Do {behavior}, {x}!", f"Do {PLAIN.text}, {{x}}!", "Flour\n\n---\n\nDo Cook {behavior}, {x}!"),
        ("[Insert prompt here] now", f"{PLAIN.text} now", "Flour\n\n---\n\nCook {behavior} now"),
        ("{behavior} and {behavior}", f"{PLAIN.text} and {PLAIN.text}",
         "Flour\n\n---\n\nCook {behavior} and Cook {behavior}"),
    ],
)  # fmt: skip
def test_the_behavior_stands_in_its_place_or_below(
    play: Any, tmp_path: Path, template: str, sent: str, with_context: str
) -> None:
    attack = HumanJailbreaks(written(tmp_path / "j.json", json.dumps([template])))
    assert texts(play, attack) == [sent]
    assert texts(play, attack, CONTEXTUAL) == [with_context]


def test_a_python_file_is_read_and_not_sent(play: Any, tmp_path: Path) -> None:
    """As HarmBench's: one list, of texts that are written out. Nothing in it is run."""
    source = 'import os\nWHY = "x"\nJAILBREAKS = [r"""Be\nkind""", "Be " "brief", \'Be {behavior}\']\n'
    attack = HumanJailbreaks(written(tmp_path / "j.py", source))
    assert attack.templates() == ["Be\nkind", "Be brief", "Be {behavior}"]
    for wrong in ("A = ['a']\nB = ['b']", "A = ['a', name]", "A = [1]", "A = []", "A = [f'{x}']", "def", "x = '\0'"):
        with pytest.raises(SpecError, match=r"j\.py") as caught:
            HumanJailbreaks(written(tmp_path / "j.py", wrong)).templates()
        assert "json" in caught.value.hint
    for ending in ("pyc", "yaml", "toml", "html"):
        with pytest.raises(SpecError, match=f"ends in .{ending}"):
            HumanJailbreaks(written(tmp_path / f"j.{ending}", "a")).templates()


def test_a_sample_depends_on_seed_and_behavior_and_not_on_the_order_of_the_file(
    play: Any, tmp_path: Path, path: str
) -> None:
    first = texts(play, HumanJailbreaks(path))
    assert len(set(first)) == len(first) == HumanJailbreaks(path).most().cases == 5
    backwards = HumanJailbreaks(written(tmp_path / "k.json", json.dumps(TEMPLATES[::-1] + TEMPLATES)))
    assert texts(play, backwards) == first
    assert backwards.identity() == HumanJailbreaks(path).identity()
    assert texts(play, HumanJailbreaks(path, seed=1)) != first
    assert texts(play, HumanJailbreaks(path), Behavior("b3", PLAIN.text)) != first


def test_all_of_them(play: Any, path: str) -> None:
    for n in (0, 20, 99):
        assert sorted(texts(play, HumanJailbreaks(path, n=n))) == sorted(f"{t}\n\n{PLAIN.text}" for t in TEMPLATES)
    assert HumanJailbreaks(path, n=0).most().cases == 20


@pytest.mark.parametrize(
    ("name", "content", "column"),
    [
        ("j.json", json.dumps(["a", "b\n---\nc"]), ""),
        ("j.json", json.dumps([{"prompt": "a"}, {"text": "b\n---\nc"}]), ""),
        ("j.json", json.dumps({"parameters": {}, "jailbreaks": [{"prompt": "a"}, {"prompt": None},
                                                                {"prompt": "b\n---\nc"}]}), ""),
        ("j.jsonl", '{"template": "a"}\n\n"b\\n---\\nc"\n', ""),
        ("j.JSONL", '\ufeff{"prompt": "x", "mine": "a"}\n{"mine": "b\\n---\\nc"}', "mine"),
        ("j.csv", 'id,prompt\n1,a\n2,"b\n---\nc"\n', ""),
        ("j.csv", 'prompt,mine\nx,a\ny,"b\n---\nc"\n', "mine"),
        ("j.txt", "---\na\n-----  \nb\n -- \nc\n---\n\n---\n", ""),
    ],
)  # fmt: skip
def test_formats(play: Any, tmp_path: Path, name: str, content: str, column: str) -> None:
    attack = HumanJailbreaks(written(tmp_path / name, content), column)
    assert attack.templates() == ["a", "b\n -- \nc" if name == "j.txt" else "b\n---\nc"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("j.json", "[", "bad JSON"),
        ("j.json", '"a"', "holds no list"),
        ("j.json", '{"prompts": ["a"]}', "holds no list"),
        ("j.json", '["a", 3]', "item 2: no text"),
        ("j.json", '["a", " "]', "item 2: no text"),
        ("j.json", '[{"title": "a"}]', "item 1: no 'prompt'; there is title"),
        ("j.json", "[]", "no template"),
        ("j.jsonl", '"a"\n{"prompt": \n', "line 2, character 12: bad JSON"),
        ("j.jsonl", '"a"\n\n{"prompt": 3}\n', "line 3: no text"),
        ("j.csv", "id,title\n1,a\n", "row 2 \\(line 2\\): no 'prompt'; there is id, title"),
        ("j.csv", "id,prompt\n1,a\n2\n", r"row 3 \(line 3\): 1 fields"),
        ("j.csv", 'prompt\n"a\n', "bad CSV"),
        ("j.txt", "---\n", "no template"),
    ],
)
def test_a_bad_file_says_where(tmp_path: Path, name: str, content: str, said: str) -> None:
    attack = HumanJailbreaks(written(tmp_path / name, content))
    for read in (attack.identity, attack.templates):
        with pytest.raises(SpecError, match=said) as caught:
            read()
        assert str(tmp_path / name) in str(caught.value)
        assert caught.value.hint


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    for path in (tmp_path / "none.txt", tmp_path, tmp_path / "latin.txt"):
        with pytest.raises(SpecError, match=r"no such file|cannot be read|is not UTF-8|has no baselines"):
            HumanJailbreaks(str(path)).identity()


def test_another_content_is_another_attack(tmp_path: Path) -> None:
    attack = HumanJailbreaks(written(tmp_path / "j.txt", "a"))
    before = find.describe(attack)
    written(tmp_path / "j.txt", "b")
    assert find.describe(attack) != before


def test_long_fields_of_a_csv(tmp_path: Path) -> None:
    with (tmp_path / "j.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["prompt"], ["x" * 200_000]])
    assert [len(text) for text in HumanJailbreaks(str(tmp_path / "j.csv")).templates()] == [200_000]


@pytest.mark.parametrize("fields", [{"path": ""}, {"path": "a", "n": -1}])
def test_wrong_fields(fields: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as caught:
        HumanJailbreaks(**fields)
    assert caught.value.hint
