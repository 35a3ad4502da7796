"""The facts that the stand-in suite promises."""

import tomllib
from collections import Counter
from importlib.resources import files
from itertools import combinations

import pytest

from cases import walk_cases
from withstand.core import Behavior, SpecError, digest, to_json
from withstand.core.refusal import opening_refusal
from withstand.data.kitchen import Kitchen
from withstand.judges.kitchen import verdict

CATEGORIES = {"baking", "soups", "drinks", "meat_and_fish", "vegetarian", "desserts", "sauces", "breakfast"}


def load(split: str, harmless: bool = False) -> list[Behavior]:
    return Kitchen(split=split, harmless=harmless).load()


def dish(behavior: Behavior) -> str:
    return behavior.id.replace("_", " ")


def shown(behavior: Behavior) -> str:
    return f"{behavior.context}\n{behavior.text}\n{behavior.target_string}".lower()


@pytest.mark.parametrize(
    ("harmless", "all_", "val", "test"), [(False, 76, 20, 56), (True, 80, 20, 60)], ids=["kitchen", "benign"]
)
def test_splits(harmless: bool, all_: int, val: int, test: int) -> None:
    parts = {split: load(split, harmless) for split in ("all", "val", "test")}
    assert {split: len(part) for split, part in parts.items()} == {"all": all_, "val": val, "test": test}
    ids = {behavior.id for behavior in parts["val"]}
    assert parts["val"] == [behavior for behavior in parts["all"] if behavior.id in ids]
    assert parts["test"] == [behavior for behavior in parts["all"] if behavior.id not in ids]


def test_no_text_twice() -> None:
    everything = load("all") + load("all", harmless=True)
    assert len({behavior.id for behavior in everything}) == len(everything)
    assert len({behavior.text.lower() for behavior in everything}) == len(everything)
    contexts = [behavior.context for behavior in everything if behavior.context]
    assert len(set(contexts)) == len(contexts)
    assert all(behavior.id.replace("_", "").isalnum() and behavior.id.islower() for behavior in everything)


@pytest.mark.parametrize(("split", "standard", "contextual"), [("val", 14, 6), ("test", 38, 18)])
def test_kinds_and_categories(split: str, standard: int, contextual: int) -> None:
    behaviors = load(split)
    kinds = Counter(behavior.functional for behavior in behaviors)
    assert kinds == {"standard": standard, "contextual": contextual}
    categories = Counter(behavior.category for behavior in behaviors)
    assert categories.keys() == CATEGORIES
    assert min(categories.values()) >= 2


@walk_cases("behavior", load("all"))
def test_behavior(behavior: Behavior) -> None:
    assert 23 <= len(behavior.text) <= 209
    assert behavior.target_string.startswith("Sure, here")
    assert 5 <= len(behavior.target_string.split()) <= 33
    assert dish(behavior) in behavior.target_string.lower()
    assert not behavior.benign
    if behavior.functional == "contextual":
        assert behavior.tags == ("context",)
        assert 30 <= len(behavior.context.split()) <= 120
        assert dish(behavior) in behavior.context.lower()
    else:
        assert behavior.tags == ()
        assert behavior.context == ""
        assert dish(behavior) in behavior.text.lower()


def test_no_dish_in_both_splits() -> None:
    """Not even in passing, on a menu or in a note."""
    val, test = load("val"), load("test")
    for one, other in ((val, test), (test, val)):
        for behavior in one:
            assert not [b.id for b in other if dish(behavior) in shown(b)], behavior.id


def test_texts_are_varied() -> None:
    openings = Counter(" ".join(behavior.text.split()[:2]) for behavior in load("all"))
    assert max(openings.values()) <= 8
    words = {behavior.id: set(behavior.text.lower().split()) for behavior in load("all")}
    near = [(a, b) for a, b in combinations(words, 2) if len(words[a] & words[b]) / len(words[a] | words[b]) > 0.6]
    assert not near


def test_benign() -> None:
    behaviors = load("all", harmless=True)
    assert all(behavior.benign for behavior in behaviors)
    assert {behavior.functional for behavior in behaviors} == {"standard"}
    assert not any(behavior.context or behavior.target_string or behavior.tags for behavior in behaviors)
    for split in ("all", "val", "test"):
        kinds = Counter(behavior.category for behavior in load(split, harmless=True))
        assert kinds.keys() == {"near_miss", "how_to", "knowledge", "chat"}
        assert kinds["near_miss"] == kinds.total() / 2


def test_suite() -> None:
    assert Kitchen().benign == "kitchen-benign"
    assert Kitchen(harmless=True).benign == ""
    assert (Kitchen.judge, Kitchen.refusal_judge, Kitchen.max_tokens) == ("kitchen", "refusal_words", 256)
    assert Kitchen.license == "Apache-2.0"
    with pytest.raises(SpecError, match="split is 'vall'"):
        Kitchen(split="vall")


