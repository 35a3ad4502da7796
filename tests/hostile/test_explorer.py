"""What people who may open the explorer, and programs beside it, may not get from it."""

import contextlib
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import withstand

pytest.importorskip("starlette")

from explorer_web import SPEC, client, run_path
from withstand.explorer.security import Auth, Person, token_digest

TOKENS = {"vera": "v" * 20, "adam": "a" * 20}
PEOPLE = (
    Person("vera", "viewer", token_digest(TOKENS["vera"])),
    Person("adam", "admin", token_digest(TOKENS["adam"])),
)


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: Any) -> Path:
    """A store of one run, to copy."""
    path = tmp_path_factory.mktemp("kitchen") / "s.db"
    withstand.run({**SPEC, "limit": 6}, store=path, name="kitchen").store.close()
    return path


@pytest.fixture
def path(kitchen: Path, tmp_path: Path) -> Path:
    with contextlib.closing(sqlite3.connect(kitchen)) as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Path(shutil.copy(kitchen, tmp_path / "s.db"))


def people() -> Auth:
    return Auth("127.0.0.1", 8765, PEOPLE)


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[name]}"}


def audits(path: Path) -> list[tuple[str, str, str]]:
    """Person, action and subject of each row of the audit, oldest first."""
    with contextlib.closing(withstand.load("kitchen", path).store) as store:
        return [(entry["person"], entry["action"], entry["subject"]) for entry in store.audits()[::-1]]


# --- search ------------------------------------------------------------------------------------------------------


def test_phrases_rebuild_no_hidden_text(path: Path) -> None:
    """A viewer of a read-only explorer asks for longer and longer phrases: no answer depends on a hidden text."""
    run = withstand.load("kitchen", path)
    cases = list(run.cases())
    case = max(cases, key=lambda case: len(case["completion"]))
    words = re.findall(r"[a-z]{4,}", case["completion"].lower())
    vocabulary = {word for other in cases for word in re.findall(r"[a-z]{4,}", str(other["chat"]).lower())}
    identifiers = " ".join(case["behavior"] for case in cases)
    with client(path, people(), read_only=True) as web:
        base = run_path_of(web)
        spot = re.findall(r'href="[^"]*/cases/([\d.]+)', web.get(f"{base}/cases", headers=bearer("vera")).text)[3]
        for word in sorted({*words, *vocabulary})[:40]:
            if word in identifiers:
                continue
            for query in (word, f'"{word}"', f'"{" ".join(words[:2])}"', f"completion: {word}", f") OR {word} ("):
                listed = web.get(f"{base}/cases", params={"text": query}, headers=bearer("vera"))
                beside = web.get(f"{base}/cases/{spot}", params={"text": query}, headers=bearer("vera"))
                assert "No case matches" in listed.text, query
                assert 'rel="next"' not in beside.text, query
        named = web.get(f"{base}/cases", params={"text": case["behavior"]}, headers=bearer("vera"))
        assert case["behavior"] in named.text  # what the list shows can be found
    assert audits(path) == []


def run_path_of(web: Any) -> str:
    match = re.search(r'href="(/runs/[0-9a-f]+)">kitchen<', web.get("/", headers=bearer("vera")).text)
    assert match
    return match[1]


def test_a_search_over_texts_is_in_the_audit(path: Path) -> None:
    with client(path, people()) as web:
        base = run_path_of(web)
        page = web.get(f"{base}/cases", params={"text": "grandfather shows"}, headers=bearer("vera")).text
        assert 'class="case"' in page  # vera may reveal every text, so a search may look at all
        web.get(f"{base}/cases/1.0.0.0", params={"text": "zebra"}, headers=bearer("vera"))
    [first, second] = audits(path)
    assert first[:2] == second[:2] == ("vera", "search")
    assert re.fullmatch(r"kitchen, 2 words, digest [0-9a-f]{12}", first[2])  # a text that a purge erases is not in it
    assert re.fullmatch(r"kitchen, 1 word, digest [0-9a-f]{12}", second[2])


def test_pages_of_a_search_are_audited_once(path: Path) -> None:
    with client(path) as web:
        base = run_path(web)
        for tail in ("cases?text=step", "cases?text=step&after=3", "cases/1.0.0.0?text=step", "cases?text=soup"):
            assert web.get(f"{base}/{tail}").status_code == 200
    assert [action for _, action, _ in audits(path)] == ["search", "search"]
