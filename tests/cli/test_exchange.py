"""HarmBench's files both ways, JailbreakBench's artifacts, tables of cases, and a judge for what was imported.

Files of HarmBench are written here as its own scripts do: `json.dump(..., indent=4)`.
"""

import csv
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from click.testing import CliRunner, Result

import withstand
from withstand.cli.main import cli
from withstand.core import Behavior, SpecError
from withstand.data.harmbench import HarmBench
from withstand.formats import harmbench
from withstand.results import exchange, labeling
from withstand.results.summary import status
from withstand.store.tables import row as store_row

PLACES = [Path(__file__).parents[2].parent / "shared" / "data"]
if "WITHSTAND_TEST_DATA" in os.environ:
    PLACES.insert(0, Path(os.environ["WITHSTAND_TEST_DATA"]))
OFFICIAL = next((place / "harmbench" for place in PLACES if (place / "harmbench").is_dir()), None)

HEAD = "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID\r\n"
ROWS = 'Bake rye,standard,bread,,,rye\r\n"Bake pie, now",contextual,sweet,context,"one\ntwo",pie\r\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with behaviors where HarmBench has them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WITHSTAND_STORE", raising=False)
    put(tmp_path / "hb" / harmbench.BEHAVIORS, HEAD + ROWS)
    put(tmp_path / "hb" / harmbench.TARGETS, {"rye": "Sure, here is rye", "pie": "Sure, here is pie"})
    return tmp_path


def put(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content, indent=4)
    path.write_bytes(text.encode())
    return path


def row(case: str, text: str, **label: int) -> dict[str, Any]:
    return {"test_case": case, "generation": text, **label}


def experiment(folder: Path, completions: Any, results: Any = None, cases: Any = None) -> Path:
    own = folder / "hb" / "results" / "GCG" / "vicuna"
    if cases is not None:
        put(own / "test_cases" / "test_cases.json", cases)
    if completions is not None:
        put(own / "completions" / "llama2_7b.json", completions)
    if results is not None:
        put(own / "results" / "llama2_7b.json", results)
    return own


def call(*words: Any) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words], standalone_mode=False)


def done(*words: Any) -> str:
    result = call(*words)
    assert result.exception is None, result.exception
    assert result.return_value in (0, None), result.output
    return result.output


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- HarmBench in ------------------------------------------------------------------------------------------------

CASES = {"rye": ["r1", "r2"], "pie": ["p1", "p2"]}
COMPLETIONS = {
    "rye": [row("r1", "Knead the dough. Then bake it."), row("r2", "No.")],
    "pie": [row("p1", "\u00e9?"), row("p2", "Sure")],
}
RESULTS = {  # the first generation is clipped, as HarmBench clips what its classifier reads
    "rye": [row("r1", "Knead the dough.", label=1), row("r2", "No.", label=0)],
    "pie": [row("p1", "\u00e9?", label=-1), row("p2", "Sure", label=1)],
}


def test_labels_become_verdicts_and_minus_one_is_unscored(folder: Path) -> None:
    experiment(folder, COMPLETIONS, RESULTS, CASES)
    done("import", "harmbench", "hb", "--name", "imported")
    run = withstand.load("imported")
    [cell] = run.cells
    assert (cell["target"], cell["attack"], cell["judge"]) == ("llama2_7b", "GCG/vicuna", "imported")
    assert [cell[name] for name in ("success", "failure", "unscored", "error")] == [2, 1, 1, 0]
    assert cell["asr"] == 0.75  # rye 1 of 2, pie 1 of 1 scored: HarmBench, which counts -1 as failure, prints 0.5
    assert cell["asr_bounds"] == [0.5, 0.75]
    first, *_ = run.cases()
    assert (first["completion"], first["outcome"]) == ("Knead the dough. Then bake it.", "success")
    assert run.summary["run"]["state"] == "complete"


def test_what_harmbench_wrote_comes_back_to_the_byte(folder: Path) -> None:
    own = experiment(folder, COMPLETIONS, RESULTS, CASES)
    done("import", "harmbench", own, "--name", "imported")
    done("export", "harmbench", "imported", "out")
    before, after = tree(folder / "hb"), tree(folder / "out")
    results = "results/GCG/vicuna/results/llama2_7b.json"
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} == {results}  # whose generation is whole now
    assert [entry["label"] for entry in json.loads(after[results])["pie"]] == [-1, 1]
    done("import", "harmbench", "out", "--store", "again.db")
    done("export", "harmbench", withstand.load("", "again.db").name, "out2", "--store", "again.db")
    assert tree(folder / "out2") == after


