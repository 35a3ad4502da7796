"""Human jailbreaks: texts that people wrote to get around refusals, from your own file. Shen et al. 2023,
arXiv:2308.03825, collected such texts; HarmBench, Mazeika et al. 2024, arXiv:2402.04249, has them as a baseline.

We ship none. HarmBench shuffles its list in place from behavior to behavior; here the sample depends on seed and
behavior alone, and neither on the order of the file nor on what else is run.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from withstand.core import Behavior, Flow, Json, SpecError, Target, TestCase, UpperBounds, at_least, digest, rng, user
from withstand.formats import originals, rows

PLACE = re.compile(r"\[INSERT PROMPT HERE\]|\{behavior\}", re.IGNORECASE)
ENDINGS = "write the templates as .json, .jsonl, .csv, or .txt with lines of three hyphens between them"
COLUMNS = ("prompt", "text", "template")


@dataclass(frozen=True, slots=True)
class HumanJailbreaks:
    """n templates of the file, each a final test case. The behavior stands in the place of [INSERT PROMPT HERE] or
    {behavior}; below the template, after a blank line, where there is neither. The context goes above a template with
    a place, and else with the behavior.

    path: the file, by its ending. .json: a list of texts or of objects, or an object with such a list as "jailbreaks"
        (null in place of a text is skipped, as JailbreakBench writes it). .jsonl: a text or an object a line. .csv:
        with a header. .py: the one list of texts that the file assigns to a name, as HarmBench's; it is read and never
        run. .txt, .md or no ending: texts parted by lines of three hyphens or more. A folder: a checkout of HarmBench,
        whose list is used with the behavior below each text, as there.
    column: the name in objects and header; default "": the first of prompt, text and template that is there.
    n: templates for each behavior, 0 or more, default 5 as in HarmBench; 0: all of them.
    seed: any whole number, default 0; draws the templates.

    Raises `SpecError` with file and row where the file is wrong.
    """

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset()
    informed: ClassVar[bool] = True
    path: str
    column: str = ""
    n: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.path:
            raise SpecError("path is empty", hint="name the file that holds the jailbreaks")
        at_least(0, self, "n")

    def identity(self) -> Json:
        """Of the templates: another content of the file is another attack."""
        return digest(self.templates())

    def most(self) -> UpperBounds:
        return UpperBounds(cases=self.n or len(self.templates()))

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        templates = self.templates()
        if 0 < self.n < len(templates):
            templates = rng(self.seed, behavior.id).sample(templates, self.n)
        for template in templates:
            text = f"{template}\n\n{behavior.prompt()}" if self._checkout else placed(template, behavior)
            yield TestCase(behavior.id, user(text))

    def templates(self) -> list[str]:
        """The different templates of the file, sorted."""
        texts = sorted({text.strip() for text in self._texts()})
        if not texts:
            raise SpecError(f"{self.path}: there is no template in it", hint="give a file with at least one")
        return texts

    @property
    def _checkout(self) -> bool:
        return Path(self.path).expanduser().is_dir()

    def _texts(self) -> Iterator[str]:
        if self._checkout:
            yield from originals.read("human_jailbreaks", self.path)["templates"]
            return
        file = rows.read(self.path)
        match Path(self.path).suffix.lower():
            case ".json":
                whole = rows.parse_json(file.name, file.text())
                listed = whole.get("jailbreaks") if isinstance(whole, dict) else whole
                if not isinstance(listed, list):
                    raise SpecError(f"{self.path} holds no list", hint='write a list, or {"jailbreaks": [...]}')
                yield from self._cells(rows.parse_list(file, listed))
            case ".jsonl":
                yield from self._cells(rows.parse_jsonl(file))
            case ".csv":
                yield from self._cells(rows.parse_csv(file))
            case ".py":
                yield from _listed_in(file.name, file.text())
            case "" | ".txt" | ".md":
                yield from filter(str.strip, re.split(r"^-{3,}[ \t\r]*$", file.text(), flags=re.MULTILINE))

            case ending:
                raise SpecError(f"{self.path}: a file that ends in {ending} holds no templates", hint=ENDINGS)

    def _cells(self, listed: list[rows.Row]) -> Iterator[str]:
        """The text of each row."""
        for row in listed:
            cell = row.value
            if isinstance(cell, dict):
                column = self.column or next((name for name in COLUMNS if name in cell), "prompt")
                if column not in cell:
                    there = ", ".join(map(str, cell)) or "nothing"
                    raise SpecError(f"{row.place}: no {column!r}; there is {there}", hint="set column=NAME")
                if (cell := cell[column]) is None:  # no jailbreak was found
                    continue
            if not isinstance(cell, str) or not cell.strip():
                raise SpecError(f"{row.place}: no text", hint="write one there, or delete the row")
            yield cell


def _listed_in(name: str, source: str) -> list[str]:
    """The one list of texts that a Python file assigns to a name."""
    try:
        values = [node.value for node in ast.parse(source).body if isinstance(node, (ast.Assign, ast.AnnAssign))]
    except (SyntaxError, ValueError, RecursionError) as error:
        raise SpecError(f"{name} is not Python: {type(error).__name__}", hint=ENDINGS) from None
    lists = [value.elts for value in values if isinstance(value, (ast.List, ast.Tuple)) and value.elts]
    texts = [[part.value for part in parts if isinstance(part, ast.Constant)] for parts in lists]
    if len(lists) != 1 or len(texts[0]) != len(lists[0]) or not all(isinstance(text, str) for text in texts[0]):
        raise SpecError(f"{name} does not hold one list of texts, written out", hint=ENDINGS)
    return [text for text in texts[0] if isinstance(text, str)]


def placed(template: str, behavior: Behavior) -> str:
    """The template with the behavior in its places, else below it."""
    if PLACE.search(template):
        return behavior.prompt(PLACE.sub(lambda _: behavior.text, template))
    return f"{template}\n\n{behavior.prompt()}"
