"""The local classifier, on tiny random BERT and RoBERTa of the real classes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra `local`")
pytest.importorskip("transformers", reason="needs the extra `local`")

import tiny_classifier
from withstand.core import Behavior, Completion, Sampling, SpecError, user
from withstand.judges.scorer import Scorer
from withstand.models.classifier import Classifier
from withstand.registry import find

LABELS = ("rude", "loud", "stale")
TEXTS = ["soup", "what a soup", "a", "bread and salt " * 9, "", "half \ud83d"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Classifiers by how their outputs are read."""
    home = tmp_path_factory.mktemp("classifiers")
    kinds: dict[str, Any] = {
        "sigmoid": (LABELS, "multi_label_classification"),
        "softmax": (("plain", "rude", "vile"), "single_label_classification", "roberta"),
        "single": (("rude",), None),
        "silent": (LABELS, None),
        "regression": (("rude",), "regression"),
        "unnamed": (("LABEL_0", "LABEL_1"), "multi_label_classification"),
    }
    return {name: str(tiny_classifier.save(home / name, *given)) for name, given in kinds.items()}


def scores(model: Classifier, texts: list[str]) -> list[Any]:
    chats = [user(text) for text in texts]
    return [json.loads(answer.text) for answer in model.generate(chats, Sampling(), range(len(chats)))]


def outputs(folder: str, ids: list[int]) -> Any:
    """The outputs for token ids, alone, by transformers itself."""
    import torch
    from transformers import AutoModelForSequenceClassification

    with torch.no_grad():
        return AutoModelForSequenceClassification.from_pretrained(folder)(torch.tensor([ids])).logits[0]


def ids_of(text: str) -> list[int]:
    """One token a letter, by hand; the first letter of a word has no mark."""
    pieces = [("" if at == 0 else "##") + letter for word in text.split() for at, letter in enumerate(word)]
    return [tiny_classifier.WORDS.index(piece) for piece in pieces]


def test_scores_are_those_of_the_text_alone_by_the_function_of_the_configuration(folders: dict[str, str]) -> None:
    for name, fields in (("sigmoid", {}), ("softmax", {"counts": ("vile", "rude")}), ("single", {})):
        model = Classifier(folders[name], width=4, device="cpu", **fields)
        model.check()
        rows = scores(model, TEXTS)
        for row, text in zip(rows, TEXTS, strict=True):
            assert row["scores"] == pytest.approx(scores(model, [text])[0]["scores"], abs=2e-6)
        logits = outputs(folders[name], [1, *ids_of("what a soup"), 2])
        if name == "softmax":
            share = logits.softmax(-1).tolist()
            assert rows[1]["scores"] == pytest.approx({"vile": share[2], "rude": share[1]}, abs=1e-5)
            assert rows[1]["score"] == pytest.approx(share[1] + share[2], abs=1e-5)
        else:
            names = LABELS if name == "sigmoid" else ("rude",)
            assert rows[1] == {
                "scores": pytest.approx(dict(zip(names, logits.sigmoid().tolist(), strict=True)), abs=1e-5)
            }


def test_a_long_text_is_read_to_its_end_in_windows(folders: dict[str, str]) -> None:
    """What is rude behind the first window must not look harmless."""
    ids = ids_of(TEXTS[3])
    for name in ("sigmoid", "softmax"):
        fields = {"counts": ("vile",)} if name == "softmax" else {}
        inside, step = 16 - 2, 16 - 2 - 16 // 4
        starts = range(0, max(1, len(ids) - (inside - step)), step)
        windows = [[1, *ids[start : start + inside], 2] for start in starts]
        function = "softmax" if name == "softmax" else "sigmoid"
        logits = [outputs(folders[name], window) for window in windows]
        each = [(row.softmax(-1) if function == "softmax" else row.sigmoid()).tolist() for row in logits]
        (row,) = scores(Classifier(folders[name], **fields), [TEXTS[3]])
        place = 2
        label = "vile" if name == "softmax" else "stale"
        assert len(windows) > 3
        assert row["scores"][label] == pytest.approx(max(shares[place] for shares in each), abs=1e-5)
        assert max(shares[place] for shares in each) > each[0][place] + 1e-4  # the first window alone would say less


def test_what_its_outputs_mean_is_never_guessed(folders: dict[str, str], tmp_path: Path) -> None:
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("softmax", {}, "exclude each other, and counts is not given"),
        ("softmax", {"counts": ("plain", "rude", "vile")}, "counts has all labels"),
        ("softmax", {"counts": ("rood",)}, "no label 'rood'"),
        ("silent", {}, "says no problem type"),
        ("regression", {}, "has the problem type 'regression'"),
        ("unnamed", {}, "does not say what LABEL_0, LABEL_1 mean"),
        ("sigmoid", {"labels": ("a", "b")}, "labels has 2 names; .* has 3 outputs"),
    ]
    for name, fields, message in wrong:
        with pytest.raises(SpecError, match=message):
            Classifier(folders[name], **fields).check()
    Classifier(folders["silent"], function="sigmoid").check()
    Classifier(folders["unnamed"], labels=("rude", "loud")).check()
    for fields in ({"width": 0}, {"dtype": "int8"}, {"function": "max"}, {"labels": ("a", "a")}):
        with pytest.raises(SpecError):
            Classifier("x", **fields)


def test_a_tokenizer_that_would_drop_the_rest_of_a_long_text_is_refused(
    folders: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import PreTrainedTokenizerFast

    monkeypatch.setattr(PreTrainedTokenizerFast, "is_fast", False)
    shutil.copytree(folders["sigmoid"], tmp_path / "slow")
    with pytest.raises(SpecError, match="slow tokenizer"):
        scores(Classifier(str(tmp_path / "slow")), ["soup"])


def test_a_model_without_a_trained_head_is_refused(folders: dict[str, str], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    bare, beheaded = tmp_path / "bare", tmp_path / "beheaded"
    for folder in (bare, beheaded):
        shutil.copytree(folders["sigmoid"], folder)
    config = json.loads((bare / "config.json").read_text()) | {"architectures": ["BertModel"]}
    (bare / "config.json").write_text(json.dumps(config))
    with pytest.raises(SpecError, match="no sequence classifier \\(BertModel\\)"):
        Classifier(str(bare)).check()
    weights = {
        name: value for name, value in load_file(beheaded / "model.safetensors").items() if "classifier" not in name
    }
    save_file(weights, beheaded / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SpecError, match="lack classifier"):
        scores(Classifier(str(beheaded)), ["soup"])


def test_it_scores_through_the_judge_and_weights_are_its_identity(play: Any, folders: dict[str, str]) -> None:
    judge = find.build("judge", f'scorer:classifier:{folders["softmax"]},model.counts=["vile"],threshold=0.01')
    assert isinstance(judge, Scorer)
    (verdict,) = play(judge.grade(Behavior("b", "t"), [Completion(user("q"), "what a soup")])).value
    assert (verdict.outcome, verdict.scores) == ("success", (("vile", verdict.score),))
    assert judge.model.identity()["weights"] != Classifier(folders["sigmoid"]).identity()["weights"]
