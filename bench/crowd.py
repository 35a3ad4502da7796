"""The explorer under a crowd: idle connections, requests without a token, and ten people who label at once."""

import contextlib
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

IDLE, ANONYMOUS, LABELERS, LABELS = 1_300, 1_005, 10, 25


def bench(folder: Path) -> dict[str, Any]:
    """Times of a page and of a label in a server process of its own, and how many labels arrive."""
    try:
        import httpx
        import uvicorn  # noqa: F401 - the server needs it
    except ImportError:
        return {"skipped": "needs the extra `serve`"}
    import withstand

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < IDLE + 200:
        return {"skipped": f"a process may open {most} files, and this needs {IDLE + 200}"}
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    path = folder / "s.db"
    spec = {"suite": "kitchen", "target": "scripted-kitchen", "attack": ["direct", "story"]}
    run = withstand.run(spec, store=path, name="kitchen")
    with served(folder, path) as (host, port), contextlib.ExitStack() as stack:
        page = f"http://{host}:{port}/runs/{run.row.key[:16]}"
        people = [httpx.Client(headers={"Authorization": f"Bearer {token(n)}"}, timeout=60) for n in range(LABELERS)]
        browser = httpx.Client(timeout=60)
        form = {"csrf": csrf_of(browser.get(f"http://{host}:{port}/login").text), "token": token(0)}
        browser.post(f"http://{host}:{port}/login", data=form)
        while people[0].get(f"{page}/cases").status_code == 503:
            time.sleep(0.1)
        alone = [seconds(lambda: people[0].get(page)) for _ in range(20)]
        for _ in range(IDLE):
            stack.enter_context(socket.create_connection((host, port)))
        beside_idle = [seconds(lambda: people[0].get(page)) for _ in range(20)]
        with httpx.Client(timeout=60) as stranger:
            for _ in range(ANONYMOUS):
                stranger.cookies.clear()
                stranger.get(f"http://{host}:{port}/login")
        with ThreadPoolExecutor(LABELERS) as pool:
            times = [second for times in pool.map(lambda web: labels(web, page), people) for second in times]
        still_in = browser.get(page).status_code == 200
        kept = run.store.labels(run.row.key)
    return {
        "idle_connections": IDLE,
        "page_ms": round(1e3 * statistics.median(alone), 1),
        "page_beside_idle_ms": round(1e3 * statistics.median(beside_idle), 1),
        "anonymous_requests": ANONYMOUS,
        "still_signed_in": still_in,
        "labels": f"{len({(label['labeler'], label['place']) for label in kept})} of {LABELERS * LABELS}",
        "label_ms": [round(1e3 * statistics.median(times), 1), round(1e3 * max(times), 1)],
        "unit": "ms: median, of labels also the worst, a page and its vote",
        "goal": "all labels arrive, and whoever signed in stays so",
    }


def token(number: int) -> str:
    return f"token of labeler {number:04}"


def seconds(work: Any) -> float:
    begin = time.perf_counter()
    answer = work()
    assert answer.status_code in (200, 303), (answer.status_code, answer.text[:500])
    return time.perf_counter() - begin


def csrf_of(page: str) -> str:
    match = re.search(r'name="csrf" value="([^"]+)"', page)
    assert match
    return match[1]


def labels(web: Any, page: str) -> list[float]:
    """Seconds that each label of one person took."""
    times = []
    for number in range(LABELS):
        begin = time.perf_counter()
        match = re.search(r'name="place" value="([^"]*:[^"]*)"', web.get(f"{page}/label").text)
        assert match
        vote = ("success", "failure", "unsure")[number % 3]
        answer = web.post(f"{page}/label", data={"place": match[1], "vote": vote})
        assert answer.status_code == 303, answer.text[:500]
        times.append(time.perf_counter() - begin)
    return times


@contextlib.contextmanager
def served(folder: Path, path: Path) -> Iterator[tuple[str, int]]:
    """`withstand serve` for ten people with tokens, on a free port."""
    people = folder / "people.toml"
    people.touch(0o600)
    people.write_text(
        "\n".join(f'[[person]]\nname = "person {n}"\nrole = "labeler"\ntoken = "{token(n)}"\n' for n in range(LABELERS))
    )
    command = shutil.which("withstand", path=sysconfig.get_path("scripts")) or "withstand"
    words = [command, "serve", "--port", "0", "--tokens", str(people), "--store", str(path)]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout
        address = re.search(r"http://([\d.]+):(\d+)/", server.stdout.readline())
        assert address
        yield address[1], int(address[2])
    finally:
        server.terminate()
        server.wait(timeout=60)
