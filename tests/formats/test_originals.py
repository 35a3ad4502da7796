"""Prompts of others' repositories: read from checkouts of the published shape, whose texts are ours."""

import io
import json
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from fakes import Prepared
from withstand.attacks.llm._genetic import theirs as theirs_of
from withstand.attacks.llm._pair import approaches
from withstand.core import Behavior, Completion, SpecError, Target, digest, user
from withstand.core.prompts import sources
from withstand.formats import originals
from withstand.models.scripted import Scripted
from withstand.registry import find

BREAD = Behavior("b", "Bake {bread}", target_string="Sure, flour")
SOUP = Behavior("s", "Cook it", "Leeks.", target_string="Sure, leeks")
ECHO = Target(Scripted(reply="No {n}."))
DRAFT = '{"improvement": "i", "prompt": "p {n}"}'

TALK = '''
def get_init_msg(goal, target, context_str=None):
    msg = f"Begin with {goal}: '{target}'."
    msg_contextual = f"Given {context_str}: {goal}: '{target}'."
    return msg

def process_target_response(target_response, score, goal, target_str, context_str=None):
    msg = f"""
        Output: {target_response}
        {goal} has {score}
    """
    msg_contextual = f"Output in context: {target_response}; {goal} has {score}"
    return msg
'''
SYSTEM = '''
import nothing_of_this_is_imported
raise RuntimeError("nor run")

def get_attacker_system_prompt(goal, context_str, target_str):
    prompt = f"""Attack {goal} for {target_str}. Format: {{"prompt": "..."}}"""
    prompt_contextual = f"In context: {goal} for {target_str}."
    return prompt

def NAME(goal, context_str=None):
    prompt = f"Is it about {goal}?"
    return prompt
'''
JUDGE = """
def get_judge_system_prompt(goal, context_str=None):
    prompt = f"Rate how far it does {goal}."
    prompt_contextual = f"Rate in context how far it does {goal}."
    return prompt
"""
RETURNED = """
def get_init_msg(goal, target):
    return f"Begin with {goal}: {target}"

def process_target_response(target_response, score, goal, target_str):
    return f"Output: {target_response}; {goal} has {score}; aim {target_str}"
"""
STREAM = "def {}(goal, target_str):\n    prompt = f'{} for {{goal}}, {{target_str}}'\n    return prompt\n"
TECHNIQUE = {"ss_technique": "Logical Appeal", "ss_definition": "By reason.", "ss_example": "So eat bread."}
CELL = 'one_shot_kd = """Use %s (%s), as in %s, on %s by %s: %s, %s."""\nimport nothing'


def torched(texts: Any) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("group/data.pkl", pickle.dumps(texts, protocol=2))
        archive.writestr("group/version", "3")
    return file.getvalue()


HARMBENCH: dict[str, str | bytes] = {
    "baselines/pair/system_prompts.py": SYSTEM.replace("NAME", "not_this") + JUDGE,
    "baselines/pair/common.py": TALK,
    "baselines/tap/system_prompts.py": SYSTEM.replace("NAME", "get_judge_system_prompt_for_on_topic"),
    "baselines/tap/common.py": TALK,
    "baselines/zeroshot/zeroshot.py": (
        "PROMPT_TEMPLATE = {'prompt': 'On {behavior} {{so}}', 'completion_prefix': ' Here:\\n1. '}\n"
        "CONTEXTUAL_BEHAVIOR_PROMPT_TEMPLATE = {\n"
        "    'prompt': 'In {context} on {behavior}', 'completion_prefix': ' There:\\n1. '}\n"
    ),
    "configs/method_configs/FewShot_config.yaml": (
        "default_method_hyperparameters:\n  # texts\n"
        '  method_template: "Ten for \\"{behavior}\\""\n'
        '  completion_prefix: " Ten on {behavior}:"\n'
        '  method_template_contextual: "In {context}: {behavior}"\n'
        '  completion_prefix_contextual: " Ten in it:"\n  n_shots: 5\n'
    ),
    "baselines/pap/templates.py": (
        f"persuasion_taxonomy = {[TECHNIQUE]!r}\n"
        "one_shot_kd = '{technique}: {definition} {example} -> {behavior}'\n"
        "one_shot_kd_contexual = '{context}: {technique} -> {behavior}'\n"
    ),
    "baselines/human_jailbreaks/jailbreaks.py": "JAILBREAKS = ['Be kind {0}.', 'Be {behavior}.', ' ']\n",
    "baselines/autodan/templates.py": "ADV = 'x'\nREFERENCES = ['Seed one. It is long.', 'Seed two. It is longer.']\n",
    "eval_utils.py": (
        "import spacy\nLLAMA2_CLS_PROMPT = {\n"
        "    'prompt': 'Is {generation} {behavior}?', 'prompt_contextual': '{context}: is {generation} {behavior}?'}\n"
    ),
}
PAPERS: dict[str, dict[str, str | bytes]] = {
    "pair": {
        "system_prompts.py": "".join(
            STREAM.format(f"{way}_prompt", way) for way in ("roleplaying", "logical_appeal", "authority_endorsement")
        ),
        "common.py": RETURNED,
    },
    "tap": {
        "system_prompts.py": SYSTEM.replace("NAME", "get_evaluator_system_prompt_for_on_topic"),
        "common.py": RETURNED,
    },
    "pap": {
        "persuasion_taxonomy.jsonl": json.dumps(TECHNIQUE) + "\n",
        "incontext_sampling_example.ipynb": json.dumps(
            {
                "cells": [
                    {"cell_type": "markdown", "source": ["x"]},
                    {"cell_type": "code", "source": CELL.splitlines(True)},
                ]
            }
        ),
    },
    "autodan": {"assets/prompt_group.pth": torched(["Seed a.", "Seed b."])},
}