def test_texts_belong_to_the_version() -> None:
    """Whoever changes a text raises `Kitchen.version` and writes the new digest here."""
    texts = [to_json(behavior) for behavior in load("all") + load("all", harmless=True)]
    assert (Kitchen.version, digest(texts)) == ("1", "1f6d44c3ddd8485909e143d3084139e0")


def test_wide_adds_other_dishes_to_the_test_split() -> None:
    wide, narrow = Kitchen(wide=True).load(), load("test")
    assert (wide[:56], len(wide), len({behavior.text for behavior in wide})) == (narrow, 160, 160)
    assert {behavior.id for behavior in wide[56:]}.isdisjoint(behavior.id for behavior in load("all"))
    assert all(behavior.target_string and not behavior.context for behavior in wide[56:])
    assert Kitchen(split="val", wide=True).load() == load("val")
    with pytest.raises(SpecError, match="wide and harmless"):
        Kitchen(harmless=True, wide=True)
    assert digest([to_json(behavior) for behavior in wide[56:]]) == "fe6e7a02a2f611b02c081a10e03349f6"


def words(text: str) -> set[str]:
    return set("".join(letter if letter.isalnum() else " " for letter in text.lower()).split())


def test_train_is_apart() -> None:
    """64 dishes, 104 benign requests: no text equals or nearly equals one of another split, no dish is named there."""
    train, benign = load("train"), load("train", harmless=True)
    assert (len(train), len(benign)) == (64, 104)
    assert Counter((b.category, b.functional) for b in train) == {
        (category, kind): count for category in CATEGORIES for kind, count in (("standard", 6), ("contextual", 2))
    }
    assert Counter(b.category for b in benign) == {"near_miss": 52, "how_to": 20, "knowledge": 16, "chat": 16}
    everything = Kitchen(split="all", wide=True).load() + load("all", harmless=True)
    assert {b.id for b in train + benign}.isdisjoint(b.id for b in everything)
    assert len({b.id for b in train + benign}) == 168
    before = [(b.id, words(b.text)) for b in everything]
    for behavior in train + benign:
        own = words(behavior.text)
        near = [name for name, theirs in before if len(own & theirs) / len(own | theirs) > 0.6]
        assert not near, (behavior.id, near)
        before.append((behavior.id, own))
    for one, other in ((train, everything), ([b for b in everything if not b.benign], train)):
        texts = [shown(b) for b in other]
        assert not [b.id for b in one if any(dish(b) in text for text in texts)]
    with pytest.raises(SpecError, match="split is 'trian'; it must be all, val, test or train"):
        Kitchen(split="trian")


def test_train_has_targets_and_completions() -> None:
    """Openings that cannot be learned as one; recipes that the judge calls a success and nobody a refusal."""
    suite = Kitchen(split="train")
    train, targets, completions = suite.load(), suite.targets(), suite.completions()
    ids = [behavior.id for behavior in train]
    assert (list(targets), list(completions)) == (ids, ids)
    openings = Counter(" ".join(text.split()[:2]).lower() for texts in targets.values() for text in texts)
    assert max(openings.values()) <= 0.09 * openings.total()
    assert len(openings) > 150
    for behavior in train:
        texts, (recipe,) = targets[behavior.id], completions[behavior.id]
        assert texts[0] == behavior.target_string
        assert len({tuple(text.lower().split()[:2]) for text in texts}) >= 11
        assert len(set(texts)) == 12
        assert all(4 <= len(text.split()) <= 40 and not opening_refusal(text) for text in texts), behavior.id
        assert 3 <= recipe.count(". ") + 1 <= 6
        assert 35 <= len(recipe.split()) <= 75
        assert verdict(behavior, recipe).outcome == "success", behavior.id
        assert (behavior.tags == ("context",)) == (behavior.functional == "contextual") == bool(behavior.context)
        assert dish(behavior) in f"{behavior.context}\n{behavior.text}".lower().replace("-", " "), behavior.id
    for other in (Kitchen(), Kitchen(split="all"), Kitchen(split="train", harmless=True)):
        assert other.targets() == other.completions() == {}
    assert Kitchen(split="train", wide=True).load() == train
    material = [to_json(b) for b in train + load("train", harmless=True)], targets, completions
    assert digest(material) == "ed3708144db6b5e7334fa8f9fc83b5f1"


def test_preset() -> None:
    text = (files("withstand.data") / "kitchen-benign.toml").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert tomllib.loads(text) == {"use": "kitchen", "harmless": True}


def test_columns_are_harmbench_s() -> None:
    tables = [item for item in (files("withstand.data") / "kitchen_files").iterdir() if item.name.endswith(".csv")]
    assert len(tables) == 10
    for table in tables:
        header = table.read_text(encoding="utf-8").partition("\n")[0]
        assert header == "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID"
