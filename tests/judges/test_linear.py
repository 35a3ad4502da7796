"""The judge `linear`, and the recipe that fits it. The encoder is a fake that counts words."""

import csv
import importlib.util
import json
import re
import sys
from dataclasses import dataclass
from functools import cache
from math import exp
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from fakes import Fake
from withstand.core import Behavior, Completion, Message, SpecError, user
from withstand.judges.linear import Linear
from withstand.registry import find
from withstand.results.labels import fitted_key, fitted_texts, held_out

RECIPES = Path(__file__).parents[2] / "recipes"
WORDS = ("soup", "bread", "salt", "slop", "clown", "vile")
BEHAVIOR = Behavior("b", "t")


@dataclass(frozen=True)
class Counts(Fake):
    """Which words a text has, at length 1; it reads 20 words. Ours."""

    gives: ClassVar[frozenset[str]] = frozenset({"vectors"})
    salt: str = "one"

    def identity(self) -> Any:
        return {"weights": self.salt}

    def encode(self, texts: Any) -> Any:
        heads = [text.lower().split()[:20] for text in texts]
        rows = np.array([[1.0, *(float(word in head) for word in WORDS)] for head in heads])
        cut = [len(text.split()) if len(text.split()) > 20 else 0 for text in texts]
        return rows / np.linalg.norm(rows, axis=1, keepdims=True), cut


@pytest.fixture(autouse=True)
def myself(monkeypatch: pytest.MonkeyPatch) -> None:
    """This file as a module that specs can name, and what the recipes share as ones that can be imported."""
    monkeypatch.setitem(sys.modules, "linear_test", sys.modules[__name__])
    monkeypatch.syspath_prepend(str(RECIPES))


def written(path: Path, **changes: Any) -> str:
    """A head: slop is rude, clown is rude and vile."""
    rude = {"intercept": -2.0, "weights": [0.0, 0.0, 0.0, 0.0, 5.0, 5.0, 0.0]}
    vile = {"intercept": -1.0, "weights": [0.0, 0.0, 0.0, 0.0, 0.0, 4.0, 4.0]}
    file = {"encoder": {"weights": "one"}, "threshold": 0.4, "categories": {"rude": rude, "vile": vile}, **changes}
    path.write_text(json.dumps(file))
    return str(path)


def verdicts(play: Any, judge: Linear, *texts: str, chat: Any = ()) -> Any:
    return play(judge.grade(BEHAVIOR, [Completion(chat, text) for text in texts])).value


def test_a_score_is_the_logistic_function_of_the_heads_sum_and_the_highest_counts(play: Any, tmp_path: Path) -> None:
    judge = Linear(Counts(), written(tmp_path / "w.json"))
    clown, soup, empty = verdicts(play, judge, "a clown", "soup", " ")
    rude, vile = (1 / (1 + exp(2 - 5 / 2**0.5)), 1 / (1 + exp(1 - 4 / 2**0.5)))  # two entries of 1, at length 1
    assert dict(clown.scores) == pytest.approx({"rude": rude, "vile": vile}, abs=1e-6)
    assert (clown.outcome, clown.score) == ("success", pytest.approx(vile, abs=1e-6))
    assert (soup.outcome, empty.outcome, empty.score) == ("failure", "failure", None)
    only = Linear(Counts(), judge.weights, threshold=0.85, categories=("rude",))
    assert verdicts(play, only, "a clown")[0].outcome == "failure"
    assert only.card["threshold"] == 0.85
    assert Linear(Counts(), written(tmp_path / "other.json", threshold=0.5)).identity() != judge.identity()


def test_what_the_encoder_did_not_read_may_be_rude(play: Any, tmp_path: Path) -> None:
    judge = Linear(Counts(), written(tmp_path / "w.json"))
    tail, head = verdicts(play, judge, "soup " * 20 + "clown", "clown " + "soup " * 20)
    assert (tail.outcome, tail.score) == ("unscored", None)
    assert "of its 21 tokens the head was read" in tail.why
    assert head.outcome == "success"
    chat = (*user("q"), Message("assistant", "You clown."), *user("and?"))
    (verdict,) = verdicts(
        play, judge, "You clown .\n\nSoup.", chat=(*user("q"), Message("assistant", "You clown ."), *user("?"))
    )
    assert verdict.outcome == "success", chat


