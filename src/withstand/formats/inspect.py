"""The cells of a run as logs of inspect-ai, in its own classes: each opens in Inspect's viewer and by `read_eval_log`.

Pure: writing is the caller's. Needs the extra `inspect`. The form: https://inspect.aisi.org.uk/eval-logs.html.

A sample is a case: its id is the behavior's id with the number of the test case, its epoch the number of the draw. Its
score is 1 where the attack succeeded, or a question of utility was answered rightly, and 0 where not (failure, refused,
filtered). What is unscored or ended in error has no score, so that no metric counts it as safe. The metrics are those
of the report, not Inspect's.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from withstand.core import Json, SpecError, digest
from withstand.core.outcomes import HITS, SCORED

VALUES = {outcome: int(outcome in HITS["harm"]) for outcome in SCORED}
"""Outcome -> value of the score; the others have none."""

STOPS = {"stop": "stop", "length": "max_tokens", "filtered": "content_filter"}

METRICS = ("asr", "asr_micro", "over_refusal", "success", "failure", "refused", "filtered", "unscored", "error")
"""Numbers of a cell that are metrics of its log, with the ends of these intervals:"""
INTERVALS = ("asr_interval", "asr_bounds", "over_refusal_interval")

TOLD = ("category", "text", "context", "case", "sample", "outcome", "why", "score", "finish", "spent", "cut")
"""What a sample's metadata say of its case, besides its behavior."""


def logs(summary: Json, cases: Iterable[Json]) -> Iterator[tuple[str, Any]]:
    """Name of file and log of each cell that has cases, in the plan's order.

    summary: what `withstand report --format json` prints; cases: all of that run, in order.
    """
    check()
    for index, group in groupby(cases, key=lambda case: case["cell"]):
        yield _log(_sendable(summary), index, [_sendable(case) for case in group])


def check() -> None:
    """Raise `SpecError` if inspect-ai is missing."""
    try:
        import inspect_ai.log  # noqa: F401
    except ImportError as error:
        raise SpecError(
            f"Inspect's logs need {error.name or 'inspect-ai'}, which is not installed",
            hint="pip install 'withstand[inspect]', or export jsonl",
        ) from error


def _log(summary: Json, index: int, cases: Sequence[Json]) -> tuple[str, Any]:
    from inspect_ai import log as api
    from inspect_ai.model import GenerateConfig

    run, cell = summary["run"], summary["cells"][index]
    samples = [_sample(cell, case) for case in cases]
    key = digest([run["key"], index])[:22]
    task = "-".join(_plain(cell[part]) for part in ("suite", "attack", "defense") if cell[part] != "none")
    writers = summary["provenance"]["writers"]
    spec = api.EvalSpec(
        eval_id=key,
        run_id=run["key"][:22],
        created=run["created"],
        task=f"withstand/{task}",
        task_id=key,
        task_args={name: cell[name] for name in ("suite", "split", "target", "defense", "attack", "judge")},
        solver=cell["attack"],
        dataset=api.EvalDataset(
            name=cell["suite"],
            samples=cell["behaviors"],
            sample_ids=list(dict.fromkeys(sample.id for sample in samples)),
        ),
        model=cell["target"],
        model_generate_config=GenerateConfig(
            **{name: cell["sampling"].get(name) for name in ("max_tokens", "temperature", "top_p")}
        ),
        config=api.EvalConfig(epochs=max(sample.epoch for sample in samples)),
        packages={"withstand": writers[-1]["withstand"]} if writers and "withstand" in writers[-1] else {},
        metadata={
            "withstand": {
                "run": run,
                "cell": cell,
                "provenance": summary["provenance"],
                "reused": summary["reused"],
                "warnings": summary["warnings"],
            }
        },
    )
    missing = cell["error"]
    log = api.EvalLog(
        status="error" if missing else "success",
        error=_error(f"{missing} of {cell['cases']} cases ended in error or were not reached") if missing else None,
        eval=spec,
        results=_results(cell, samples),
        stats=api.EvalStats(
            started_at=run["created"], completed_at=run["created"], model_usage=_usage(cell["target"], cases)
        ),
        samples=samples,
    )
    stamp = re.sub(r"[:+]", "-", run["created"])
    return f"{stamp}_{task}_{key}.eval", log