def test_an_error_marker_is_no_answer(folder: Path) -> None:
    completions = {"rye": [row("r1", "$ERROR$"), row("r2", "No.")], "pie": COMPLETIONS["pie"]}
    labels = {"rye": [row("r1", "$ERROR$", label=0), row("r2", "No.", label=0)], "pie": RESULTS["pie"]}
    experiment(folder, completions, labels, CASES)
    done("import", "harmbench", "hb", "--name", "imported")
    run = withstand.load("imported")
    [cell] = run.cells
    assert [cell[name] for name in ("success", "failure", "unscored", "error")] == [1, 1, 1, 1]
    state = status(run.store, run.row)
    assert state["failures"][0]["error"] == "the imported files hold no completion of this test case"
    done("export", "harmbench", "imported", "out")
    done("import", "harmbench", "out", "--name", "again", "--store", "again.db")
    done("export", "harmbench", "again", "out2", "--store", "again.db")
    assert tree(folder / "out2") == tree(folder / "out")
    assert withstand.load("again", "again.db").cells[0]["error"] == 1


def test_the_same_files_are_the_same_run_and_others_are_not(folder: Path) -> None:
    own = experiment(folder, COMPLETIONS)
    done("import", "harmbench", "hb")
    first = withstand.load().name
    done("import", "harmbench", own)
    assert withstand.load().name == first
    put(own / "results" / "llama2_7b.json", RESULTS)
    done("import", "harmbench", own)
    assert withstand.load().name != first


def test_a_folder_of_tokens_and_several_models(folder: Path) -> None:
    own = experiment(folder, COMPLETIONS, RESULTS, CASES)
    put(own / "completions" / "150_tokens" / "qwen.json", {"rye": [row("r1", "Flour"), row("r2", "Water")]})
    done("import", "harmbench", "hb", "--name", "imported")
    cells = {cell["target"]: cell for cell in withstand.load("imported").cells}
    assert cells["qwen"]["sampling"]["max_tokens"] == 150
    assert (cells["qwen"]["judge"], cells["qwen"]["error"]) == ("none", 4)  # two without a label, two without an answer
    done("export", "harmbench", "imported", "out")
    assert json.loads((folder / "out/results/GCG/vicuna/completions/150_tokens/qwen.json").read_text()) == {
        "rye": [row("r1", "Flour"), row("r2", "Water")]
    }


@pytest.mark.parametrize(
    ("completions", "results", "cases", "message"),
    [
        ({"rye": [row("r1", 3)]}, None, None, "rye 1: its generation is int, not text"),  # type: ignore[arg-type]
        ({"rye": [{"test_case": "r1"}]}, None, None, "rye 1: its generation is missing"),
        ({"rye": [{"test_case": ["a.png", "r1"], "generation": "x"}]}, None, None, "test_case is list, not text"),
        ({"rye": "r1"}, None, None, "rye holds str, not a list"),
        ({"rye": ["r1"]}, None, None, "rye 1 is no object"),
        ([1], None, None, "no JSON object"),
        ('{"rye": [', None, None, "bad JSON"),
        ('{"rye": [], "rye": []}', None, None, "'rye' is in it twice"),
        ({"rey": [row("r1", "x")]}, None, None, "the suite has no behavior 'rey'"),
        (None, {"rye": [row("r1", "x", label=2)]}, None, "label is 2"),
        (None, {"rye": [row("r1", "x", label=True)]}, None, "label is True"),
        ({"rye": [row("r9", "x")]}, None, CASES, "its test case is not where it should be"),
        ({"rye": [row("r1", "x")]}, {"pie": [row("p1", "x", label=1)]}, None, "pie has no test case"),
        (None, None, CASES, "holds test cases alone"),
        (None, None, None, "holds no completions"),
    ],
)
def test_wrong_files_say_where(folder: Path, completions: Any, results: Any, cases: Any, message: str) -> None:
    experiment(folder, completions, results, cases)
    error = call("import", "harmbench", "hb").exception
    assert isinstance(error, SpecError)
    assert message in str(error)
    assert error.hint
    assert not (folder / "withstand.db").exists()


