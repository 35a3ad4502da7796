"""The explorer's pages of a red team with 10,000 findings of 50 members: how long each takes to make."""

import random
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

FINDINGS, OTHERS, MEMBERS = 10_000, 2_000, 50
LATER = "loaded after its page: "
"""What begins the name of a part that a page asks for once it is shown: no page waits for it."""


def bench(folder: Path) -> dict[str, Any]:
    """Median and worst of 7 requests of each page, in this process, over HTTP's layers, texts shown."""
    try:
        from starlette.testclient import TestClient
    except ImportError:
        return {"skipped": "needs the extra `serve`"}
    from withstand.explorer.app import Explorer, make_app
    from withstand.explorer.security import Auth
    from withstand.store.store import Store

    plan = folder / "plan.toml"
    plan.write_text(plan_text())
    store = Store(str(folder / "team.db"))
    ids = filled(store)
    explorer = Explorer(store, Auth("127.0.0.1", 8765, local="bench"), reveal=True, plan_file=str(plan))
    web = TestClient(make_app(explorer), base_url="http://127.0.0.1:8765", follow_redirects=False)
    web.get(f"/?token={explorer.auth.entry}")
    pages = addresses(ids)
    found: dict[str, Any] = {
        "findings": FINDINGS, "members": MEMBERS, "first_ms": {}, "cpu_ms": {}, "pages_ms": {},
    }  # fmt: skip
    for name, page in pages.items():
        times, cpu = [], time.process_time()
        for _ in range(8):
            begin = time.perf_counter()
            answer = web.get(page, headers={"HX-Request": "true"} if name.startswith(LATER) else {})
            times.append((time.perf_counter() - begin) * 1e3)
            assert answer.status_code == 200, (name, answer.status_code, answer.text[:2_000])
        found["first_ms"][name] = round(times[0])
        found["cpu_ms"][name] = round((time.process_time() - cpu) * 1e3 / len(times), 1)
        found["pages_ms"][name] = [round(statistics.median(times[1:]), 1), round(max(times[1:]), 1)]
    explorer.index.close()
    shown = [name for name in pages if not name.startswith(LATER)]
    worst = max(max(found["first_ms"][name], found["pages_ms"][name][1]) for name in shown)
    return {
        **found,
        "unit": "ms: median and worst of 7, after the first",
        "goal": "< 200 ms",
        "ratio_to_goal": round(worst / 200, 3),
    }


def addresses(ids: list[str]) -> dict[str, str]:
    """The pages by name."""
    return {
        "board": "/findings",
        "board, filtered": "/findings?status=new&severity=4&layer=l1",
        "board, last page": f"/findings?order=oldest&skip={FINDINGS - 50}",
        "board, same input": "/findings?todo=alike",
        "board, lacks a second rater": "/findings?todo=second",
        "a finding": f"/findings/{ids[FINDINGS // 2]}",
        "progress": "/plan?round=r2",
        "coverage": "/plan/coverage",
        "coverage, a square": "/plan/coverage?rows=feature&columns=persona&row=f1&column=p1",
        "harms": "/plan/harms",
        "report": "/plan/report?level=full",
        "incidents": "/incidents",
        "sessions": "/probe/sessions",
        f"{LATER}the report's preview": "/plan/report?level=full",
        f"{LATER}what reads alike, of 50 findings": f"/findings/alike?ids={','.join(ids[:50])}",
        "console, begin": "/probe?start=1&round=r2&layer=l1&harm=h1",
    }


