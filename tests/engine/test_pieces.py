"""Pieces of a search whose tensors are in files: what is there is taken, what is gone or changed is done again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra `local`")
pytest.importorskip("safetensors", reason="needs the extra `local`")

import torch

from withstand.core import Json, TestCase, Worked, user
from withstand.engine.pieces import OLD, Held, pieces, work_to_result


class Walk:
    """Multiplies a number by a part's factor in each of six steps. `taken`: the steps of all walks."""

    taken: list[int] = []

    def __init__(self, part: Json, held: Held | None) -> None:
        self.factor, self.step, self.x = part["factor"], 0, torch.ones(1)
        if held:
            self.step, self.x = held.state, held.tensors["x"]

    @property
    def done(self) -> bool:
        return self.step == 6

    @property
    def best(self) -> tuple[float, str]:
        return -self.x.item(), "text"

    def held(self) -> Held:
        return Held(self.step, {"x": self.x})

    def result(self) -> Json:
        return [self.x.item()]


def step(live: Sequence[Walk]) -> None:
    for walk in live:
        Walk.taken.append(walk.step)
        walk.step, walk.x = walk.step + 1, walk.x * walk.factor


def piece(answer: Json = None, factor: float = 2.0) -> Any:
    resume = {"resume": answer["resume"]} if answer else {}
    return pieces([{"factor": factor, **resume}], Walk, step, every=2)[0]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WITHSTAND_CACHE", str(tmp_path))
    monkeypatch.setattr(Walk, "taken", [])
    monkeypatch.setattr("withstand.engine.pieces._DONE", set())
    return tmp_path / "searches"


def names(folder: Path) -> set[str]:
    return {path.stem for path in folder.iterdir()}


def test_each_piece_resumes_at_the_one_before_and_keeps_two_files_at_most(folder: Path) -> None:
    first = piece()
    assert (first["step"], first["text"], first["lowest"]) == (2, "text", -4.0)
    second = piece(first)
    assert second["resume"]["files"][1:] == first["resume"]["files"]
    assert names(folder) == set(second["resume"]["files"])
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert piece(second) == [64.0]
    assert Walk.taken == list(range(6))
    assert names(folder) == set(second["resume"]["files"][:1])


def test_the_flow_takes_a_whole_result_and_offers_what_each_piece_has(folder: Path) -> None:
    """The first part is that of earlier versions, which did all steps in it: their results are in stores."""
    part = {"behavior": {"id": "a"}}
    flow = work_to_result(None, piece, part)  # type: ignore[arg-type]
    assert next(flow).part == part
    with pytest.raises(StopIteration) as end:
        flow.send(Worked([1.0, "old"]))
    assert end.value.value == [1.0, "old"]
    flow = work_to_result(None, piece, part)  # type: ignore[arg-type]
    next(flow)
    first = piece()
    assert flow.send(Worked(first)) == TestCase("a", user("text"), score=4.0)
    assert flow.send(None).part == {**part, "resume": first["resume"]}


def test_files_are_deleted_once_the_result_is_stored_by_the_process_that_found_it(folder: Path) -> None:
    """A disk that is full loses the result, not the search; and a replay deletes nothing."""

    def stored(*answers: Json) -> None:
        flow = work_to_result(None, piece, {"behavior": {"id": "a"}})  # type: ignore[arg-type]
        next(flow)
        for answer in answers:
            flow.send(Worked(answer))
            next(flow)

    second = piece(piece())
    with pytest.raises(StopIteration):
        stored(second, [64.0])
    assert len(names(folder)) == 2
    result = piece(second)
    assert len(names(folder)) == 1
    with pytest.raises(StopIteration):
        stored(second, result)
    assert names(folder) == set()


@pytest.mark.parametrize(("lost", "first_step"), [([0], 2), ([1], 4), ([0, 1], 0)])
@pytest.mark.parametrize("how", ["gone", "changed"])
def test_a_lost_file_costs_steps_and_changes_nothing(folder: Path, lost: list[int], first_step: int, how: str) -> None:
    second = piece(piece())
    for i in lost:
        path = folder / f"{second['resume']['files'][i]}.safetensors"
        path.unlink() if how == "gone" else path.write_bytes(path.read_bytes()[:-1] + b"?")
    Walk.taken.clear()
    assert piece(second) == [64.0]
    assert Walk.taken == list(range(first_step, 6))


def test_parts_at_different_steps_share_a_pack(folder: Path) -> None:
    first = piece(factor=3.0)
    parts = [{"factor": 3.0, "resume": first["resume"]}, {"factor": 2.0}]
    answers = pieces(parts, Walk, step, every=4, together=2)
    assert (answers[0], answers[1]["step"]) == ([729.0], 4)
    assert names(folder) == {*first["resume"]["files"], *answers[1]["resume"]["files"]}


def test_a_cache_that_cannot_be_written_makes_one_piece_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WITHSTAND_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(Walk, "taken", [])
    with pytest.warns(UserWarning, match="cannot be written"):
        assert piece() == [64.0]
    assert Walk.taken == list(range(6))


def test_a_store_names_no_other_file(folder: Path, tmp_path: Path) -> None:
    """What is resumed at comes from a store, which somebody may have changed."""
    (tmp_path / "model.safetensors").write_text("weights")
    names_ = ["../model", "../model", str(tmp_path / "model")]
    assert piece({"resume": {"step": 4, "files": names_}}) == [64.0]
    assert piece({"resume": {"step": 10**12, "files": names_}}) == [64.0]
    assert (tmp_path / "model.safetensors").read_text() == "weights"


def test_what_nobody_continued_is_deleted_after_a_month(folder: Path) -> None:
    import os

    first = piece()
    [path] = folder.iterdir()
    os.utime(path, (path.stat().st_mtime - OLD - 60,) * 2)
    piece(factor=5.0)
    assert first["resume"]["files"][0] not in names(folder)
