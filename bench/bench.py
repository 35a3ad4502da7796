"""`make bench`: measures the harness and prints ratios to its goals or to a baseline of the same run.

    python bench/bench.py [overhead|lanes|report|start|gcg|explorer|plan_pages ...] [--output bench/results.json]

Each figure is the median of several runs in one process or of several processes. Machines differ and drift: compare the
ratios, not the seconds.
"""

import argparse
import importlib
import json
import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def overhead(folder: Path) -> dict[str, Any]:
    """Our own time per row: three rows (test case, completion, verdict) for each behavior, instant scripted target."""
    import withstand

    behaviors = 4_000
    data = folder / "behaviors.csv"
    data.write_text("id,text\n" + "".join(f"b{i},Please say {i}\n" for i in range(behaviors)))
    spec = {"suite": {"use": "csv", "path": str(data)}, "target": "scripted", "attack": "direct"}
    spec["sampling"] = {"temperature": 0.7}
    times = []
    for i in range(3):
        start = time.perf_counter()
        withstand.run(spec, store=folder / f"overhead{i}.db")
        times.append(time.perf_counter() - start)
    start = time.perf_counter()
    withstand.run(spec, store=folder / "overhead0.db")
    again = time.perf_counter() - start
    ms = statistics.median(times) / behaviors / 3 * 1e3
    return {
        "ms_per_row": round(ms, 4),
        "ms_per_row_already_done": round(again / behaviors / 3 * 1e3, 4),
        "goal": "< 1 ms",
        "ratio_to_goal": round(ms / 1.0, 3),
    }


def lanes(folder: Path) -> dict[str, Any]:
    """64 lanes against a server that answers after 0.25 s: 256 answers a second is its limit."""
    import withstand

    latency, count = 0.25, 64
    behaviors = 64 * 60
    data = folder / "lanes.csv"
    data.write_text("id,text\n" + "".join(f"b{i},Please say {i}\n" for i in range(behaviors)))
    server = subprocess.Popen(
        [sys.executable, ROOT / "tests/openai_server.py", "--port", "8731", "--latency", str(latency)],
        stdout=subprocess.DEVNULL,
    )
    targets = {
        "scripted, sleeping": {"use": "scripted", "width": 1, "lanes": count, "seconds": latency},
        "openai over loopback": {
            "use": "openai", "model": "m", "base_url": "http://127.0.0.1:8731/v1", "lanes": count,
        },
    }  # fmt: skip
    found = {}
    try:
        time.sleep(1.5)
        for name, target in targets.items():
            starts: list[float] = []
            ends: list[float] = []

            def watch(tally: Any, _total: int, starts: list[float] = starts, ends: list[float] = ends) -> None:
                if tally.stage == 2:
                    (starts if tally.done == 0 else ends).append(time.perf_counter())

            spec = {"suite": {"use": "csv", "path": str(data)}, "target": target, "attack": "direct"}
            withstand.run(spec | {"limit": 8}, store=folder / f"warm-{len(found)}.db")  # the client's own imports
            withstand.run(spec, store=folder / f"lanes-{len(found)}.db", on_progress=watch)
            per_second = behaviors / (ends[-1] - starts[0])
            found[name] = {
                "answers_per_second": round(per_second, 1),
                "share_of_limit": round(per_second / (count / latency), 3),
            }
    finally:
        server.kill()
    return {**found, "goal": "share of limit >= 0.9"}


