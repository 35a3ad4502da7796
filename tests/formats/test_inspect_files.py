"""Logs for Inspect, read back by Inspect's own reader and compared with every case of the run."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner, Result

import withstand
from fakes import Fake
from withstand.cli.main import cli
from withstand.core import AskError, Behavior, Completion, SpecError, ToolCall, Verdict
from withstand.formats import inspect

inspect_log: Any = None

BEHAVIORS = [
    "plain",
    "a/b c",
    "filtered",
    "thinks",
    "calls",
    "broken call",
    "cut",
    "unscored",
    "error",
    "gr\xfc\xdf \ud83d",
]


@dataclass(frozen=True)
class Varied(Fake):
    """A target that answers in every way there is. Ours."""

    width: ClassVar[int] = 1  # so that an error is one answer's
    gives: ClassVar[frozenset[str]] = frozenset({"system", "turns", "prefill"})

    def answer(self, chat: Any, seed: int) -> Completion:
        asked = next(message.text for message in chat if message.role == "user")
        more: dict[str, Any] = {}
        if "error" in asked:
            raise AskError("no soup today", hint="come back tomorrow")
        if "filtered" in asked:
            more = {"finish": "filtered"}
        if "thinks" in asked:
            more = {"reasoning": "Hm.\nLet me see.", "reasoning_tokens": 4}
        if "calls" in asked:
            more = {"tool_calls": (ToolCall("oven", '{"heat": 200}'), ToolCall("fan"))}
        if "broken call" in asked:
            more = {"tool_calls": (ToolCall("oven", '{"heat": '),)}
        if "cut" in asked:
            more = {"finish": "length"}
        return Completion(chat, f"{asked} {seed % 5}", prompt_tokens=3, answer_tokens=seed % 5 + 1, **more)


@dataclass(frozen=True)
class Odd:
    """A judge that says each of its outcomes in turn. Ours."""

    version: ClassVar[int] = 1
    method: ClassVar[str] = "rule"
    asks: ClassVar[int] = 0

    def grade(self, behavior: Behavior, completions: Any) -> Any:
        yield from ()
        return [self._verdict(completion.text) for completion in completions]

    def _verdict(self, text: str) -> Verdict:
        if "unscored" in text:
            return Verdict("unscored", why="it could not say")
        return Verdict(("success", "failure", "refused")[int(text[-1]) % 3], score=0.5, why="so")  # type: ignore[arg-type]


@pytest.fixture(scope="module", autouse=True)
def _imported() -> None:
    """Here, and not as all tests are collected, by every process: it takes a second."""
    global inspect_log
    inspect_log = pytest.importorskip(
        "inspect_ai.log", reason="inspect-ai is not installed: export inspect is untested"
    )


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> withstand.Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WITHSTAND_STORE", raising=False)
    monkeypatch.setitem(sys.modules, "inspect_files_of_mine", sys.modules[__name__])
    rows = [  # the first has no target string, so that `prefill` makes no test case of it
        {"id": name, "text": f"Bake {name}", "category": "bread", "target": "Sure" if place else ""}
        for place, name in enumerate(BEHAVIORS)
    ]
    Path("behaviors.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = {
        "suite": "jsonl:behaviors.jsonl,target_string=target",
        "target": ["inspect_files_of_mine:Varied", {"use": "inspect_files_of_mine:Varied", "defense": "self_reminder"}],
        "attack": ["direct", "prefill"],
        "judge": "inspect_files_of_mine:Odd",
        "samples": 3,
        "sampling": {"temperature": 1.0, "max_tokens": 9},
    }
    return withstand.run(spec, store="withstand.db", name="varied")


def call(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words), standalone_mode=False)


def done(*words: str) -> str:
    result = call(*words)
    assert result.exception is None, result.exception
    return result.output


def plain(text: str) -> str:
    """Half a surrogate pair has no form in UTF-8."""
    return text.encode(errors="replace").decode()


def test_every_case_comes_back(run: withstand.Run) -> None:
    assert "wrote 4 logs into out" in done("export", "inspect", "varied", "out")
    logs = [inspect_log.read_eval_log(info) for info in inspect_log.list_eval_logs("out")]
    assert len(logs) == 4
    assert not list(Path("out").glob(".*"))
    by_cell = {log.eval.metadata["withstand"]["cell"]["index"]: log for log in logs}
    seen: dict[str, int] = {}
    cases = list(run.cases())
    for index, log in by_cell.items():
        of_cell = [case for case in cases if case["cell"] == index]
        samples = {
            (sample.metadata["behavior"], sample.metadata["case"], sample.epoch - 1): sample for sample in log.samples
        }
        assert len(samples) == len(log.samples) == len(of_cell)
        for case in of_cell:
            compare(case, samples[plain(case["behavior"]), case["case"], case["sample"]], run.cells[index])
            seen[case["outcome"]] = seen.get(case["outcome"], 0) + 1
    assert any(not case["chat"] for case in cases)
    assert any(case["chat"] and case["chat"][-1]["role"] == "assistant" for case in cases)
    assert set(seen) == {"success", "failure", "refused", "filtered", "unscored", "error"}


def compare(case: dict[str, Any], sample: Any, cell: dict[str, Any]) -> None:
    assert [(m.role, m.text) for m in sample.input] == [(t["role"], plain(t["text"])) for t in case["chat"]]
    metadata = {
        name: sample.metadata[name] for name in ("category", "outcome", "why", "score", "finish", "spent", "cut")
    }
    assert metadata == {name: case[name] for name in metadata}
    assert sample.metadata["text"] == plain(case["text"])
    expected = {"success": 1, "failure": 0, "refused": 0, "filtered": 0}.get(case["outcome"])
    if expected is None:
        assert sample.scores is None
    else:
        score = sample.scores[cell["judge"]]
        assert score.value == expected
        assert (score.explanation or "", score.metadata["outcome"]) == (case["why"], case["outcome"])
    if case["outcome"] == "error":
        assert case["error"] in sample.error.message
        assert sample.output.empty
        return
    assert sample.error is None
    message, usage = sample.output.message, sample.model_usage[cell["target"]]
    assert message.text == plain(case["completion"])
    assert [part.reasoning for part in message.content if not isinstance(part, str) and part.type == "reasoning"] == (
        [case["reasoning"]] if case["reasoning"] else []
    )
    assert [call.function for call in message.tool_calls or ()] == [call["name"] for call in case["tool_calls"]]
    assert sample.messages[-1].text == message.text
    assert len(sample.messages) == len(case["chat"]) + 1
    finish = {"max_tokens": "length", "content_filter": "filtered"}.get(sample.output.stop_reason, "stop")
    assert finish == case["finish"]
    tokens = case["tokens"]
    assert (usage.input_tokens, usage.reasoning_tokens) == (tokens["prompt"], tokens["reasoning"])
    assert usage.output_tokens == tokens["answer"] + tokens["reasoning"]
    assert usage.total_tokens == sum(tokens.values())


def test_tool_calls_and_those_that_cannot_be_read(run: withstand.Run) -> None:
    (_, log), *_ = inspect.logs(run.summary, run.cases())
    calls = {
        sample.metadata["behavior"]: sample.output.message.tool_calls
        for sample in log.samples
        if not sample.output.empty
    }
    assert [(call.function, call.arguments, call.parse_error) for call in calls["calls"]] == [
        ("oven", {"heat": 200}, None),
        ("fan", {}, None),
    ]
    (broken,) = calls["broken call"]
    assert broken.arguments == {}
    assert '{"heat": ' in broken.parse_error


def test_the_head_says_what_the_report_says(run: withstand.Run) -> None:
    done("export", "inspect", "varied", "out")
    for info in inspect_log.list_eval_logs("out"):
        log = inspect_log.read_eval_log(info, header_only=True)
        metadata = log.eval.metadata["withstand"]
        cell = run.cells[metadata["cell"]["index"]]
        (score,) = log.results.scores
        metrics = {name: metric.value for name, metric in score.metrics.items()}
        assert metrics["asr"] == pytest.approx(cell["asr"])
        assert [metrics["asr_interval_low"], metrics["asr_interval_high"]] == pytest.approx(cell["asr_interval"])
        assert [metrics["asr_bounds_low"], metrics["asr_bounds_high"]] == pytest.approx(cell["asr_bounds"])
        assert all(metrics[name] == cell[name] for name in ("success", "refused", "filtered", "unscored", "error"))
        scored = sum(cell[name] for name in ("success", "failure", "refused", "filtered"))
        assert (score.scored_samples, score.unscored_samples) == (scored, cell["unscored"] + cell["error"])
        assert (log.results.total_samples, log.results.completed_samples) == (
            cell["cases"],
            cell["cases"] - cell["error"],
        )
        assert (log.eval.model, log.eval.task_args["attack"]) == (cell["target"], cell["attack"])
        assert (log.eval.model_generate_config.max_tokens, log.eval.config.epochs) == (9, 3)
        assert metadata["provenance"]["suites"][0]["checksum"] == run.summary["provenance"]["suites"][0]["checksum"]
        assert log.status == "error"  # rows are missing, and a log that looks whole would hide it
        assert f"{cell['error']} of {cell['cases']}" in log.error.message


def test_inspects_own_mean_counts_nothing_missing_as_safe(run: withstand.Run) -> None:
    """Inspect's data frames take the mean of the scores there are: ours is `asr_micro`."""
    done("export", "inspect", "varied", "out")
    for info in inspect_log.list_eval_logs("out"):
        log = inspect_log.read_eval_log(info)
        values = [score.as_int() for sample in log.samples for score in (sample.scores or {}).values()]
        cell = run.cells[log.eval.metadata["withstand"]["cell"]["index"]]
        assert sum(values) / len(values) == pytest.approx(cell["asr_micro"])


def test_a_whole_run_is_a_success_and_nothing_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WITHSTAND_STORE", raising=False)
    spec = {"suite": "kitchen", "limit": 4, "target": "scripted-kitchen", "attack": "direct"}
    run = withstand.run(spec, store="withstand.db", name="whole")
    assert "inspect view --log-dir logs" in done("export", "inspect", "whole")
    infos = inspect_log.list_eval_logs("logs")
    assert {inspect_log.read_eval_log(info, header_only=True).status for info in infos} == {"success"}
    assert {info.task for info in infos} == {"kitchen-direct", "kitchen-benign-direct"}
    assert len(run.cells) == len(infos) == 2
    before = {path: path.read_bytes() for path in Path("logs").iterdir()}
    error = call("export", "inspect", "whole").exception
    assert isinstance(error, SpecError)
    assert "exists" in str(error)
    assert {path: path.read_bytes() for path in Path("logs").iterdir()} == before
    Path("file").write_text("")
    assert isinstance(call("export", "inspect", "whole", "file").exception, SpecError)


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "inspect_ai"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    error = call("export", "inspect", "any").exception
    assert isinstance(error, SpecError)
    assert error.hint.startswith("pip install 'withstand[inspect]'")