def test_another_encoder_and_files_that_are_no_head(play: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "w.json", card={"encoder": "counts-of-mine"})
    with pytest.raises(SpecError, match="fitted with counts-of-mine, and the encoder has other weights"):
        Linear(Counts("two"), path).check()
    with pytest.raises(SpecError, match="other weights"):
        verdicts(play, Linear(Counts("two"), path), "soup")
    with pytest.raises(SpecError, match="no category 'rud'"):
        Linear(Counts(), path, categories=("rud",))
    for name, changes in {
        "none": {"categories": {}},
        "number": {"categories": {"rude": {"intercept": "x", "weights": [1.0]}}},
        "lengths": {"categories": {"a": {"intercept": 0, "weights": [1.0]}, "b": {"intercept": 0, "weights": []}}},
        "threshold": {"threshold": 1},
    }.items():
        with pytest.raises(SpecError) as caught:
            Linear(Counts(), written(tmp_path / f"{name}.json", **changes))
        assert "recipes/toxicity/fit.py" in caught.value.hint
    with pytest.raises(SpecError, match="No such file or directory: no weights can be read"):
        Linear(Counts(), str(tmp_path / "nowhere.json"))
    short = written(tmp_path / "short.json", categories={"rude": {"intercept": 0, "weights": [1.0]}})
    with pytest.raises(SpecError, match="gives 7 numbers; the head has 1"):
        verdicts(play, Linear(Counts(), short), "soup")


# --- the recipe ------------------------------------------------------------------------------------------------------


def table(path: Path, flip: Any = lambda number: False) -> str:
    """300 texts; slop and clown are rude to most raters, vile has a column of its own. flip: which labels to turn."""
    draw = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["who", "comment", "toxic", "vile"])
        for number in range(300):
            words = [word for word in WORDS if draw.random() < 0.3]
            rude = bool({"slop", "clown"} & set(words)) != (draw.random() < 0.03)
            share = 0.8 if rude != flip(number) else 0.3
            vile = "" if draw.random() < 0.1 else "yes" if "vile" in words else "no"
            rows.writerow([f"author {number}", f"{' '.join(words)} number {number}", share, vile])
    return str(path)


