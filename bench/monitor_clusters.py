"""What templates and clusters of a monitor cost, and what they find of what `make-logs` planted.

Run: python bench/monitor_clusters.py skeletons       near-duplicates among 50,000 skeletons, with rensa and datasketch
     python bench/monitor_clusters.py truth FOLDER    of a monitor after `monitor run`; logs.jsonl, truth.json,
                                                      policy.toml and monitor.toml lie beside it
CPU seconds; bench/README.md quotes the output.
"""

import json
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from withstand import api
from withstand.monitor.clusters.find import find_clusters
from withstand.monitor.clusters.near import groups, sign
from withstand.monitor.clusters.templates import templates_of
from withstand.monitor.section import Context
from withstand.monitor.settings import read_settings
from withstand.monitor.traffic import Traffic
from withstand.redteam.policy.records import read_policy


def skeletons() -> None:
    draw = random.Random(1)
    heads = ("soup", "pan", "stir", "leek", "dill", "salt", "boil", "herb")
    words = [f"{head}{letter}{place}" for head in heads for letter in "aeiouy" for place in range(14)]
    texts = [" ".join(draw.choices(words, k=draw.randint(6, 30))) for _ in range(40_000)]
    for place in range(10_000):
        changed = draw.choice(texts[:500]).split()
        changed[draw.randrange(len(changed))] = f"other{place}"
        texts.append(" ".join(changed))
    runs = [[text[at : at + 4] for at in range(len(text) - 3)] for text in texts]
    timed("ours: signatures", lambda: sign(texts))
    timed("ours: groups, signatures among them", lambda: groups(texts, [1.0] * len(texts)))
    try:
        import rensa

        def rensas() -> None:
            for part in runs:
                rensa.RMinHash(num_perm=128, seed=1).update(part)

        timed("rensa: signatures, without making the sets of runs", rensas)
    except ImportError:
        print("rensa is not installed")
    from datasketch import MinHash

    def datasketches() -> None:
        for part in runs[:5_000]:
            MinHash(num_perm=128).update_batch([run.encode() for run in part])

    timed("datasketch: signatures of a tenth", datasketches)


def truth(folder: Path) -> None:
    beside = folder.parent
    exchanges = json.loads((beside / "truth.json").read_text())["exchanges"]
    with (beside / "logs.jsonl").open() as log:
        events = {line: exchanges.get(json.loads(text)["id"], {}).get("event", "") for line, text in enumerate(log, 1)}
    totals, policy = Counter(events.values()), read_policy(beside / "policy.toml")
    with tempfile.TemporaryDirectory() as work, Traffic(folder) as traffic, api.open_store(f"{work}/store.db") as store:
        settings = read_settings(beside / "monitor.toml", policy)
        context = Context(traffic, settings, policy, store, (traffic.span() or (0, 0))[1])
        templates = timed("templates", lambda: templates_of(traffic))
        clusters = timed("clusters", lambda: find_clusters(context))
        lines = defaultdict(list)
        for line, skeleton in traffic.rows("SELECT line, skeleton FROM exchange"):
            lines[skeleton].append(events[line])
        hits = Counter(event for one in templates.coordinated for name in {*one.hashes} for event in lines[name])
        print("coordinated:", {event: f"{hits[event]} of {totals[event]}" for event in totals if event or hits[event]})
        line_of = dict(traffic.rows("SELECT seq, line FROM exchange"))
        for seen in clusters.listed:
            if seen.new and seen.cluster.stable:
                members = Counter(events[line_of[clusters.sample.items[at].seq]] for at in seen.cluster.items)
                print("new:", seen.cluster.kind, seen.cluster.category, dict(members), seen.cluster.terms)


def timed(name, call):
    start = time.process_time()
    result = call()
    print(f"{name}: {time.process_time() - start:.1f} s")
    return result


if __name__ == "__main__":
    skeletons() if sys.argv[1] == "skeletons" else truth(Path(sys.argv[2]))
