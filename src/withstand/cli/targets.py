"""The commands that prepare targets: `withstand target`, and what `withstand init --curl` writes."""

import time
from pathlib import Path
from typing import Any

import click

from withstand.cli.options import CONTEXT, Commands, json_option
from withstand.core import Chat, Completion, Message, Sampling, SpecError, WithstandError, user

HEAD = """\
# An application as target. `withstand show target http` explains the fields; {check}
# shows whether they fit, and says where texts stand if `text` is not the path of the answer.
"""
QUESTION = "Name three vegetables that go into a soup."
OPENING = "Three vegetables:"
WORD = "fennel"


def template() -> tuple[str, list[str]]:
    """The commented spec on the stand-in."""
    return (Path(__file__).parent / "withstand.toml").read_text(encoding="utf-8"), []


def from_curl(command: str) -> tuple[str, list[str]]:
    """A spec for the application that a call of curl asks, and what to do before it runs."""
    from withstand.cli import curl
    from withstand.models import _wire
    from withstand.registry import find
    from withstand.runner.spec import to_toml

    found = curl.fields(command)
    find.build("target", found)  # what does not fit is said now
    variables = _wire.variables(str(found.get("url")), str(found.get("body")), *found.get("headers", ()))
    target = to_toml({**found, "text": "$", "revision": ""})
    head = HEAD.format(check="`withstand target check FILE`")
    text = f'{head}suite = "kitchen"\nattack = ["direct", "role_play"]\nlimit = 20\n\n[target]\n{target}'
    return text, [f"export {name}=...  # before it runs: secrets stay out of the file" for name in variables]


@click.group(cls=Commands, context_settings=CONTEXT)
def target() -> None:
    """Prepare targets."""


@target.command(context_settings=CONTEXT)
@click.argument("spec", metavar="TARGET|SPEC.toml")
@json_option
def check(spec: str, as_json: bool) -> int:
    """Send a target three harmless asks and say what works; of a spec's targets, the first.

    Exit code 3 where it does not answer at all.
    """
    import json

    from withstand.cli import console
    from withstand.registry import find
    from withstand.registry.grammar import spec_of
    from withstand.runner.spec import read_spec

    given = spec
    if spec.endswith(".toml"):
        targets = read_spec(spec).get("target")
        given = targets[0] if isinstance(targets, list) and targets else targets or ""
    model = find.build("target", {k: v for k, v in spec_of(given).items() if k != "defense"})
    if "vectors" in model.gives:
        raise SpecError(f"{spec} encodes texts and answers nothing", hint="name a target that answers")
    model.check()
    if model.hosts and not as_json:
        console.say(f"text leaves for {', '.join(model.hosts)}")
    rows = checked(model)
    if as_json:
        click.echo(json.dumps({"target": spec, "checks": rows}))
    else:
        table = [[row["what"], row["works"], row["note"]] for row in rows]
        console.out.print(console.fields_table(table, ["what", "works", ""]))
    return 0 if rows[0]["works"] == "yes" else 3


def checked(model: Any) -> list[dict[str, str]]:
    """What works: a plain ask; the same with its seed and log-probabilities; one with system message and prefix."""
    rows: list[dict[str, str]] = []

    def say(what: str, works: str, note: str) -> None:
        rows.append({"what": what, "works": works, "note": " ".join(note.split())[:200]})

    def ask(chat: Chat, sampling: Sampling) -> Completion | WithstandError:
        try:
            return model.generate([chat], sampling, [1])[0]  # type: ignore[no-any-return]
        except WithstandError as error:
            return error

    warm = Sampling(max_tokens=32, temperature=1.0)
    start = time.perf_counter()
    first = ask(user(QUESTION), warm)
    seconds = time.perf_counter() - start
    if isinstance(first, WithstandError):
        say("chat", "no", f"{first}" + (f" -> {first.hint}" if first.hint else ""))
        return rows
    say("chat", "yes" if first.text or first.tool_calls else "no", first.text or f"an empty answer, {first.finish}")
    offers = model.gives & {"logprobs", "system", "prefill"}
    again = ask(user(QUESTION), Sampling(max_tokens=32, temperature=1.0, logprobs=2 if "logprobs" in offers else 0))

    opened = (Message("assistant", OPENING),) if "prefill" in offers else ()
    told = (Message("system", f"End every answer with the word {WORD}."),) if "system" in offers else ()
    third = ask((*told, *user(QUESTION), *opened), Sampling(max_tokens=32))

    lacks = "the target does not offer it"
    if "system" not in offers:
        say("system prompt", "no", lacks)
    elif isinstance(third, WithstandError):
        say("system prompt", "no", str(third))
    else:
        obeyed = WORD in third.text.lower()
        say("system prompt", "yes" if obeyed else "taken", "it was obeyed" if obeyed else "it was sent, not obeyed")
    if "prefill" not in offers:
        say("prefix", "no", lacks)
    elif isinstance(third, WithstandError):
        say("prefix", "no", str(third))
    else:
        repeated = third.text.strip().startswith(OPENING)
        say("prefix", "no" if repeated else "yes", "it repeats the prefix" if repeated else third.text)
    if "logprobs" not in offers:
        say("logprobs", "no", lacks)
    elif isinstance(again, WithstandError):
        say("logprobs", "no", str(again))
    else:
        most = max((len(place) for place in again.logprobs), default=0)
        say("logprobs", "yes" if most else "no", f"{most} a position" if most else "none came")
    if isinstance(again, WithstandError):
        say("seeds", "unknown", "the second ask failed")
    else:
        same = again.text == first.text
        say("seeds", "yes" if same else "no", f"the same seed gave {'the same answer' if same else 'another answer'}")
    window = getattr(model.load(), "window", 0) if "weights" in model.gives else 0
    say("context length", "yes" if window else "unknown", f"{window} tokens" if window else "the target does not say")
    tokens = f", {first.prompt_tokens} + {first.answer_tokens} tokens" if first.tokens else ""
    say("latency", "yes", f"{seconds:.2f} s for the first answer{tokens}")
    return rows
