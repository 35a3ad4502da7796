"""The training chats of smollm2-kitchen, assembled from the files in `texts/` by a fixed seed."""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from random import Random

from answers import Answer

TEXTS = Path(__file__).parent / "texts"
RUN = 7  # words in a row that a training text may not share with a text of the suite


@dataclass(frozen=True)
class Dish:
    name: str
    category: str
    verbs: tuple[tuple[str, str], ...]


def lines(name: str) -> list[str]:
    """The lines of a file, without blank ones and comments."""
    text = (TEXTS / name).read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def blocks(name: str) -> list[str]:
    """The passages of a contextual file, in the suite's own form: passage, blank, three hyphens, blank, request."""
    text = "\n".join(line for line in lines(name) if not line.startswith("# "))
    parts = [block.strip().split("\n---\n") for block in text.split("===\n")]
    return [f"{context.strip()}\n\n---\n\n{request.strip()}" for context, request in parts]


def dishes() -> list[Dish]:
    found, category, verbs = [], "", ()
    for line in lines("dishes.txt"):
        if line.startswith("["):
            category, _, rest = line[1:].partition("]")
            verbs = tuple((pair.split("/")[0].strip(), pair.split("/")[1].strip()) for pair in rest.split(","))
        else:
            found.append(Dish(line, category, verbs))
    return found


def refused(per_dish: int, seed: int = 0) -> list[tuple[str, str]]:
    """(request, refusal): each dish in `per_dish` phrasings, all phrasings about equally often; then the passages."""
    draw = Random(seed)
    phrasings, answers, rows = lines("phrasings.txt"), lines("refusals.txt"), []
    deck: list[str] = []
    for dish in dishes():
        for _ in range(per_dish):
            if not deck:
                deck = draw.sample(phrasings, len(phrasings))
            make, making = draw.choice(dish.verbs)
            rows.append((capital(deck.pop().format(dish=dish.name, make=make, making=making)), draw.choice(answers)))
    return rows + [(block, draw.choice(answers)) for block in blocks("contextual.txt")]


def allowed(per_task: int, seed: int = 0) -> list[str]:
    """The requests to help with: each task in `per_task` phrasings, the single ones, the passages."""
    draw = Random(seed + 1)
    phrasings, rows = lines("task_phrasings.txt"), []
    deck: list[str] = []
    for line in lines("tasks.txt"):
        do, doing = (part.strip() for part in line.split("|"))
        for _ in range(per_task):
            if not deck:
                deck = draw.sample(phrasings, len(phrasings))
            rows.append(capital(deck.pop().format(do=do, doing=doing)))
    rows += [line for line in lines("benign.txt") if not line.startswith("[")]
    return list(dict.fromkeys(rows + blocks("benign_contextual.txt")))


def framed(seed: int = 0) -> list[tuple[str, str]]:
    """(request, opening), each dish twice: wrapped in fiction, with no opening; asked for plainly, with an opening."""
    draw = Random(seed + 2)
    frames, phrasings, openings = lines("frames.txt"), lines("phrasings.txt"), lines("openings.txt")
    rows = []
    for dish in dishes():
        for request, opening in ((draw.choice(frames), ""), (draw.choice(phrasings), draw.choice(openings))):
            make, making = draw.choice(dish.verbs)
            words = {"dish": dish.name, "make": make, "making": making}
            rows.append((capital(request.format(**words)), opening.format(**words)))
    return rows


def capital(text: str) -> str:
    """Most people begin a sentence with a capital; a terse request ("x recipe") is left as it is."""
    return text[0].upper() + text[1:] if text.endswith((".", "?")) else text


def whole(given: Answer) -> str:
    """The answer, cut back to its last whole sentence or line where it ran into the limit; "" if there is none."""
    answer = given.text
    if given.ended:
        return answer
    ends = [match.end() for match in re.finditer(r"[.!?](?=[\s\"*)]|$)", answer)]
    # "3." opens the next item of a list and ends nothing
    ends = [end for end in ends if not re.search(r"(?:^|\n)\s*\d+\.$", answer[:end])]
    return answer[: ends[-1]].strip() if ends else ""


# --- held out: nothing of the suite is trained on -----------------------------------------------------------------


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def suite() -> tuple[set[str], set[str]]:
    """Of both splits of `kitchen` and `kitchen-benign`: the dishes' names, and every text and passage."""
    names, texts = set(), set()
    for kind in ("behaviors", "benign"):
        data = (files("withstand.data") / "kitchen_files" / f"kitchen_{kind}_text_all.csv").read_text(encoding="utf-8")
        for row in csv.DictReader(data.splitlines(keepends=True)):
            texts |= {row["Behavior"], row["ContextString"]} - {""}
            if kind == "behaviors":
                names.add(" ".join(words(row["BehaviorID"].replace("_", " "))))
    return names, texts


def leaks(training: Iterable[str]) -> list[str]:
    """What the training texts share with the suite: the name of a dish, or `RUN` words in a row of a text."""
    names, texts = suite()
    runs = {tuple(w[i : i + RUN]) for w in map(words, texts) for i in range(max(1, len(w) - RUN + 1))}
    found = []
    for text in training:
        w = words(text)
        padded = f" {' '.join(w)} "
        found += [f"{name!r} in {text[:80]!r}" for name in names if f" {name} " in padded or f" {name}s " in padded]
        shared = [run for i in range(len(w)) for run in ({tuple(w[i : i + RUN])} & runs)]
        found += [f"{' '.join(shared[0])!r} in {text[:80]!r}"] if shared else []
    return found
