"""Prompts of HarmBench's and the papers' own repositories, read from the user's checkout. We ship none of them.

A checkout of another version is an error that says which file lacks what. Nothing of it is imported or run.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from withstand.core import Behavior, Json, SpecError, bounded, digest
from withstand.core.prompts import Prompts
from withstand.formats.literals import (
    VERSION,
    constant,
    notebook,
    pickled,
    scalar,
    technique_lines,
    techniques,
    template,
)

Finder: TypeAlias = Callable[[str, bytes], Json]
"""Gives what a file holds, from its name and its content. Raises `SpecError` where it is not there."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a repository keeps the prompts of a method: part -> its file, and how it is found there."""

    repository: str
    parts: Mapping[str, tuple[str, Finder]]

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(file for file, _ in self.parts.values()))


def read(method: str, checkout: str) -> dict[str, Json]:
    """The parts of a method's prompts, by name; gaps are in braces. Raises `SpecError` where they are not as expected.

    method: a key of `METHODS`. checkout: the folder of a checkout of HarmBench, or of the paper's repository.
    """
    root = Path(checkout).expanduser()
    layouts = METHODS[method]
    if not root.is_dir():
        raise SpecError(f"originals: {checkout} is no folder", hint=_clone(layouts))
    layout = max(layouts, key=lambda layout: sum((root / file).is_file() for file in layout.files))
    contents: dict[str, bytes] = {}
    for file in layout.files:
        if not (root / file).is_file():
            expected = " nor ".join(f"{layout.files[0]} ({layout.repository})" for layout in layouts)
            seen = ", ".join(sorted(path.name for path in root.iterdir())[:8]) or "nothing"
            lacking = f"no {file}" if contents else f"neither {expected}" if layouts[1:] else f"no {expected}"
            raise SpecError(f"originals: {checkout} has {lacking}; there is {seen}", hint=_clone(layouts))
        contents[file] = bounded.read_bytes(root / file)
    return {part: find(str(root / file), contents[file]) for part, (file, find) in layout.parts.items()}


def content(method: str, checkout: str) -> str:
    """The hash of what `read` gives, for keys: another content is another component. "" for no checkout."""
    return digest(read(method, checkout)) if checkout else ""


def field_of(method: str) -> Mapping[str, Any]:
    """The metadata of a field `originals`: the content of what is read stands for the folder in keys."""
    return MappingProxyType({"added": "0.2", "read": lambda component: content(method, component.originals)})


def check(method: str, component: Any, prompts: Prompts | None = None) -> None:
    """Raise `SpecError` for originals or an own prompt that cannot be used, or where both are given."""
    if component.originals and getattr(component, "prompt", ""):
        raise SpecError("originals and prompt are both given", hint="leave one of them out")
    if component.originals:
        read(method, component.originals)
    elif prompts is not None:
        prompts.texts(component.prompt)


def _clone(layouts: Sequence[Layout]) -> str:
    return "give the folder of a checkout of " + " or ".join(f"github.com/{layout.repository}" for layout in layouts)


def fill(text: str, **parts: str) -> str:
    """The text with the gaps of these names filled; other braces stay, since they may be part of the text."""
    names = "|".join(parts)
    return re.sub(rf"\{{({names})\}}", lambda match: parts[match[1]], text)


def pick(texts: Mapping[str, Json], name: str, behavior: Behavior) -> str:
    """The text of a name; for a behavior with a context the one for such, where there is one."""
    contextual = f"{name}_contextual"
    return str(texts[contextual] if behavior.context and contextual in texts else texts[name])


def _listed(find: Finder, file: str, content: bytes) -> list[str]:
    """A list of texts, without empty ones."""
    texts = find(file, content)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts) or not any(texts):
        raise SpecError(f"originals: {file} does not hold a list of texts", hint=VERSION)
    return [text for text in texts if text.strip()]


def _at(find: Callable[..., Json], *words: str, gaps: Sequence[str] = ()) -> Finder:
    return lambda file, content: find(*words, file=file, content=content, **({"gaps": gaps} if gaps else {}))


HARMBENCH = "centerforaisafety/HarmBench"
_BOTH = ("behavior", "target")


def _talk(folder: str, system: Mapping[str, str], message: str, on_topic: str = "") -> dict[str, tuple[str, Finder]]:
    """What PAIR and TAP send their attacker, and TAP its evaluator.

    system: part -> the function that gives it. message: the variable of the messages after it, "return" for none.
    on_topic: the function that gives the evaluator's.
    """
    prompts, common = f"{folder}system_prompts.py", f"{folder}common.py"
    first, feedback = ("get_init_msg", *_BOTH), ("process_target_response", "answer", "behavior", "score")
    parts = {
        **{part: (prompts, _at(template, function, "prompt", *_BOTH)) for part, function in system.items()},
        "first": (common, _at(template, first[0], message, *first[1:])),
        "feedback": (common, _at(template, feedback[0], message, *feedback[1:])),
    }
    if on_topic:
        parts["on_topic"] = (prompts, _at(template, on_topic, "prompt", "behavior"))
    if message != "return":  # HarmBench has another text for behaviors with a context
        parts["system_contextual"] = (prompts, _at(template, system["system"], "prompt_contextual", *_BOTH))
        parts["first_contextual"] = (common, _at(template, first[0], f"{message}_contextual", "context", *first[1:]))
        parts["feedback_contextual"] = (common, _at(template, feedback[0], f"{message}_contextual", *feedback[1:]))
    return parts