def _results(cell: Json, samples: Sequence[Any]) -> Any:
    from inspect_ai import log as api

    values = {name: cell[name] for name in METRICS}
    for name in INTERVALS:
        low, high = cell[name] or (None, None)
        values |= {f"{name}_low": low, f"{name}_high": high}
    utility = cell.get("utility") or {}
    values |= {"utility": utility.get("rate"), "utility_low": utility.get("low"), "utility_high": utility.get("high")}
    score = api.EvalScore(
        name=cell["judge"],
        scorer=cell["judge"],
        scored_samples=sum(sample.scores is not None for sample in samples),
        unscored_samples=sum(sample.scores is None for sample in samples),
        metrics={name: api.EvalMetric(name=name, value=value) for name, value in values.items() if value is not None},
        metadata={"method": cell["judge_method"], "notes": cell["notes"]},
    )
    done = sum(sample.error is None for sample in samples)
    return api.EvalResults(total_samples=len(samples), completed_samples=done, scores=[score])


def _sample(cell: Json, case: Json) -> Any:
    from inspect_ai import log as api
    from inspect_ai import model
    from inspect_ai.scorer import Score

    kinds = {
        "system": model.ChatMessageSystem,
        "user": model.ChatMessageUser,
        "assistant": model.ChatMessageAssistant,
        "tool": model.ChatMessageTool,
    }
    sent = [kinds[turn["role"]](content=turn["text"]) for turn in case["chat"]]
    output = _output(cell["target"], case)
    value = VALUES.get(case["outcome"])
    score = None if value is None else Score(value=value, explanation=case["why"] or None, metadata=_verdict(case))
    return api.EvalSample(
        id=f"{case['behavior']}#{case['case']}",
        epoch=case["sample"] + 1,
        input=sent,
        target="",
        messages=[*sent, *(choice.message for choice in output.choices)],
        output=output,
        scores=None if score is None else {cell["judge"]: score},
        metadata={"behavior": case["behavior"]} | {name: case[name] for name in TOLD},
        model_usage=_usage(cell["target"], [case]),
        error=_error(case["error"], case["hint"]) if case["outcome"] == "error" else None,
    )


def _verdict(case: Json) -> Json:
    return {"outcome": case["outcome"], "score": case["score"]}


def _output(target: str, case: Json) -> Any:
    """What came back in Inspect's form; empty where nothing did."""
    from inspect_ai import model

    if case["completion"] is None:
        return model.ModelOutput(model=target)
    content: Any = case["completion"]
    if case["reasoning"]:
        thought = model.ContentReasoning(reasoning=case["reasoning"])
        content = [thought, model.ContentText(text=case["completion"])]
    calls = [_call(number, call) for number, call in enumerate(case["tool_calls"])]
    message = model.ChatMessageAssistant(content=content, model=target, source="generate", tool_calls=calls or None)
    stop = "tool_calls" if calls and case["finish"] == "stop" else STOPS[case["finish"]]
    return model.ModelOutput(
        model=target,
        choices=[model.ChatCompletionChoice(message=message, stop_reason=stop)],
        usage=_usage(target, [case]).get(target),
    )


def _call(number: int, call: Json) -> Any:
    from inspect_ai.tool import ToolCall

    try:
        arguments, error = json.loads(call["arguments"] or "{}"), None
    except ValueError as wrong:
        arguments, error = None, f"{wrong}: {call['arguments']}"
    if error is None and not isinstance(arguments, dict):
        error = f"no object: {call['arguments']}"
    return ToolCall(
        id=f"call_{number}", function=call["name"], arguments=arguments if error is None else {}, parse_error=error
    )


def _usage(target: str, cases: Iterable[Json]) -> dict[str, Any]:
    """Tokens of the target's answers; none where none are known. Inspect counts reasoning as output too."""
    from inspect_ai.model import ModelUsage

    counts = [case["tokens"] for case in cases if any(case["tokens"].values())]
    if not counts:
        return {}
    prompt, answer, reasoning = (sum(count[kind] for count in counts) for kind in ("prompt", "answer", "reasoning"))
    return {
        target: ModelUsage(
            input_tokens=prompt,
            output_tokens=answer + reasoning,
            total_tokens=prompt + answer + reasoning,
            reasoning_tokens=reasoning,
        )
    }


def _error(message: str, hint: str = "") -> Any:
    from inspect_ai.log import EvalError  # type: ignore[attr-defined,unused-ignore]

    text = f"{message} ({hint})" if hint else message
    return EvalError(message=text, traceback=text, traceback_ansi=text)


def _plain(label: str) -> str:
    """A label as part of a file's name, where Inspect keeps `_` for itself."""
    return re.sub(r"[^\w.=-]+|_", "-", label).strip("-.")[:60] or "unnamed"


def _sendable(value: Json) -> Json:
    """Without half surrogate pairs, which no file in UTF-8 can hold."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_sendable(name): _sendable(inner) for name, inner in value.items()}
    return [_sendable(inner) for inner in value] if isinstance(value, list | tuple) else value
