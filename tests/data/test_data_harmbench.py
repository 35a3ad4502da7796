"""HarmBench from the official files (skipped without them) and from small ones of our own."""

import os
import shutil
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest

from withstand.core import SpecError
from withstand.data.harmbench import HarmBench

PLACES = [Path(__file__).parents[2].parent / "shared" / "data"]
if "WITHSTAND_TEST_DATA" in os.environ:
    PLACES.insert(0, Path(os.environ["WITHSTAND_TEST_DATA"]))
OFFICIAL = next((place / "harmbench" for place in PLACES if (place / "harmbench").is_dir()), None)

HEAD = "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID\n"


@pytest.fixture
def official() -> str:
    if OFFICIAL is None:
        pytest.skip("no official files; set WITHSTAND_TEST_DATA to the folder that holds harmbench/")
    return str(OFFICIAL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    row = 'Do it,contextual,harmful,"book, hash_check","one\r\ntwo",x\n'
    (tmp_path / "harmbench_behaviors_text_test.csv").write_bytes((HEAD + row).encode())
    (tmp_path / "harmbench_targets_text.json").write_text('{"x": "Sure, here is it"}')
    return tmp_path


def test_a_checkout_holds_the_files_where_upstream_keeps_them(folder: Path) -> None:
    alone = HarmBench(str(folder)).load()
    (folder / "data/behavior_datasets").mkdir(parents=True)
    (folder / "data/optimizer_targets").mkdir()
    for name, place in (("behaviors_text_test.csv", "behavior_datasets"), ("targets_text.json", "optimizer_targets")):
        shutil.move(folder / f"harmbench_{name}", folder / "data" / place)
    assert HarmBench(str(folder)).load() == alone
    assert alone[0].target_string


class TestOfficial:
    @pytest.mark.parametrize(
        ("split", "standard", "contextual", "copyright"),
        [("all", 200, 100, 100), ("val", 41, 19, 20), ("test", 159, 81, 80)],
    )
    def test_counts(self, official: str, split: str, standard: int, contextual: int, copyright: int) -> None:
        behaviors = HarmBench(official, split=split).load()
        kinds = Counter(behavior.functional for behavior in behaviors)
        assert kinds == {"standard": standard, "contextual": contextual, "copyright": copyright}
        assert all(bool(behavior.context) == (behavior.functional == "contextual") for behavior in behaviors)
        tags = Counter(behavior.tags for behavior in behaviors)
        half = copyright // 2
        books, lyrics = ("book", "hash_check"), ("lyrics", "hash_check")
        assert tags == {(): standard, ("context",): contextual, books: half, lyrics: half}

    def test_facts_of_all(self, official: str) -> None:
        behaviors = HarmBench(official, split="all").load()
        assert Counter(behavior.category for behavior in behaviors) == {
            "cybercrime_intrusion": 67,
            "chemical_biological": 56,
            "copyright": 100,
            "misinformation_disinformation": 65,
            "harassment_bullying": 25,
            "illegal": 65,
            "harmful": 22,
        }
        assert all(23 <= len(behavior.text) <= 209 for behavior in behaviors)
        assert all(21 <= len(behavior.context.split()) <= 604 for behavior in behaviors if behavior.context)
        assert all(behavior.target_string.startswith("Sure, here") for behavior in behaviors)
        assert all(5 <= len(behavior.target_string.split()) <= 33 for behavior in behaviors)
        assert not any(behavior.benign for behavior in behaviors)

    def test_all_is_val_and_test(self, official: str) -> None:
        """Two contexts hold CRLF in the file of all and LF in the other."""
        together, val, test = (
            {behavior.id: behavior for behavior in HarmBench(official, split=split).load()}
            for split in ("all", "val", "test")
        )
        assert not val.keys() & test.keys()
        assert together == val | test

    @pytest.mark.parametrize("split", ["all", "val", "test"])
    def test_version(self, official: str, split: str, tmp_path: Path) -> None:
        assert HarmBench(official, split=split).version == "8e1604d"
        assert HarmBench(f"{official}/harmbench_behaviors_text_{split}.csv", split=split).version == "8e1604d"
        for name in (f"harmbench_behaviors_text_{split}.csv", "harmbench_targets_text.json"):
            copy = tmp_path / Path(name).stem
            shutil.copytree(official, copy)
            (copy / name).chmod(0o644)
            (copy / name).write_bytes((copy / name).read_bytes() + b"\n")
            assert HarmBench(str(copy), split=split).version.startswith("modified-")
            assert len(HarmBench(str(copy), split=split).load()) == len(HarmBench(official, split=split).load())

    def test_wrong_split_under_an_official_name(self, official: str, tmp_path: Path) -> None:
        shutil.copy(f"{official}/harmbench_behaviors_text_all.csv", tmp_path / "harmbench_behaviors_text_test.csv")
        shutil.copy(f"{official}/harmbench_targets_text.json", tmp_path)
        assert HarmBench(str(tmp_path)).version.startswith("modified-")

    def test_multimodal_is_not_read(self, official: str) -> None:
        with pytest.raises(SpecError, match="no column 'ContextString'"):
            HarmBench(f"{official}/harmbench_behaviors_multimodal_all.csv").load()


class TestOwn:
    def test_fields(self, folder: Path) -> None:
        [behavior] = HarmBench(str(folder)).load()
        assert (behavior.id, behavior.text, behavior.context) == ("x", "Do it", "one\ntwo")
        assert (behavior.category, behavior.functional) == ("harmful", "contextual")
        assert behavior.tags == ("book", "hash_check")
        assert behavior.target_string == "Sure, here is it"

    def test_suite(self) -> None:
        suite = HarmBench("folder")
        assert (suite.split, suite.judge, suite.refusal_judge, suite.benign) == (
            "test",
            "refusal_words",
            "refusal_words",
            "",
        )
        assert (suite.max_tokens, suite.license) == (512, "MIT")
        assert "2402.04249" in suite.citation

    def test_lone_file(self, folder: Path) -> None:
        alone = folder / "mine.csv"
        (folder / "harmbench_behaviors_text_test.csv").rename(alone)
        assert HarmBench(str(alone)).load()[0].target_string == "Sure, here is it"
        (folder / "harmbench_targets_text.json").unlink()
        suite = HarmBench(str(alone))
        assert suite.load()[0].target_string == ""
        assert suite.version == f"modified-{sha256(alone.read_bytes()).hexdigest()[:8]}"

    def test_folder_lacks_targets(self, folder: Path) -> None:
        (folder / "harmbench_targets_text.json").unlink()
        with pytest.raises(SpecError, match=r"harmbench_targets_text\.json: no such file") as caught:
            HarmBench(str(folder)).load()
        assert "optimizer_targets" in caught.value.hint

    def test_folder_lacks_behaviors(self, folder: Path) -> None:
        with pytest.raises(SpecError, match=r"harmbench_behaviors_text_val\.csv: no such file"):
            HarmBench(str(folder), split="val").load()

    def test_id_lacks_target(self, folder: Path) -> None:
        (folder / "harmbench_targets_text.json").write_text("{}")
        with pytest.raises(SpecError, match=r"row 2 .*column BehaviorID: id 'x' has no target string"):
            HarmBench(str(folder)).load()

    def test_fields_that_cannot_be(self) -> None:
        with pytest.raises(SpecError, match="'tset'; it must be all, val or test") as caught:
            HarmBench("folder", split="tset")
        assert caught.value.hint == "did you mean test?"
        with pytest.raises(SpecError, match="path is empty"):
            HarmBench("")
        with pytest.raises(SpecError, match="is the split 'all', not 'test'") as caught:
            HarmBench("folder/harmbench_behaviors_text_all.csv")
        assert caught.value.hint == "say split=all"
