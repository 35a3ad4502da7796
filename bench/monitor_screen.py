"""Encoder screening in batches against one exchange at a time, on the same made-up traffic in the same run:
`python bench/monitor_screen.py [EXCHANGES]`; `make bench` runs it too.

One at a time: the monitor's screening where each exchange is asked about and saved before the next. In batches: as it
is. `alone`: nothing but the judge's flow and the encoder's call, exchange by exchange, without a store. All take
`logistic:minilm`, and once more in bfloat16. Processor time is compared, not time: the machine may be busy.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from withstand.core import Work, Worked
from withstand.monitor.made.write import frame_of, write_log
from withstand.monitor.screen import cascade
from withstand.monitor.screen.labelers import Labeler, labelers_of, score_of
from withstand.monitor.section import Context
from withstand.monitor.settings import Screener, Settings
from withstand.monitor.traffic import Traffic
from withstand.redteam.policy.records import Category, Header, Policy
from withstand.store.store import Store

SPAM = Category("spam", "Spam", "It promotes a miracle pan to people who did not ask for it.", 2, "monitored", "log")
POLICY = Policy("policy.toml", Header("Kitchen", "1"), {"spam": SPAM}, (), (), "")
JUDGES = {"float32": "logistic:minilm", "bfloat16": 'logistic,encoder={use = "minilm", dtype = "bfloat16"}'}


def bench(folder: Path, exchanges: int = 1_000) -> dict[str, Any]:
    """Milliseconds of processor time per exchange each way, and how many times faster batches are."""
    prompts = _prompts(folder, exchanges)
    figures: dict[str, Any] = {"exchanges": len(prompts), "distinct": len(set(prompts))}
    for name, judge in JUDGES.items():
        screener = Screener("encoder", judge, "spam", "prompt")
        [labeler] = labelers_of([screener], POLICY)
        _alone(labeler, prompts[:8])  # the weights are read
        few = prompts[: exchanges // 8]
        start = time.process_time()
        scores = _alone(labeler, few)
        alone = (time.process_time() - start) / len(few) * 1e3
        single, _ = _screened(folder / f"{name}-single", screener, few, 1)
        batches, labels = _screened(folder / f"{name}-batches", screener, prompts, cascade.CHUNK)
        apart = max(abs(labels[at] - score) for at, score in enumerate(scores, 1) if score is not None)
        figures[name] = {
            "alone_ms": round(alone, 2), "one_at_a_time_ms": round(single, 2), "batches_ms": round(batches, 2),
            "times_faster": round(single / batches, 2), "times_faster_than_alone": round(alone / batches, 2),
            "largest_difference_of_scores": float(f"{apart:.1g}"),
        }  # fmt: skip
    ratios = {f"ratio_to_goal_{name}": round(5 / figures[name]["times_faster"], 3) for name in JUDGES}
    return {**figures, "goal": "5 times one at a time", **ratios}


def _screened(folder: Path, screener: Screener, prompts: list[str], chunk: int) -> tuple[float, dict[int, float]]:
    """Milliseconds of processor time per exchange, and the scores."""
    folder.mkdir()
    with Traffic(folder) as traffic, Store(str(folder / "screen.db")) as store, patch.object(cascade, "CHUNK", chunk):
        traffic.database.execute(
            "INSERT INTO exchange (seq, ts, audit, prompt, completion) "
            "SELECT unnest(range(1, ?)), 0, 0.5, unnest(?::VARCHAR[]), ''",
            [len(prompts) + 1, prompts],
        )
        start = time.process_time()
        cascade.screen(Context(traffic, Settings(screeners=(screener,)), POLICY, store, 0.0))
        spent = (time.process_time() - start) / len(prompts) * 1e3
        return spent, dict(traffic.rows("SELECT seq, score FROM label"))


def _prompts(folder: Path, exchanges: int) -> list[str]:
    path = folder / "made.jsonl"
    write_log(path, None, frame_of(7, max(50, exchanges // 7 + 50), 0), ("spam", "template", "roleplay"))
    lines = path.read_text(encoding="utf-8").splitlines()[:exchanges]
    return [str(json.loads(line)["prompt"]) for line in lines]


def _alone(labeler: Labeler, prompts: list[str]) -> list[float | None]:
    scores = []
    for prompt in prompts:
        flow = labeler.judge.grade(labeler.behavior, [labeler.completion(prompt, "")])
        answer: Any = None
        try:
            while True:
                item = flow.send(answer)
                assert isinstance(item, Work)
                answer = Worked(item.do(item.model, [item.part])[0])
        except StopIteration as end:
            scores.append(score_of(end.value[0]))
    return scores


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        figures = bench(Path(folder), int(sys.argv[1]) if len(sys.argv) > 1 else 1_000)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
