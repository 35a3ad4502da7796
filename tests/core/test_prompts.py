"""Prompts of the user's own in the place of ours."""

import dataclasses
import re
from typing import Any

import pytest

from withstand.core import SpecError
from withstand.core.prompts import OWN, Prompts, sections, sources
from withstand.registry import find

ONE = Prompts.single("Bake {behavior} with {context}.", "behavior")
TWO = Prompts({"list": "Of {domain}: {count}", "answer": "To {question}"}, {"list": ("domain",)})


def test_an_own_text_stands_in_the_place_of_ours() -> None:
    assert ONE.texts("") == {"prompt": "Bake {behavior} with {context}."}
    assert ONE.texts('Fry {behavior}: {"json": 1}') == {"prompt": 'Fry {behavior}: {"json": 1}'}
    assert TWO.texts("## list\nAll of {domain}\n\nnow\n") == {
        "list": "All of {domain}\n\nnow",
        "answer": "To {question}",
    }
    assert sections("## a\nx\n## not a name\n## b \ny") == {"a": "x\n## not a name", "b": "y"}


@pytest.mark.parametrize(
    ("prompts", "own", "words"),
    [
        (ONE, "Fry it", "prompt lacks {behavior}"),
        (ONE, "Fry {behavior} in {oil}", "has {oil}, which nothing fills"),
        (ONE, "@file.txt", "prompt is '@file.txt'"),
        (TWO, "Of {domain}", "has text outside of its parts"),
        (TWO, "Read\n## list\nOf {domain}", "has text outside of its parts"),
        (TWO, "## lists\nOf {domain}", 'has a part "## lists"'),
        (TWO, "## list\nOf it", "the part 'list' lacks {domain}"),
    ],
)
def test_a_text_that_cannot_be_used_is_an_error_at_plan_time(prompts: Prompts, own: str, words: str) -> None:
    with pytest.raises(SpecError, match=re.escape(words)) as caught:
        prompts.texts(own)
    assert caught.value.hint


def test_every_component_that_words_a_question_takes_another_wording() -> None:
    """Of those with a `prompt`: a text without a gap is an error when they are built, ours stay out of keys."""
    built: dict[str, Any] = {}
    for kind in ("attack", "judge"):
        for name, entry in find.entries(kind).items():
            cls = None if entry.preset else find.resolve(kind, name)[0]
            if cls is None or "prompt" not in {f.name for f in dataclasses.fields(cls)} or name == "harmbench_cls":
                continue
            spec = {"use": name, **(cls.sample() if hasattr(cls, "sample") else {})}
            if name == "transform":
                spec |= {"chain": ["past_tense"], "writer": "scripted"}
            built[name] = find.build(kind, spec)
            assert "prompt" not in find.describe(built[name])
            assert [*sources(built[name])] == [("prompt", "ours")]
            with pytest.raises(SpecError, match="prompt"):
                find.build(kind, spec | {"prompt": "No gap at all."})
    assert len(built) >= 16
    assert dict(OWN) == {"added": "0.2", "prompt": True}