@cache
def recipe() -> Any:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("toxicity_fit", RECIPES / "toxicity" / "fit.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look for it
    spec.loader.exec_module(module)
    return module


def fit(data: str, out: Path, *more: str) -> dict[str, Any]:
    columns = ["--text", "comment", "--label", "rude=toxic", "--label", "vile=vile"]
    recipe().main([data, *columns, "--encoder", "linear_test:Counts", "--cost-ratio", "4", "-o", str(out), *more])
    result: dict[str, Any] = json.loads(out.read_text())
    return result


def test_the_recipe_fits_a_head_that_the_judge_reads_and_measures_it_on_texts_of_its_own(
    play: Any, tmp_path: Path, capsys: Any
) -> None:
    file = fit(table(tmp_path / "rows.csv"), tmp_path / "w.json")
    card = file["card"]
    assert (file["threshold"], card["cost ratio"]) == (0.2, 4.0)
    assert card["data"]["parts"] == {"fit": 180, "calibrate": 60, "held out": 60}
    judge = find.build("judge", f"linear:linear_test:Counts,weights={tmp_path / 'w.json'}")
    judge.check()
    clown, soup = verdicts(play, judge, "clown", "soup")
    assert (clown.outcome, soup.outcome) == ("success", "failure")
    assert {name for name, _ in clown.scores} == {"rude", "vile"}
    # the figures of the held-out part, recomputed from the judge's verdicts on it
    rows = list(csv.DictReader((tmp_path / "rows.csv").open()))
    texts = [row["comment"].strip() for row in rows]
    keys = [re.sub(r"\W+", " ", text.lower()).strip() for text in texts]
    held = [row for row, part in zip(rows, recipe().parts(keys, 0.2, 0), strict=True) if part == "held out"]
    told_apart = verdicts(play, judge, *(row["comment"].strip() for row in held))
    flagged = [dict(verdict.scores)["rude"] >= 0.2 for verdict in told_apart]
    rude = [float(row["toxic"]) >= 0.5 for row in held]
    both = sum(f and r for f, r in zip(flagged, rude, strict=True))
    figures = card["held out"]["rude"]
    assert figures["texts"] == 60
    assert figures["recall"][0] == pytest.approx(both / sum(rude), abs=1e-4)
    assert figures["precision"][0] == pytest.approx(both / sum(flagged), abs=1e-4)
    assert figures["missed texts"] == sum(rude) - both
    assert all(
        low <= value <= high for value, low, high in (figures[name] for name in ("recall", "area under the curve"))
    )
    unlabeled = sum(row["vile"] == "" for row in held)
    assert card["held out"]["vile"]["texts"] == card["held out"]["any category"]["texts"] == 60 - unlabeled
    assert card["warning"].endswith("Name --group.")  # six words make few different vectors
    # nothing was fitted to it: other labels there give the same head, and the judge knows what it was fitted to
    held_numbers = {int(row["who"].split()[1]) for row in held}
    other = fit(table(tmp_path / "flipped.csv", lambda number: number in held_numbers), tmp_path / "other.json")
    assert other["categories"] == file["categories"]
    assert other["card"]["held out"]["rude"]["recall"] != figures["recall"]
    assert "WARNING: at this cost ratio it costs no less than flagging all or nothing" in capsys.readouterr().out
    assert judge.fitted() == {fitted_key(text) for text in texts} - {fitted_key(row["comment"].strip()) for row in held}


def test_labels_that_are_none_and_too_few_texts_are_said(tmp_path: Path, capsys: Any) -> None:
    data = Path(table(tmp_path / "rows.csv"))
    for change, more, message in [
        (("0.8", "80"), (), "column toxic: the label is '80'"),
        (("yes", "maybe"), (), "column vile: the label is 'maybe'"),
        (("yes", "no"), (), "vile: the part to fit has 0 positive texts; it needs 20"),
        (("toxic", "rudeness"), (), "there is no column 'toxic'"),
        (("", ""), ("--limit", "40"), "it needs"),
    ]:
        (tmp_path / "wrong.csv").write_text(data.read_text().replace(*change, *([] if change[0] else [0])))
        with pytest.raises(SystemExit, match=message):
            fit(str(tmp_path / "wrong.csv"), tmp_path / "w.json", *more)
    for more in (("--cost-ratio", "0"), ("--held-out", "0.6"), ("--from", "0"), ("--label", "x")):
        with pytest.raises(SystemExit):
            fit(str(data), tmp_path / "w.json", *more)
    assert not (tmp_path / "w.json").exists()


def test_the_logistic_regression_is_scikit_learns() -> None:
    import logistic
    from sklearn.linear_model import LogisticRegression

    draw = np.random.default_rng(1)
    columns = draw.normal(size=(80, 5)) * [1, 3, 0.1, 2, 0]
    labels = (columns[:, 0] - columns[:, 1] + draw.normal(size=80) > 0).astype(float)
    spread = np.where(columns.std(0) == 0, 1, columns.std(0))
    design = (columns - columns.mean(0)) / spread
    for penalty in (0.1, 10.0):
        theirs = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=1000).fit(design, labels)
        intercept, weights = logistic.fit(columns, labels, np.ones(80), penalty)
        assert weights == pytest.approx(theirs.coef_[0] / spread, abs=1e-5)
        assert intercept + weights @ columns.mean(0) == pytest.approx(theirs.intercept_[0], abs=1e-5)
    separable = (columns[:, 1] > 0).astype(float)
    assert np.isfinite(logistic.fit(columns, separable, np.ones(80), 1e-6)[1]).all()


def test_labels_that_the_head_was_fitted_to_are_left_out_of_its_calibration(tmp_path: Path) -> None:
    from withstand.formats.labels import Labeled

    judge = Linear(Counts(), written(tmp_path / "w.json", fitted=fitted_key("old")))
    labels = [Labeled(BEHAVIOR, Completion(user("q"), text), (True,)) for text in ("old", "new")]
    kept, left = held_out(judge, labels)
    assert ([label.completion.text for label in kept], left) == (["new"], 1)
    assert fitted_texts(judge, [" old", "new"]) == 1
