"""The question that an attack puts to its attacker: of the originals, else the user's own or ours."""

from typing import Any

from withstand.attacks.llm._texts import shown_context
from withstand.core import Behavior, filled
from withstand.core.prompts import Prompts
from withstand.formats import originals


def question(method: str, attack: Any, prompts: Prompts, behavior: Behavior, **parts: str) -> tuple[str, str]:
    """The question about a behavior, and what the originals open its answer with ("" for other prompts).

    attack: with the fields `originals` and `prompt`. parts: fill the gaps that only this attack has.
    """
    if not attack.originals:
        text = prompts.texts(attack.prompt)["prompt"]
        return filled(text, behavior=behavior.text, context=shown_context(behavior), **parts), ""
    texts = originals.read(method, attack.originals)
    given = {"behavior": behavior.text, "context": behavior.context, **parts}
    opening = originals.pick(texts, "opening", behavior) if "opening" in texts else ""
    return originals.fill(originals.pick(texts, "prompt", behavior), **given), originals.fill(opening, **given).strip()