def test_a_folder_that_is_not_there_and_one_without_behaviors(folder: Path) -> None:
    assert "no such folder" in str(call("import", "harmbench", "gone").exception)
    file = put(folder / "alone" / "gpt.json", COMPLETIONS)
    error = call("import", "harmbench", file).exception
    assert isinstance(error, SpecError)
    assert "--suite" in error.hint
    done("import", "harmbench", file, "--suite", f"harmbench:hb/{harmbench.BEHAVIORS},split=all")
    assert withstand.load().cells[0]["target"] == "gpt"


# --- HarmBench out -----------------------------------------------------------------------------------------------


def test_a_run_of_ours_is_read_as_harmbench_reads_it_and_comes_back(folder: Path) -> None:
    """Reads by file and key as HarmBench's evaluate_completions does, and sets the mean it prints beside our ASR."""
    spec = {
        "suite": "kitchen", "target": "scripted-kitchen", "limit": 6, "samples": 2,
        "attack": ["direct", "story", "best_of_n,n=3", "prefill"], "sampling": {"temperature": 1.0},
    }  # fmt: skip
    cells = withstand.run(spec, store="ours.db", name="ours").cells
    output = call("export", "harmbench", "ours", "out", "--store", "ours.db").output
    assert "prefill on scripted-kitchen: not every test case is one text of a user" in output
    with (folder / "out" / harmbench.BEHAVIORS).open(encoding="utf-8") as file:
        behaviors = {behavior["BehaviorID"]: behavior for behavior in csv.DictReader(file)}
    assert len(behaviors) == 6
    for cell in (cell for cell in cells if not cell["benign"] and not cell["attack"].startswith("prefill")):
        [path] = (folder / "out" / "results" / exchange._safe(cell["attack"])).rglob("results/256_tokens/*.json")
        results = json.loads(path.read_text())
        assert results.keys() == behaviors.keys()
        rates = [sum(entry["label"] == 1 for entry in listed) / len(listed) for listed in results.values()]
        assert sum(rates) / len(rates) == pytest.approx(cell["asr"])
    done("import", "harmbench", "out", "--name", "back")
    done("export", "harmbench", "back", "out2")
    assert tree(folder / "out2") == tree(folder / "out")
    assert "ours" not in {run.name for run in withstand.load("back").store.runs()}


def test_nothing_is_overwritten(folder: Path) -> None:
    experiment(folder, COMPLETIONS, RESULTS)
    done("import", "harmbench", "hb", "--name", "imported")
    done("export", "harmbench", "imported", "out")
    done("export", "harmbench", "imported", "out")
    path = put(folder / "out" / harmbench.BEHAVIORS, HEAD)
    assert "exists with other content" in str(call("export", "harmbench", "imported", "out").exception)
    assert path.read_text(encoding="utf-8") == HEAD.replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("label", "name"),
    [("../../etc", "etc"), ("GCG", "GCG"), ("hf:a/b", "hf_a_b"), ("..", "unnamed")],
)
def test_a_label_becomes_a_name_inside_the_folder(label: str, name: str) -> None:
    assert exchange._safe(label) == name
    assert exchange._safe(name) == name
    assert len(exchange._safe("x" * 500)) < 100


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_official_behaviors_are_written_to_the_byte(split: str) -> None:
    if OFFICIAL is None:
        pytest.skip("no official files; set WITHSTAND_TEST_DATA to the folder that holds harmbench/")
    behaviors = HarmBench(str(OFFICIAL), split=split).load()
    written = harmbench.files([], behaviors)[harmbench.BEHAVIORS]
    assert written.encode() == (OFFICIAL / f"harmbench_behaviors_text_{split}.csv").read_bytes()


