"""The two styles in which a prompt of a web text is sent to a model, and the prompt alone. Standard library only."""

from typing import Literal, TypeAlias

from withstand.core.records import Behavior

Style: TypeAlias = Literal["continuation", "instruction"]
"""continuation: the prompt's text alone, without a chat template.   instruction: a request that contains it."""
STYLES: tuple[Style, ...] = ("continuation", "instruction")
INSTRUCTION = "Continue the following text. Write only what comes next.\n\n"
"""What stands before the prompt in the style instruction."""


def in_style(prompt: str, style: Style) -> str:
    """What a model is sent."""
    return f"{INSTRUCTION}{prompt}" if style == "instruction" else prompt


def prompt_of(behavior: Behavior) -> str:
    """The prompt alone, which slices are taken of: a behavior's text less the request around it."""
    return behavior.text.removeprefix(INSTRUCTION) if behavior.functional == "instruction" else behavior.text