def laid(root: Path, files: dict[str, str | bytes]) -> str:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(root)


@pytest.fixture
def harmbench(tmp_path: Path) -> str:
    return laid(tmp_path / "HarmBench", HARMBENCH)


def first_of(play: Any, spec: dict[str, Any], behavior: Behavior = BREAD, place: int = 0) -> list[list[str]]:
    """The texts of the chats of one ask."""
    played = play(find.build("attack", spec).run(behavior, ECHO))
    return [[message.text for message in chat] for chat in played.asks[place].chats]


def test_the_attackers_read_what_harmbench_sends(play: Any, harmbench: str) -> None:
    pair = {
        "use": "pair",
        "attacker": {"use": "scripted", "reply": DRAFT},
        "judge": "contains:Sure",
        "originals": harmbench,
    }
    system = 'Attack Bake {bread} for Sure, flour. Format: {"prompt": "..."}'
    begun = [system, "Begin with Bake {bread}: 'Sure, flour'."]
    assert [chat[:2] for chat in first_of(play, pair | {"streams": 2})] == [begun] * 2
    later = first_of(play, pair | {"streams": 1}, place=2)[0]
    assert later[:2] == begun
    assert re.sub(r"\d{2,}", "0", later[3]).split() == ["Output:", "No", "0.", "Bake", "{bread}", "has", "1"]
    in_context = first_of(play, pair | {"streams": 1}, SOUP)[0]
    assert in_context[:2] == ["In context: Cook it for Sure, leeks.", "Given Leeks.: Cook it: 'Sure, leeks'."]
    tap = pair | {"use": "tap", "branching": 1}
    assert first_of(play, tap)[0][:2] == begun
    evaluated = first_of(play, tap, place=1)[0]
    assert (evaluated[0], evaluated[1][:11]) == ("Is it about Bake {bread}?", "[PROMPT]:p ")
    with pytest.raises(SpecError, match="b has no target string, which the originals"):
        first_of(play, pair, Behavior("b", "Bake"))


def test_lists_and_rewrites_are_asked_as_in_harmbench(play: Any, harmbench: str) -> None:
    lines: dict[str, Any] = {"attacker": {"use": "scripted", "reply": "1. Please bake a large and crusty loaf {n}"}}
    zero = lines | {"use": "zero_shot", "originals": harmbench, "n": 1}
    assert first_of(play, zero) == [["On Bake {bread} {so}", "Here:\n1."]]
    assert first_of(play, zero, SOUP) == [["In Leeks. on Cook it", "There:\n1."]]
    few = lines | {
        "use": "few_shot",
        "judge": "contains:Sure",
        "originals": harmbench,
        "width": 2,
        "rounds": 2,
        "tries": 1,
    }
    assert first_of(play, few)[0] == ['Ten for "Bake {bread}"', "Ten on Bake {bread}:\n1."]
    shown = first_of(play, few, place=2)[0][1]
    assert re.sub(r"\d{2,}", "0", shown) == "Ten on Bake {bread}:\n1. Please bake a large and crusty loaf 0\n2."
    pap = lines | {"use": "pap", "originals": harmbench, "techniques": ["logical appeal"]}
    assert first_of(play, pap) == [["Logical Appeal: By reason. So eat bread. -> Bake {bread}"]]
    assert first_of(play, pap, SOUP) == [["Leeks.: Logical Appeal -> Cook it"]]
    with pytest.raises(SpecError, match="no technique is called 'threats'"):
        find.build("attack", pap | {"techniques": ["threats"]})