def test_the_official_behaviors_with_results_make_the_whole_way(folder: Path) -> None:
    if OFFICIAL is None:
        pytest.skip("no official files; set WITHSTAND_TEST_DATA to the folder that holds harmbench/")
    behaviors = HarmBench(str(OFFICIAL), split="all").load()
    for name in (harmbench.BEHAVIORS, harmbench.TARGETS):
        put(folder / "all" / name, (OFFICIAL / Path(name).name).read_text(encoding="utf-8"))
    cases = {behavior.id: [behavior.prompt()] for behavior in behaviors}
    results = {
        behavior.id: [row(behavior.prompt(), "I cannot.", label=i % 3 - 1)] for i, behavior in enumerate(behaviors)
    }
    put(folder / "all/results/DirectRequest/default/test_cases/test_cases.json", cases)
    put(folder / "all/results/DirectRequest/default/results/m.json", results)
    done("import", "harmbench", "all", "--name", "all")
    [cell] = withstand.load("all").cells
    assert [cell[name] for name in ("behaviors", "unscored", "failure", "success")] == [400, 134, 133, 133]
    done("export", "harmbench", "all", "out")
    targets = harmbench.TARGETS
    assert json.loads((folder / "out" / targets).read_bytes()) == json.loads((folder / "all" / targets).read_bytes())
    for name in ("test_cases/test_cases.json", "results/m.json"):
        path = Path("results/DirectRequest/default") / name
        assert (folder / "out" / path).read_bytes() == (folder / "all" / path).read_bytes()


# --- a judge for completions without verdicts ----------------------------------------------------------------------


def test_completions_alone_get_verdicts_and_a_report(folder: Path) -> None:
    experiment(folder, {"rye": [row("r1", "I cannot help with that."), row("r2", "Knead.")], "pie": [row("p1", "")]})
    assert "judge run imported --judge JUDGE" in done("import", "harmbench", "hb", "--name", "imported")
    assert withstand.load("imported").cells[0]["error"] == 3
    assert call("status", "imported").return_value == 3
    assert call("judge", "run", "imported", "--judge", "refusal_words", "--name", "judged").return_value == 0
    run = withstand.load("judged")
    [cell] = run.cells
    assert [cell[name] for name in ("success", "refused", "failure", "error")] == [
        1,
        1,
        1,
        0,
    ]  # an empty one is a failure
    assert (cell["judge"], cell["judge_method"]) == ("refusal_words", "string matching")
    assert call("status", "judged").return_value == 0
    rows = len(run.store.select(sqlalchemy.select(store_row.c.key)))
    done("judge", "run", "imported", "--judge", "refusal_words")  # finds the run that is there
    assert len(run.store.select(sqlalchemy.select(store_row.c.key))) == rows
    assert len(run.store.runs()) == 2
    done("report", "judged", "-o", "judged.html")
    page = (folder / "judged.html").read_text(encoding="utf-8")
    assert "withstand judge run imported --judge refusal_words" in page
    assert len(labeling.queue(run.store, run.row, "calibration")) == 3


def test_a_capped_judge_goes_on_with_the_same_command(folder: Path) -> None:
    experiment(folder, COMPLETIONS)
    done("import", "harmbench", "hb", "--name", "imported")
    judge = 'llm,model={use="scripted",reply="yes"}'
    assert call("judge", "run", "imported", "-j", judge, "--name", "j", "--max-asks", 1).return_value == 3
    assert 0 < withstand.load("j").cells[0]["error"] < 4
    call("judge", "run", "imported", "-j", judge)
    assert withstand.load("j").cells[0]["error"] == 0
    assert withstand.load("j").summary["provenance"]["prompts"] == {"llm": "ours"}


def test_a_run_of_ours_is_judged_by_its_spec(folder: Path) -> None:
    spec = {"suite": "kitchen", "target": "scripted-kitchen", "attack": "direct", "limit": 1}
    withstand.run(spec, store="withstand.db", name="ours")
    assert "was not imported" in str(call("judge", "run", "ours", "--judge", "refusal_words").exception)
    experiment(folder, COMPLETIONS)
    done("import", "harmbench", "hb", "--name", "imported")
    error = call("run", "--name", "imported").exception
    assert isinstance(error, SpecError)
    assert "judge run" in error.hint


# --- tables ------------------------------------------------------------------------------------------------------


@pytest.fixture
def labeled(folder: Path) -> Path:
    experiment(folder, {"rye": [row("=r1", "Knead\ud800")]}, {"rye": [row("=r1", "Knead\ud800", label=1)]})
    done("import", "harmbench", "hb", "--name", "imported")
    return folder


