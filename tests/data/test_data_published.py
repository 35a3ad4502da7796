"""The published suites, from tiny files of ours in their shape."""

import re
from pathlib import Path
from typing import Any

import pytest

import published_files
from withstand.core import SpecError
from withstand.core.taxonomy import names_of
from withstand.data.published import Published
from withstand.registry import find
from withstand.runner.plan import make_plan
from withstand.runner.spec import run_spec

LOADED = {  # texts, categories, kinds
    "xstest": (["How do I kill a guest's appetite?", "Where does the cook live?"], "contrast_homonyms", ""),
    "xstest-safe": (["How do I kill the heat under a pan?"], "homonyms", ""),
    "or-bench": (["Bake a sourdough loaf"], "deception", ""),
    "or-bench-hard": (["Why does dough rise?"], "deception", ""),
    "strongreject": (["Beat two eggs, then fry them", "Whip cream"], "Violence", "custom"),
    "jailbreakbench": (["Write a recipe"], "Privacy", "Original"),
    "jailbreakbench-benign": (["Write about soup"], "Privacy", "Original"),
    "advbench": (["Fry an egg"], "", ""),
    "advbench-pyrit": (["Fry an egg: twice, in butter", "Bake bread"], "", ""),
    "do-not-answer": (["How is rye bread made?"], "Malicious Uses", "Baking"),
    "ailuminate": (["Bake a cake", "Bake a pie"], "vcr", "skilled"),
    "sorry-bench": (["Write a recipe for rye bread", "Run the mixer"], "Malware Code Generation", ""),
    "wildguardmix": (["Bake bread", "You are a baker. Bake bread"], "cyberattack", "false"),
    "wildguardmix-benign": (["What is bread?"], "benign", "false"),
}
TARGET = {"use": "scripted", "reply": "Sure"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of copies, with a file of each suite."""
    monkeypatch.setenv("WITHSTAND_HOME", str(tmp_path / "home"))
    return published_files.write(tmp_path / "home" / "suites")


def test_every_suite_of_the_published_shape(folder: Path) -> None:
    """Each loads from the user's folder, and names a benign twin, a source, and hazards and OWASP ids that exist."""
    presets = {name for name, entry in find.entries("suite").items() if find.resolve("suite", name)[0] is Published}
    assert presets == {"published", *LOADED}
    for name, (texts, category, functional) in LOADED.items():
        suite = find.build("suite", name)
        behaviors = suite.load()
        assert [behavior.text for behavior in behaviors] == texts, name
        assert (behaviors[0].category, behaviors[0].functional) == (category, functional), name
        assert suite.source.startswith("https://"), name
        assert all(behavior.benign == suite.harmless for behavior in behaviors), name
        assert suite.harmless or find.build("suite", suite.benign).harmless, name
        assert all(hazards or ids for _, hazards, ids in suite.taxonomy), name
        assert all(id.startswith("LLM0") for _, _, ids in suite.taxonomy for id in ids.split()), name
    covered = {h for name in LOADED for _, hazards, _ in find.build("suite", name).taxonomy for h in hazards.split()}
    assert covered == names_of("mlcommons").keys()
    sorry = find.build("suite", "sorry-bench")
    assert len(sorry.names) == 44
    assert {category for category, *_ in sorry.taxonomy} <= set(sorry.names)
    assert sorry.load()[1].category == "Dangerous Machinery Operation Advice"


def test_a_copy_in_an_installed_package_is_read_where_there_is_no_other(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without importing the package."""
    own = folder / "adv_bench.prompt"
    assert find.build("suite", "advbench-pyrit").place == str(own)
    inside = tmp_path / "site" / "pyrit" / "datasets" / "seed_datasets" / "local"
    inside.mkdir(parents=True)
    (tmp_path / "site" / "pyrit" / "__init__.py").write_text("raise RuntimeError('imported')")
    own.rename(inside / own.name)
    with pytest.raises(SpecError, match=r"adv_bench\.prompt: no such file") as error:
        find.build("suite", "advbench-pyrit").load()
    assert "install pyrit" in error.value.hint
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    suite = find.build("suite", "advbench-pyrit")
    assert (len(suite.load()), suite.place) == (2, str(inside / own.name))
    for text, message in (
        ("seeds: [", "no YAML"),
        ("seeds: 3", "no list of seeds"),
        ("seeds: [{a: 1}]", "lacks value"),
    ):
        (inside / own.name).write_text(text)
        with pytest.raises(SpecError, match=message):
            suite.load()


def test_a_twin_lies_where_the_suite_lies(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the same file or folder, whatever the file is called; a suite of another source is in the user's folder."""
    elsewhere = published_files.write(folder.parents[1] / "elsewhere")
    own = (elsewhere / "xstest_prompts.csv").rename(elsewhere / "mine.csv")
    (folder / "xstest_prompts.csv").unlink()
    (folder / "benign-behaviors.csv").unlink()

    def twin(suite: str, path: Path | str) -> str:
        spec = {"suite": {"use": suite, "path": str(path)}, "target": TARGET, "attack": "direct"}
        return str(make_plan(run_spec(spec)).suites[1].suite.place)  # type: ignore[attr-defined]

    assert twin("xstest", own) == str(own)
    for path in (elsewhere, elsewhere / "harmful-behaviors.csv"):
        assert twin("jailbreakbench", path) == str(elsewhere / "benign-behaviors.csv")
    with pytest.raises(SpecError, match=r"xstest_prompts\.csv: no such file") as error:
        twin("strongreject", elsewhere / "strongreject_dataset.csv")
    assert "https://github.com/paul-rottger/xstest (CC-BY-4.0)" in str(error.value.hint)
    url = find.build("suite", "jailbreakbench:https://host/harmful-behaviors.csv")
    assert url.near == "", "the harmful file is not the benign half"


def test_the_wrong_file_is_refused(folder: Path) -> None:
    for spec, message in {
        f"jailbreakbench:{folder}/benign-behaviors.csv": "another half",
        f"jailbreakbench-benign:{folder}/harmful-behaviors.csv": "another half",
        f"strongreject:{folder}/xstest_prompts.csv": "lacks forbidden_prompt, category, source; its columns are id, pr",
        f"sorry-bench:{folder}/xstest_prompts.csv": "lacks question_id, turns",
    }.items():
        with pytest.raises(SpecError, match=message):
            find.build("suite", spec).load()
    broken = folder / "strongreject_dataset.csv"
    for data, message in {
        b"category,source,forbidden_prompt\n": "there is no behavior in it",
        b"": "no header|no behavior|empty",
        "category,source,forbidden_prompt\nViolence,x,G\xfcsse\n".encode("latin-1"): "UTF-8",
        b"category,source,forbidden_prompt\nViolence,x,\n": "the text is empty",
    }.items():
        broken.write_bytes(data)
        with pytest.raises(SpecError, match=message):
            find.build("suite", "strongreject").load()
    (folder / "question.jsonl").write_text(
        '{"question_id": 1, "category": "1", "turns": ["a", "b"], "prompt_style": "base"}'
    )
    with pytest.raises(SpecError, match="2 turns"):
        find.build("suite", "sorry-bench").load()


def test_an_edited_copy_is_used_and_named(folder: Path) -> None:
    """Rows that repeat a text are counted once; columns in other case are found, as some copies have them."""
    path = folder / "strongreject_dataset.csv"
    path.write_text(path.read_text().replace("category", "Category") + "Violence,custom,Whip cream\n")
    suite = find.build("suite", "strongreject")
    assert len(suite.load()) == 2
    assert suite.version.startswith("modified-")
    assert suite.notes == (
        f"{path} is no published copy that we know: 2 behaviors; a published copy has 313",
        f"{path}: 1 row repeats the text of another and is left out",
    )
    plan = make_plan(run_spec({"suite": "strongreject", "target": TARGET, "attack": "direct", "benign": "none"}))
    assert set(suite.notes) <= set(plan.warnings)
    assert plan.json()["suites"][0]["notes"] == list(suite.notes)
    assert (
        "notes"
        not in make_plan(run_spec({"suite": "kitchen", "target": TARGET, "attack": "direct"})).json()["suites"][0]
    )


def test_the_page_of_suites_says_what_the_presets_say() -> None:
    """docs/suites.md: behaviors, benign twin, license and source of each."""
    page = (Path(__file__).parents[2] / "docs/suites.md").read_text(encoding="utf-8")
    for name in LOADED:
        suite = find.build("suite", name)
        cells = [f"`{name}`", f"{suite.count:,}" if suite.count else "", f"`{suite.benign}`" if suite.benign else ""]
        cells += [suite.license, f"[{suite.files[0]}]({suite.source})"]
        row = "| " + " | ".join(cells) + " |"
        assert re.sub(" +", " ", row) in re.sub(" +", " ", page), row


def test_a_named_spec_lists_every_missing_copy(folder: Path, tmp_path: Path, withstand: Any) -> None:
    """Before anything is asked; the rest runs when asked for, says what it lacks, and passes no gate."""
    for name in ("xstest_prompts.csv", "question.jsonl"):
        (folder / name).unlink()
    standard = ("run", "standard", "--target", "scripted,reply=Sure", "--attack", "direct")
    assert "standard leaves the judge to you" in withstand(*standard).err
    lacking = withstand(*standard, "--judge", "refusal_words")
    assert lacking.code == 2
    for words in ("suites/harmbench", "question.jsonl", "SORRY-Bench Dataset License", "benign twin of strongreject"):
        assert words in lacking.err
    assert "or-bench-hard: no" not in lacking.err
    done = withstand(*standard, "--judge", "refusal_words", "--skip-missing", "--name", "rest")
    assert done.code == 0, done.err
    assert "left out: sorry-bench" in done.err
    assert re.search(r"^jailbreakbench +direct .*\nstrongreject +direct ", done.out, re.MULTILINE), done.out
    cells = withstand("report", "rest", "--format", "json").json["cells"]
    assert {cell["suite"] for cell in cells} == {"jailbreakbench", "jailbreakbench-benign", "strongreject"}
    warned = withstand("report", "rest", "--format", "json").json["warnings"]
    assert "no benign prompts beside strongreject: a model that refuses everything would look safe there" in warned
    assert any("a published copy has 313" in text for text in warned)

    spec = tmp_path / "gated.toml"
    spec.write_text(
        'suite = ["jailbreakbench", "sorry-bench"]\nattack = "direct"\njudge = "refusal_words"\n'
        'target = { use = "scripted", reply = "I cannot help with that." }\n[gate]\nmax_asr = 0.99\n'
    )
    withstand("run", spec, "--skip-missing", "--name", "gated")
    gated = withstand("gate", "gated")
    assert "UNDECIDED" in gated.out
    assert "--skip-missing" in gated.err

    listed = withstand("list", "suites", "--check", "--json").json
    assert (listed["sorry-bench"]["here"], listed["ailuminate"]["here"]) == (False, True)
    assert listed["sorry-bench"]["source"].endswith("sorry-bench-202503")
    assert listed["ailuminate"]["taxonomy"][0] == ["vcr", "vcr", ""]
    assert "missing: https://github.com/centerforaisafety/HarmBench (MIT)" in withstand("list", "suites", "--check").out
    assert withstand("list", "judges", "--check").code == 2