def _pairs(file: str, **finders: Finder) -> dict[str, tuple[str, Finder]]:
    """Parts that all stand in one file."""
    return {part: (file, finder) for part, finder in finders.items()}


_SYSTEM = {"system": "get_attacker_system_prompt"}
_STREAMS = {
    "system": "roleplaying_prompt",
    "system_2": "logical_appeal_prompt",
    "system_3": "authority_endorsement_prompt",
}
_ON_TOPIC = "get_{}_system_prompt_for_on_topic".format

METHODS: Mapping[str, tuple[Layout, ...]] = {
    "pair": (
        Layout(HARMBENCH, _talk("baselines/pair/", _SYSTEM, "msg")),
        Layout("patrickrchao/JailbreakingLLMs", _talk("", _STREAMS, "return")),
    ),
    "tap": (
        Layout(HARMBENCH, _talk("baselines/tap/", _SYSTEM, "msg", _ON_TOPIC("judge"))),
        Layout("RICommunity/TAP", _talk("", _SYSTEM, "return", _ON_TOPIC("evaluator"))),
    ),
    "rating": (
        Layout(
            HARMBENCH,
            _pairs(
                "baselines/pair/system_prompts.py",
                system=_at(template, "get_judge_system_prompt", "prompt", "behavior"),
                system_contextual=_at(template, "get_judge_system_prompt", "prompt_contextual", "behavior"),
            ),
        ),
        Layout(
            "patrickrchao/JailbreakingLLMs",
            _pairs("system_prompts.py", system=_at(template, "get_judge_system_prompt", "prompt", "behavior")),
        ),
    ),
    "zero_shot": (
        Layout(
            HARMBENCH,
            _pairs(
                "baselines/zeroshot/zeroshot.py",
                prompt=_at(constant, "PROMPT_TEMPLATE", "prompt", gaps=("behavior",)),
                opening=_at(constant, "PROMPT_TEMPLATE", "completion_prefix"),
                prompt_contextual=_at(
                    constant, "CONTEXTUAL_BEHAVIOR_PROMPT_TEMPLATE", "prompt", gaps=("behavior", "context")
                ),
                opening_contextual=_at(constant, "CONTEXTUAL_BEHAVIOR_PROMPT_TEMPLATE", "completion_prefix"),
            ),
        ),
    ),
    "few_shot": (
        Layout(
            HARMBENCH,
            _pairs(
                "configs/method_configs/FewShot_config.yaml",
                prompt=_at(scalar, "method_template", "behavior"),
                opening=_at(scalar, "completion_prefix"),
                prompt_contextual=_at(scalar, "method_template_contextual", "behavior", "context"),
                opening_contextual=_at(scalar, "completion_prefix_contextual"),
            ),
        ),
    ),
    "pap": (
        Layout(
            HARMBENCH,
            _pairs(
                "baselines/pap/templates.py",
                prompt=_at(constant, "one_shot_kd", gaps=("technique", "behavior")),
                prompt_contextual=_at(constant, "one_shot_kd_contexual", gaps=("technique", "behavior", "context")),
                techniques=techniques,
            ),
        ),
        Layout(
            "CHATS-lab/persuasive_jailbreaker",
            {
                "prompt": ("incontext_sampling_example.ipynb", _at(notebook, "one_shot_kd")),
                "techniques": ("persuasion_taxonomy.jsonl", technique_lines),
            },
        ),
    ),
    "human_jailbreaks": (
        Layout(
            HARMBENCH,
            _pairs("baselines/human_jailbreaks/jailbreaks.py", templates=partial(_listed, _at(constant, "JAILBREAKS"))),
        ),
    ),
    "autodan": (
        Layout(
            HARMBENCH,
            _pairs("baselines/autodan/templates.py", seeds=partial(_listed, _at(constant, "REFERENCES"))),
        ),
        Layout("SheltonLiu-N/AutoDAN", _pairs("assets/prompt_group.pth", seeds=partial(_listed, pickled))),
    ),
    "harmbench_cls": (
        Layout(
            HARMBENCH,
            _pairs(
                "eval_utils.py",
                prompt=_at(constant, "LLAMA2_CLS_PROMPT", "prompt", gaps=("behavior", "generation")),
                prompt_contextual=_at(
                    constant, "LLAMA2_CLS_PROMPT", "prompt_contextual", gaps=("behavior", "context", "generation")
                ),
            ),
        ),
    ),
}
"""Method -> the repositories that have its prompts, HarmBench's first."""