def plan_text() -> str:
    """A plan of three layers, 12 harms, 6 features, 5 personas and 50 members in three rounds."""
    parts = ['schema = "withstand.plan/1"\n[plan]\nname = "Bench"\n']
    parts += [f'[[layer]]\nid = "l{n}"\nkind = "model"\ntarget = "scripted-kitchen"\n' for n in range(3)]
    parts += [
        f'[[harm]]\nid = "h{n}"\ntitle = "Harm {n}"\nseverity = {1 + n % 4}\nlikelihood = {1 + n % 3}\n'
        for n in range(12)
    ]
    parts += [f'[[feature]]\nid = "f{n}"\n' for n in range(6)]
    parts += [f'[[persona]]\nid = "p{n}"\nmindset = "{"benign" if n % 2 else "adversarial"}"\n' for n in range(5)]
    parts += [
        f'[[member]]\nid = "m{n}"\nmindset = ["benign", "adversarial"]\nhours_per_round = 4\n' for n in range(MEMBERS)
    ]
    layers = 'layers = ["l0", "l1", "l2"]'
    parts.append(f'[[round]]\nid = "r1"\nmode = "open"\n{layers}\n')
    parts += [f'[[round]]\nid = "r{n}"\nmode = "guided"\nmin_per_cell = 5\n{layers}\n' for n in (2, 3)]
    return "\n".join(parts)


def filled(store: Any) -> list[str]:
    """Write attempts, each member's in 40 cells, a fifth of them with a second revision, and sessions of the members.
    Returns the ids of the findings."""
    from withstand.core import digest
    from withstand.store.attempts import Attempt, Rating, Turn, entry_of
    from withstand.store.tables import attempt, event

    rng = random.Random(0)
    words = [f"{word}{n}" for word in ("soup", "pan", "story", "bread", "guest") for n in range(400)]
    entries, steps, ids = [], [], []
    cells = [
        [
            {"round": f"r{rng.randrange(1, 4)}", "layer": f"l{rng.randrange(3)}", "harm": f"h{rng.randrange(12)}",
             "feature": f"f{rng.randrange(6)}", "persona": f"p{rng.randrange(5)}"}
            for _ in range(40)
        ]
        for _ in range(MEMBERS)
    ]  # fmt: skip
    inputs = [" ".join(rng.choices(words, k=40)) for _ in range(FINDINGS)]
    for n in range(FINDINGS + OTHERS):
        is_finding, member = n < FINDINGS, n % MEMBERS
        turns = (Turn("user", inputs[n % FINDINGS] if n % 20 else inputs[n % 400]),)
        at = 1.77e9 + n * 60
        new = Attempt(
            f"F-20260201-{n:06x}", turns, " ".join(rng.choices(words, k=120)),
            rng.choice(("harmful", "borderline")) if is_finding else rng.choice(("ok", "refused", "unsure", "error")),
            f"m{member}", at, at, plan="bench", **rng.choice(cells[member]),
            mindset="benign", language="en", severity=rng.choice((None, 1, 2, 3, 4)),
            status=rng.choice(("new", "new", "confirmed", "fixed")), session=f"s{member}",
        )  # fmt: skip
        ids += [new.id] if is_finding else []
        revisions = [new]
        if n % 5 == 0:
            rating = Rating(f"m{(member + 1) % MEMBERS}", 3, at + 9)
            revisions.append(replace(new, revision=2, ratings=(rating,), owner=f"m{n % 7}", editor=rating.rater))
        entries += [entry_of(revision) | {"writer": store.writer, "purged": None} for revision in revisions]
    for member in range(MEMBERS):
        for number in range(200):
            kind = "begin" if not number else "note" if number % 50 == 0 else "resume"
            value = {
                "begin": '{"context":{"layer":"l0"}}', "note": '{"about":"question","text":"where is the menu?"}',
            }.get(kind, "{}")  # fmt: skip
            steps.append({
                "key": digest([member, number]), "session": f"s{member}", "number": number, "kind": kind,
                "plan": "bench", "round": f"r{1 + number // 70}", "member": f"m{member}",
                "created": 1.77e9 + number * 60, "value": value, "writer": store.writer, "purged": None,
            })  # fmt: skip
    store.write({attempt: entries, event: steps})
    return ids


if __name__ == "__main__":
    import json
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        sys.stdout.write(json.dumps(bench(Path(name)), indent=1) + "\n")