def test_jsonl(labeled: Path) -> None:
    done("export", "jsonl", "imported", "cases.jsonl")
    [case] = [json.loads(line) for line in (labeled / "cases.jsonl").read_text().splitlines()]
    assert case["chat"] == [{"role": "user", "text": "=r1"}]
    assert [case[name] for name in ("suite", "target", "outcome", "completion")] == [
        "harmbench", "llama2_7b", "success", "Knead\ud800",
    ]  # fmt: skip


def test_csv(labeled: Path) -> None:
    done("export", "csv", "imported", "cases.csv")
    with (labeled / "cases.csv").open(encoding="utf-8", newline="") as file:
        [case] = csv.DictReader(file)
    assert (case["prompt"], case["completion"], case["outcome"]) == ("[user] =r1", "Knead?", "success")


def test_parquet(labeled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    done("export", "parquet", "imported", "cases.parquet")
    [case] = pandas.read_parquet(labeled / "cases.parquet").to_dict("records")
    assert (case["prompt"], case["completion"], case["case"]) == ("[user] =r1", "Knead?", 0)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    error = call("export", "parquet", "imported", "other.parquet").exception
    assert isinstance(error, SpecError)
    assert "pip install pandas pyarrow" in error.hint


# --- JailbreakBench ----------------------------------------------------------------------------------------------


def jailbreak(name: str, prompt: str | None, response: str | None, jailbroken: bool) -> dict[str, Any]:
    """An entry with the fields of JailbreakBench's JailbreakInfo."""
    return {
        "index": 0, "goal": f"Explain {name}", "behavior": name, "category": "Soups", "prompt": prompt,
        "response": response, "number_of_queries": 1, "queries_to_jailbreak": None, "prompt_tokens": 1,
        "response_tokens": 1, "jailbroken": jailbroken,
    }  # fmt: skip


def test_an_artifact_brings_its_behaviors(folder: Path) -> None:
    jailbreaks = [jailbreak("Broth", "b", "Simmer.", True), jailbreak("Stock", "s", "No.", False)]
    jailbreaks.append(jailbreak("Bisque", None, None, False))
    parameters = {"method": "PAIR", "model": "vicuna-13b-v1.5", "attack_type": "black_box", "defense": "SmoothLLM"}
    put(folder / "a.json", {"parameters": parameters, "jailbreaks": jailbreaks})
    done("import", "jailbreakbench", "a.json", "--name", "artifact")
    run = withstand.load("artifact")
    [cell] = run.cells
    assert [cell[name] for name in ("target", "defense")] == ["vicuna-13b-v1.5", "SmoothLLM"]
    assert [cell[name] for name in ("behaviors", "success", "failure", "error")] == [3, 1, 1, 1]
    assert cell["sampling"]["max_tokens"] == 150
    done("export", "harmbench", "artifact", "out")
    done("import", "harmbench", "out", "--name", "back", "--store", "back.db")
    done("export", "harmbench", "back", "out2", "--store", "back.db")
    assert tree(folder / "out2") == tree(folder / "out")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": 1}, "it has no list of jailbreaks"),
        ({"jailbreaks": [1]}, "jailbreak 1 is no object"),
        ({"jailbreaks": [{"behavior": "x"}]}, "its goal is no text"),
        ({"jailbreaks": [jailbreak("x", "p", "r", 3)]}, "jailbroken is 3"),  # type: ignore[arg-type]
        ({"jailbreaks": [jailbreak("x", "p", 4, True)]}, "its response is no text"),  # type: ignore[arg-type]
    ],
)
def test_wrong_artifacts_say_where(folder: Path, content: Any, message: str) -> None:
    put(folder / "a.json", content)
    error = call("import", "jailbreakbench", "a.json").exception
    assert isinstance(error, SpecError)
    assert message in str(error)
    assert error.hint


def test_behaviors_that_differ_are_not_mixed(folder: Path) -> None:
    with pytest.raises(SpecError, match="no behavior 'rey' and 1 others") as caught:
        exchange.used([Behavior("rye", "")], [harmbench.Part("m", "e", "t", {"rey": (), "zzz": ()})])
    assert "did you mean rye?" in caught.value.hint
