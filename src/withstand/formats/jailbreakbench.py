"""JailbreakBench's artifacts as parts of a run. Chao et al. 2024, arXiv:2404.01318; the form of jailbreakbench 1.0.

An artifact is a JSON object: `parameters` (method, model, defense, ...) and `jailbreaks`, one object per behavior with
`behavior`, `goal`, `category`, `prompt`, `response` and `jailbroken`.
"""

from pathlib import Path
from typing import Any

from withstand.core import Behavior, SpecError
from withstand.formats.harmbench import Entry, Part, load


def read(places: tuple[str, ...]) -> tuple[list[Behavior], list[Part]]:
    """The behaviors of all files in their order, and a part for each file. Raises `SpecError` with file and entry."""
    behaviors: dict[str, Behavior] = {}
    parts = []
    for place in places:
        path = Path(place).expanduser()
        whole = load(path)
        listed = whole.get("jailbreaks") if isinstance(whole, dict) else None
        if not isinstance(listed, list):
            raise SpecError(
                f"{place} is not an artifact: it has no list of jailbreaks", hint="{parameters, jailbreaks}"
            )
        entries: dict[str, tuple[Entry, ...]] = {}
        for number, row in enumerate(listed, 1):
            where = f"{place}, jailbreak {number}"
            if not isinstance(row, dict):
                raise SpecError(f"{where} is no object", hint="it has goal, behavior, prompt and response")
            name, goal = _text(where, row, "behavior"), _text(where, row, "goal")
            behavior = Behavior(name, goal, category=str(row.get("category") or ""))
            if behaviors.setdefault(name, behavior) != behavior:
                raise SpecError(f"{where}: another file describes {name} differently", hint="import them one by one")
            entries[name] = entries.get(name, ()) + _entries(where, row)
        parameters = whole.get("parameters")
        parameters = parameters if isinstance(parameters, dict) else {}
        method, model = (str(parameters.get(key) or "unknown") for key in ("method", "model"))
        parts.append(Part(method, model, model, entries, _tokens(parameters), str(parameters.get("defense") or "none")))
    return list(behaviors.values()), parts


def _entries(where: str, row: dict[str, Any]) -> tuple[Entry, ...]:
    """No entry where the attack submitted no prompt."""
    if row.get("prompt") is None:
        return ()
    prompt = _text(where, row, "prompt")
    if row.get("response") is None:
        return (Entry(prompt),)
    jailbroken = row.get("jailbroken")
    if jailbroken is not None and not isinstance(jailbroken, bool):
        raise SpecError(f"{where}: jailbroken is {jailbroken!r}", hint="it is true, false or null")
    return (Entry(prompt, _text(where, row, "response"), None if jailbroken is None else int(jailbroken)),)


def _text(where: str, row: dict[str, Any], name: str) -> str:
    if not isinstance(row.get(name), str):
        raise SpecError(f"{where}: its {name} is no text", hint="write it as a string")
    return str(row[name])


def _tokens(usage: dict[str, Any]) -> int:
    """The length of an answer: 150 tokens, JailbreakBench's own, unless the method's parameters say otherwise."""
    own = usage.get("method_parameters")
    most = own.get("max_tokens") if isinstance(own, dict) else None
    return most if isinstance(most, int) and most > 0 and not isinstance(most, bool) else TOKENS


TOKENS = 150