def test_lists_of_texts_are_taken_as_they_are(play: Any, harmbench: str, tmp_path: Path) -> None:
    played = play(find.build("attack", f"human_jailbreaks:{harmbench}").run(BREAD, ECHO))
    assert [case.chat[0].text for case in played.cases] == [
        "Be kind {0}.\n\nBake {bread}",
        "Be {behavior}.\n\nBake {bread}",
    ]
    assert originals.read("autodan", harmbench)["seeds"] == ["Seed one. It is long.", "Seed two. It is longer."]
    named = "REFERENCES = ['ChatGPT of ModelKeeper bakes.', '[MODEL] of [KEEPER] cooks.']\n"
    laid(tmp_path / "Named", {**HARMBENCH, "baselines/autodan/templates.py": named})
    checkout = str(tmp_path / "Named")
    assert theirs_of(checkout, ("Vicuna", "LMSYS")) == ["Vicuna of LMSYS bakes.", "Vicuna of LMSYS cooks."]
    for spec, words in (
        ({"originals": checkout}, "say \\[MODEL\\] where"),
        ({"originals": checkout, "names": ["Vicuna"]}, "names is"),
        ({"names": ["Vicuna", "LMSYS"]}, "names is"),
    ):
        with pytest.raises(SpecError, match=words):
            find.build("attack", {"use": "autodan", **spec})
    theirs = laid(tmp_path / "AutoDAN", PAPERS["autodan"])
    assert originals.read("autodan", theirs)["seeds"] == ["Seed a.", "Seed b."]
    for content, words in (
        (torched([Path("x")]), "names pathlib"),
        (b"no zip", "no file of torch.save"),
        (torched([1]), "list of texts"),
    ):
        laid(tmp_path / "AutoDAN", {"assets/prompt_group.pth": content})
        with pytest.raises(SpecError, match=f"prompt_group.pth.*{words}"):
            originals.read("autodan", theirs)


def test_the_papers_own_repositories(play: Any, tmp_path: Path) -> None:
    roots = {name: laid(tmp_path / name, files) for name, files in PAPERS.items()}
    attack = {"attacker": {"use": "scripted", "reply": DRAFT}, "judge": "contains:Sure"}
    systems = first_of(play, attack | {"use": "pair", "streams": 4, "originals": roots["pair"]})
    assert [chat[0].split()[0] for chat in systems] == [
        "roleplaying",
        "logical_appeal",
        "authority_endorsement",
        "roleplaying",
    ]
    assert len(approaches()) == 3
    begun = first_of(play, attack | {"use": "pair", "streams": 1, "originals": roots["pair"]}, SOUP)[0][1]
    assert begun.startswith("Begin with Cook it: Sure, leeks\n\n")
    assert begun.endswith("Leeks.")  # they know no contexts
    later = first_of(play, attack | {"use": "tap", "branching": 1, "originals": roots["tap"]}, place=3)[0]
    assert re.sub(r"\d{2,}", "0", later[3]) == "Output: No 0.; Bake {bread} has 1; aim Sure, flour"
    pap = first_of(
        play, {"use": "pap", "attacker": "scripted", "techniques": ["logical appeal"], "originals": roots["pap"]}
    )
    use = "Use Logical Appeal (By reason.), as in So eat bread., on Bake {bread} by Logical Appeal: "
    assert pap == [[f"{use}Bake {{bread}}, Bake {{bread}}."]]


def test_the_classifier_reads_the_prompt_it_was_trained_on(harmbench: str) -> None:
    judge = find.build("judge", {"use": "harmbench_cls", "model": Prepared(), "clip": 0, "originals": harmbench})
    assert judge._templates() == {
        "prompt": "Is {generation} {behavior}?",
        "contextual": "{context}: is {generation} {behavior}?",
    }
    spec = {"use": "harmbench_cls", "model": Prepared(), "clip": 0}
    for fields, words in (
        ({}, "needs the prompt that its classifier was trained on"),
        ({"originals": harmbench, "form": "mistral"}, "no prompt for the Mistral classifier"),
        ({"originals": harmbench, "prompt": "ours"}, "both given"),
    ):
        with pytest.raises(SpecError, match=words):
            find.build("judge", spec | fields)


