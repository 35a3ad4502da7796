"""Changes of a plan's file: the bytes that they change, and no others."""

from pathlib import Path

import pytest

from withstand.core import SpecError
from withstand.redteam.plan.edit import edit
from withstand.redteam.plan.records import read_plan

PLAN = '''\
schema = "withstand.plan/1"  # keep me

[plan]
name = "Kitchen"
goal = """
[[harm]]
id = "no-harm"
status = "active\\""""

[[ harm ]] # the first
id = "recipe"
title = "A recipe"
examples = [
  "[[harm]]", # in a list
  "status = 1",
]
status   =   "active"   # as it is
reason = \'\'\'of \\"""\'\'\'
  [harm.map]
  status = ["LLM07:2026"]

[[harm]]
  id = 'secret'   # the second
  title = "A code"

[record]
shared = true'''


def diff(before: bytes, after: bytes) -> tuple[list[bytes], list[bytes]]:
    """The lines that only one of two files has."""
    old, new = before.split(b"\n"), after.split(b"\n")
    return [line for line in old if line not in new], [line for line in new if line not in old]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_only_the_lines_of_a_change_differ(tmp_path: Path, end: bytes, mark: bytes) -> None:
    path = tmp_path / "plan.toml"
    before = mark + PLAN.encode().replace(b"\n", end)
    path.write_bytes(before)
    path.chmod(0o640)
    cr = end.strip(b"\n")

    edit(path, lambda draft: draft.set("harm", "recipe", {"status": "merged", "merged_into": "secret"}))
    first = path.read_bytes()
    assert diff(before, first) == (
        [b'status   =   "active"   # as it is' + cr],
        [b'merged_into = "secret"' + cr, b'status = "merged"   # as it is' + cr],
    )
    assert (first.count(b"\n"), first.startswith(mark)) == (before.count(b"\n") + 1, True)

    edit(path, lambda draft: draft.set("harm", "secret", {"status": "retired", "reason": 'of "one"\n\x7f'}))
    second = path.read_bytes()
    removed, added = diff(first, second)
    assert (removed, len(added), second.count(b"\n")) == ([], 2, first.count(b"\n") + 2)

    plan = edit(path, lambda draft: draft.add("harm", {"id": "soup", "title": "Soup [[harm]]", "examples": ["a", "b"]}))
    assert path.read_bytes().startswith(second)
    assert plan == read_plan(path)
    assert [harm.status for harm in plan.harms] == ["merged", "retired", "active"]
    assert plan.harm("secret").reason == 'of "one"\n\x7f'
    assert plan.harm("soup").examples == ("a", "b")
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_file_that_cannot_be_changed_in_place_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    for text in (
        PLAN.replace('status   =   "active"   # as it is', 'status = """active"""'),
        PLAN.replace('status   =   "active"   # as it is', '"status" = "active"'),
        PLAN[: PLAN.index("[[ harm")].replace("[plan]", "harm = [{id = 'recipe', title = 'A recipe'}]\n[plan]"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(SpecError, match="cannot be changed in place; it stays as it was"):
            edit(path, lambda draft: draft.set("harm", "recipe", {"status": "retired"}))
        assert path.read_text(encoding="utf-8") == text
    path.write_text(PLAN, encoding="utf-8")
    with pytest.raises(SpecError, match="severity is 9"):
        edit(path, lambda draft: draft.add("harm", {"id": "soup", "title": "Soup", "severity": 9}))

    def broken() -> None:
        raise SpecError("the store is full")

    with pytest.raises(SpecError, match="the store is full"):
        edit(path, lambda draft: draft.set("harm", "secret", {"status": "retired"}), broken)
    assert path.read_text(encoding="utf-8") == PLAN
    assert [entry.name for entry in tmp_path.iterdir()] == ["plan.toml"]
