"""The suites `csv` and `jsonl`: any columns, mapped by fields."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from withstand.core import Behavior, SpecError
from withstand.data.csv import CSV
from withstand.data.jsonl import JSONL

NAMES = ("", "nr", "prompt", "ctx", "aim", "kind", "form", "labels", "part")
ROWS = [
    dict(zip(NAMES, ("0", "a", "Do x", "c", "Sure", "k", "f", "p, q", "dev"), strict=True)),
    dict(zip(NAMES, ("1", "b", "Do y", "", "", "", "", "", "final"), strict=True)),
]
MAP = {
    "id": "nr",
    "text": "prompt",
    "context": "ctx",
    "target_string": "aim",
    "category": "kind",
    "functional": "form",
    "tags": "labels",
}
WHOLE = Behavior("a", "Do x", "c", "Sure", "k", "f", ("p", "q"))


@pytest.fixture(params=[CSV, JSONL])
def suite(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A function that makes the suite over `ROWS` (or other rows) with given fields."""

    def make(rows: list[dict[str, str]] = ROWS, **given: Any) -> Any:
        path = tmp_path / "rows"
        cells = [list(rows[0]), *(list(row.values()) for row in rows)]
        quoted = [",".join(f'"{cell}"' for cell in row) for row in cells]
        lines = quoted if request.param is CSV else [json.dumps(row) for row in rows]
        path.write_text("\n".join(lines), encoding="utf-8")
        return request.param(str(path), **given)

    return make


def test_all_columns(suite: Any) -> None:
    assert suite(**MAP).load() == [WHOLE, Behavior("b", "Do y")]


def test_unmapped_columns_stay_empty(suite: Any) -> None:
    """Not even an unnamed column, as pandas writes its index, is taken for one."""
    assert suite(id="nr", text="prompt").load() == [Behavior("a", "Do x"), Behavior("b", "Do y")]


def test_made_ids(suite: Any) -> None:
    first, second = suite(id="", text="prompt", context="ctx").load()
    assert first.id != second.id
    assert len(first.id) == 16
    turned = suite(ROWS[::-1], id="", text="prompt", context="ctx").load()
    assert [behavior.id for behavior in turned] == [second.id, first.id]
    with pytest.raises(SpecError, match=r"column prompt: id '\w{16}' is already that of"):
        suite([ROWS[0], ROWS[0]], id="", text="prompt").load()


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"text": "Prompt"}, "FILE,text=prompt"),
        ({"text": "zzz"}, "FILE,text=COLUMN"),
        ({"text": "prompt", "id": "zzz"}, "FILE,id=COLUMN; id= if there is none"),
    ],
)
def test_a_column_that_is_not_there(suite: Any, given: dict[str, str], hint: str) -> None:
    made = suite([{"id": "a", "prompt": "b"}], **given)
    with pytest.raises(SpecError, match=r"no column '\w+'; there are id, prompt") as caught:
        made.load()
    assert caught.value.hint == f"say which it is: {type(made).__name__.lower()}:{hint}"


def test_split(suite: Any) -> None:
    assert suite(**MAP, split="dev", split_column="part").load() == [WHOLE]
    assert len(suite(**MAP, split_column="part").load()) == 2
    with pytest.raises(SpecError, match="column part: no row has 'finale'; there are 'dev', 'final'") as caught:
        suite(**MAP, split="finale", split_column="part").load()
    assert caught.value.hint == "did you mean final?"
    with pytest.raises(SpecError, match="no column 'parts'") as caught:
        suite(**MAP, split="dev", split_column="parts").load()
    assert caught.value.hint == "did you mean part?"


def test_harmless(suite: Any) -> None:
    assert all(behavior.benign for behavior in suite(**MAP, harmless=True).load())


def test_version_follows_the_file(suite: Any) -> None:
    one = suite(**MAP)
    before = one.version
    assert before == sha256(Path(one.path).read_bytes()).hexdigest()[:8]
    assert suite(ROWS[:1], **MAP).version != before


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"path": ""}, "path is empty"),
        ({"text": ""}, "text is empty"),
        ({"split": "test"}, "split is 'test', but no column"),
        ({"max_tokens": 0}, "max_tokens is 0"),
    ],
)
@pytest.mark.parametrize("kind", [CSV, JSONL])
def test_fields_that_cannot_be(kind: Any, given: dict[str, Any], part: str) -> None:
    with pytest.raises(SpecError, match=part) as caught:
        kind(**{"path": "file"} | given)
    assert caught.value.hint


def test_same_fields() -> None:
    """What one suite can map, the other can."""
    assert CSV.__annotations__ == JSONL.__annotations__
    assert repr(CSV("p")).removeprefix("CSV") == repr(JSONL("p")).removeprefix("JSONL")


def test_jsonl_rows_may_lack_names(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 1, "text": "x"}\n{"id": 2, "text": "y", "tags": ["a, b", "c"]}\n')
    assert JSONL(str(path), tags="tags").load() == [Behavior("1", "x"), Behavior("2", "y", tags=("a, b", "c"))]