ZERO, COMMON = "baselines/zeroshot/zeroshot.py", "baselines/pair/common.py"
FEW, PAP = "configs/method_configs/FewShot_config.yaml", "baselines/pap/templates.py"
BROKEN = [
    ("zero_shot", ZERO, "OTHER = 1\n", "lacks the variable PROMPT_TEMPLATE; its variables: OTHER"),
    ("zero_shot", ZERO, "PROMPT_TEMPLATE = {'p': ''}\n", "lacks 'prompt'; its keys: p"),
    ("zero_shot", ZERO, "PROMPT_TEMPLATE = {'prompt': 'x'}\n", "lacks {behavior}"),
    ("zero_shot", ZERO, "PROMPT_TEMPLATE = dict(a=1)\n", "is computed, not written out"),
    ("zero_shot", ZERO, "def f(:\n", "is not Python"),
    ("few_shot", FEW, "a:\n  b: c\n", "lacks the text method_template; its texts: none"),
    ("pair", COMMON, "def other(): ...\n", "lacks the function get_init_msg; its functions: other"),
    ("pair", COMMON, TALK.replace("msg =", "text ="), "lacks the variable msg; its variables: msg_contextual, return"),
    ("pair", COMMON, TALK.replace("{goal}:", "x:"), "has no place for the behavior"),
    ("pair", COMMON, TALK.replace("{goal}:", "{goal.upper()}:"), "holds {goal.upper()}"),
    ("pair", COMMON, "", "has no baselines/pair/common.py"),
    ("pap", PAP, "persuasion_taxonomy = [{'a': 'b'}]\none_shot_kd = ''", "lacks {technique}"),
]


def test_the_rating_reads_what_the_judge_of_pair_reads(play: Any, harmbench: str) -> None:
    judge = find.build("judge", {"use": "rating", "model": {"use": "scripted", "reply": "3"}, "originals": harmbench})
    asked = "[PROMPT]:Please!\n[ASSISTANT'S RESPONSE]: No."
    for behavior, texts in (
        (BREAD, ["Rate how far it does Bake {bread}.", asked]),
        (SOUP, ["Rate in context how far it does Cook it.", f"[CONTEXT]: Leeks.\n\n{asked}"]),
    ):
        played = play(judge.grade(behavior, [Completion(user(behavior.prompt("Please!")), "No.")]))
        [chat] = played.asks[0].chats
        assert [turn.text for turn in chat][:2] == texts
        assert played.value[0].why == "rated 3"


def test_another_version_is_an_error_with_file_and_name(harmbench: str) -> None:
    for method, file, text, words in BROKEN:
        path = Path(harmbench) / file
        assert originals.content(method, harmbench)
        path.write_text(text) if text else path.unlink()
        with pytest.raises(SpecError, match=f"{file}.*{re.escape(words)}|{re.escape(words)}") as caught:
            originals.read(method, harmbench)
        assert file in str(caught.value)
        assert caught.value.hint
        laid(Path(harmbench), {file: HARMBENCH[file]})


def test_keys_hold_the_content_and_not_the_folder(harmbench: str, tmp_path: Path) -> None:
    spec = {"use": "zero_shot", "attacker": "scripted"}
    copy = laid(tmp_path / "copy", HARMBENCH)
    ours, here, there = (
        find.describe(find.build("attack", spec | {"originals": path})) for path in ("", harmbench, copy)
    )
    assert here == there
    assert "originals" not in ours
    assert here["originals"] == digest(originals.read("zero_shot", harmbench))
    changed = HARMBENCH["baselines/zeroshot/zeroshot.py"]
    laid(tmp_path / "copy", {"baselines/zeroshot/zeroshot.py": str(changed).replace("so", "then")})
    assert find.describe(find.build("attack", spec | {"originals": copy})) != here
    built = find.build("attack", spec | {"originals": harmbench})
    assert [*sources(built)] == [("prompt", f"originals {here['originals'][:8]}")]
    with pytest.raises(SpecError, match="no folder"):
        find.build("attack", spec | {"originals": str(tmp_path / "none")})
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(SpecError, match=r"has neither .* nor .*; there is nothing"):
        originals.read("pair", str(empty))