def faults(folder: Path) -> dict[str, Any]:
    """10,000 asks to a server on loopback that fails at 30 % of them in six ways, beside the same without a fault."""
    import withstand

    data = folder / "faults.csv"
    data.write_text("id,text\n" + "".join(f"b{i},Please say {i}\n" for i in range(10_000)))
    found: dict[str, Any] = {}
    said = []
    for port, chance in ((8732, 0.0), (8733, 0.3)):
        command = [sys.executable, ROOT / "tests/openai_server.py", "--port", str(port), "--chance", str(chance)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            time.sleep(1.5)
            target = {"use": "openai", "model": "m", "base_url": f"http://127.0.0.1:{port}/v1", "lanes": 64, "tries": 6}
            spec = {"suite": {"use": "csv", "path": str(data)}, "target": target, "attack": "direct"}
            start, calls, failed = time.perf_counter(), 0, 1
            while failed:  # the same command tries again what failed
                done = withstand.run(spec | {"judge": "contains:soup"}, store=folder / f"faults-{port}.db")
                calls, failed = calls + 1, sum(cell["error"] for cell in done.cells)
            said.append([(case["behavior"], case["completion"], case["outcome"]) for case in done.cases()])
            found[f"{chance:.0%} faults"] = {"seconds": round(time.perf_counter() - start, 1), "calls": calls}
        finally:
            server.kill()
    same = sum(a == b for a, b in zip(*said, strict=True))
    return {**found, "rows": len(said[0]), "equal rows": same, "goal": "all 10,000 equal"}


def report(folder: Path) -> dict[str, Any]:
    """The JSON and HTML report of 1,000,000 synthetic verdicts, each in a process of its own."""
    path = folder / "million.db"
    million(path)
    found: dict[str, Any] = {}
    for form in ("json", "html"):
        command = [
            sys.executable,
            "-m",
            "withstand",
            "report",
            "--store",
            str(path),
            "--format",
            form,
            "-o",
            os.devnull,
        ]
        code = "import resource, runpy, sys; sys.argv = sys.argv[1:]\n"
        code += "try:\n runpy.run_module('withstand', run_name='__main__')\n"
        code += "finally:\n print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code, *command[2:]], check=True, capture_output=True, text=True)
        found[form] = {
            "seconds": round(time.perf_counter() - start, 2),
            "peak_mb": round(int(done.stderr.split()[-1]) / 1024),
        }
    found["store_mb"] = round(path.stat().st_size / 2**20)
    found["goal"] = "< 10 s, < 1 GB"
    found["ratio_to_goal"] = round(max(found[form]["seconds"] / 10 for form in ("json", "html")), 3)
    return found


VOCABULARY = [f"{word}{i}" for word in ("soup", "zebra", "pan", "story", "bread") for i in range(400)]


def million(path: Path, cells: int = 10, behaviors: int = 1_000, cases: int = 100, text: bool = False) -> None:
    """A store that holds a run of cells x behaviors x cases verdicts; text: completions of 60 words and whole cases."""
    import random
    from dataclasses import replace

    import withstand
    from withstand.core import Completion, digest, to_json, user
    from withstand.core import TestCase as Case
    from withstand.runner.drive import value_of
    from withstand.runner.plan import make_plan
    from withstand.runner.spec import run_spec
    from withstand.runner.stages import case_wants
    from withstand.store.store import Row, RunRow, Store, Want

    data = path.parent / "million.csv"
    data.write_text("id,text,category\n" + "".join(f"b{i},Please say {i},c{i % 8}\n" for i in range(behaviors)))
    attacks = [{"use": "best_of_n", "n": cases, "seed": i} for i in range(cells)]
    spec = run_spec(
        {"suite": {"use": "csv", "path": str(data), "category": "category"}, "target": "scripted", "attack": attacks}
    )
    plan = make_plan(spec)
    described = plan.json()
    run = RunRow(digest(described), "million", time.time(), spec.written(), described)
    with Store(str(path), writer_info={"withstand": withstand.__version__}) as store:
        store.add_run(run)
        store.add_texts({digest(to_json(b)): to_json(b) for s in plan.suites for b in s.behaviors}, {})
        rng = random.Random(0)
        outcomes = ["success", "failure", "refused", "refused", "refused", "filtered", "unscored"]
        verdicts = {name: digest(["verdict", name]) for name in outcomes}
        batch_rows: list[Row] = []
        batch_wants: list[Want] = []
        for want in case_wants(plan):
            completions = [Completion(user(f"Please say {n}"), f"I say {rng.random()}") for n in range(cases)]
            if text:
                words = [" ".join(rng.choices(VOCABULARY, k=60)) for _ in completions]
                completions = [replace(c, text=f"I say {w}") for c, w in zip(completions, words, strict=True)]
            batch_rows.append(
                Row(
                    want.key,
                    str(cases),
                    to_json(
                        [
                            Case(f"b{want.behavior}", user(f"Please say {want.behavior}"), completion=c)
                            for c in (completions if text else completions[:1])
                        ]
                    ),
                    test_cases=cases,
                    cut="",
                    refused=0,
                    malformed=0,
                )
            )
            batch_wants.append(want)
            for number, completion in enumerate(completions):
                key = digest([want.key, number])
                outcome = rng.choice(outcomes)
                verdict = digest([verdicts[outcome], key])
                batch_rows.append(Row(key, "stop", value_of(completion), asks=1, tokens=20, seconds=0.1))
                batch_rows.append(Row(verdict, outcome, {"outcome": outcome}))
                batch_wants.append(Want(2, want.cell, want.behavior, number, 0, key))
                batch_wants.append(Want(3, want.cell, want.behavior, number, 0, verdict))
            if len(batch_wants) > 100_000:
                store.add(rows=batch_rows)
                store.add_wants(run.key, batch_wants)
                batch_rows, batch_wants = [], []
        store.add(rows=batch_rows)
        store.add_wants(run.key, batch_wants)


def start(folder: Path) -> dict[str, Any]:
    """Wall time of the command line above bare python, with 80 attack files in the package."""
    package = folder / "withstand"
    shutil.copytree(ROOT / "src/withstand", package, ignore=shutil.ignore_patterns("__pycache__"))
    text = (package / "attacks/templated/story.py").read_text()
    for i in range(80 - len(list((package / "attacks").rglob("[!_]*.py")))):
        (package / f"attacks/templated/copy_{i}.py").write_text(re.sub(r"class \w+", f"class Copy{i}", text))
    env = {**os.environ, "PYTHONPATH": str(folder)}
    commands = {
        "python -c pass": ["-c", "pass"],
        "import withstand": ["-c", "import withstand"],
        "withstand --help": ["-m", "withstand", "--help"],
        "withstand list": ["-m", "withstand", "list"],
    }

    def once(command: list[str]) -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, *command], env=env, check=True, capture_output=True)
        return time.perf_counter() - begin

    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(12):
        for name, command in commands.items():
            times[name].append(once(command))
    bare = statistics.median(times["python -c pass"])
    found: dict[str, Any] = {"bare_python_s": round(bare, 3)}
    for name in list(commands)[1:]:
        found[name] = {"above_bare_s": round(statistics.median(times[name]) - bare, 3)}
    found["goal"] = "< 0.15 s above bare python"
    found["ratio_to_goal"] = round(max(found[name]["above_bare_s"] for name in list(commands)[1:]) / 0.15, 3)
    return found


def decode(_folder: Path) -> dict[str, Any]:
    """Tokens a second of `smollm2`: pooled asks against one at a time, and against plain batched `generate`."""
    try:
        import torch

        from withstand.models._decode import decode as run
    except ImportError:
        return {"skipped": "needs the extra `local`"}
    from withstand.core import Sampling, user
    from withstand.registry import find

    behaviors = find.build("suite", {"use": "kitchen-benign", "split": "all"}).load()
    found: dict[str, Any] = {}
    for dtype in ("float32", "bfloat16"):
        target = find.build("target", f"smollm2,dtype={dtype}")
        loaded = target.load()
        prompts = [
            loaded.tokenizer(target.render(user(b.text)), add_special_tokens=False)["input_ids"] for b in behaviors[:64]
        ]
        rows = loaded.rows(200)

        def rate(
            count: int, rows: int, ends: frozenset[int], tokens: int, loaded: Any = loaded, prompts: Any = prompts
        ) -> float:
            begin = time.perf_counter()
            answers = run(loaded.model, prompts[:count], range(count), Sampling(max_tokens=tokens), ends, rows)
            return sum(len(answer.ids) for answer in answers) / (time.perf_counter() - begin)

        def plain(count: int, tokens: int, loaded: Any = loaded, prompts: Any = prompts) -> float:
            batch = loaded.tokenizer.pad({"input_ids": prompts[:count]}, return_tensors="pt", padding_side="left")
            begin = time.perf_counter()
            with torch.inference_mode():
                loaded.model.generate(
                    **batch, min_new_tokens=tokens, max_new_tokens=tokens, do_sample=False, pad_token_id=0
                )
            return count * tokens / (time.perf_counter() - begin)

        rate(4, 4, loaded.ends, 8)  # warm
        one, pooled, ours, theirs = [], [], [], []
        for _ in range(3):
            one.append(rate(4, 1, loaded.ends, 64))
            pooled.append(rate(64, rows, loaded.ends, 128))
            ours.append(rate(32, 32, frozenset(), 64))
            theirs.append(plain(32, 64))
        found[dtype] = {
            "one_at_a_time": round(statistics.median(one), 1),
            "pooled_mixed_lengths": round(statistics.median(pooled), 1),
            "ratio_pooled": round(statistics.median(p / o for p, o in zip(pooled, one, strict=True)), 1),
            "equal_lengths": round(statistics.median(ours), 1),
            "plain_generate": round(statistics.median(theirs), 1),
            "ratio_to_generate": round(statistics.median(o / t for o, t in zip(ours, theirs, strict=True)), 2),
        }
        target.release()
    found["unit"] = "tokens a second"
    found["goal"] = "pooled >= 10x one at a time; at least plain generate's rate at equal lengths"
    return found


def own_file(module: str) -> Callable[[Path], dict[str, Any]]:
    """The `bench` of another file of this folder."""

    def bench(folder: Path) -> dict[str, Any]:
        sys.path.insert(0, str(ROOT / "bench"))
        measured: dict[str, Any] = importlib.import_module(module).bench(folder)
        return measured

    return bench


BENCHES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "overhead": overhead,
    "lanes": lanes,
    "faults": faults,
    "report": report,
    "start": start,
    "decode": decode,
    "draws": own_file("draws"),
    "gcg": own_file("gcg"),
    "time_to_asr": own_file("time_to_asr"),
    "black_box": own_file("black_box"),
    "copyright": own_file("copyright"),
    "explorer": own_file("explorer"),
    "monitor_proxy": own_file("monitor_proxy"),
    "crowd": own_file("crowd"),
    "plan_pages": own_file("plan_pages"),
    "monitor_intake": own_file("monitor_intake"),
    "training": own_file("training"),
    "r2d2": own_file("r2d2"),
    "safetext": own_file("safetext"),
    "monitor_screen": own_file("monitor_screen"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benches", nargs="*", help=f"{', '.join(BENCHES)}; default: all")
    parser.add_argument("--output", default=str(ROOT / "bench/results.json"))
    given = parser.parse_args()
    results: dict[str, Any] = {
        "machine": {"platform": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()},
        "date": time.strftime("%Y-%m-%d"),
    }
    for name in given.benches or BENCHES:
        with tempfile.TemporaryDirectory() as folder:
            results[name] = BENCHES[name](Path(folder))
        print(json.dumps({name: results[name]}, indent=1), flush=True)
    results["peak_mb_of_this_process"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    Path(given.output).write_text(json.dumps(results, indent=1) + "\n")
    print(f"written to {given.output}")


if __name__ == "__main__":
    main()
