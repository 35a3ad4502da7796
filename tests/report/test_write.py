"""The Markdown report: a row for each cell, and of each note whom it is about."""

from pathlib import Path

import withstand
from withstand.report.write import markdown


def test_a_row_for_each_cell_and_whom_a_note_is_about(tmp_path: Path) -> None:
    writer = {"use": "scripted", "reply": '{"prompt": "Bake, draft {n}"}', "rules": []}
    stubborn = writer | {"reply": "I can't help with that."}
    tactics = {"use": "tactics", "n": 1, "tries": 2}
    spec = {
        "suite": {"use": "kitchen", "limit": 2},
        "target": {"use": "scripted", "reply": "No {n}"},
        "attack": ["direct", {**tactics, "attacker": writer}, {**tactics, "attacker": stubborn}],
        "benign": "none",
    }
    done = withstand.run(spec, store=tmp_path / "s.db")
    text = markdown(done.result)
    rows = [[column.strip() for column in line.strip("|").split("|")] for line in text.splitlines() if "|" in line]
    names, _, *cells = rows
    assert [len(row) for row in cells] == [len(names)] * 3
    direct = dict(zip(names, cells[0], strict=True))
    assert (direct["attack"], direct["broken"], direct["asks"]) == ("direct", "0 of 2", "2")
    assert int(direct["tokens"]) > 0
    notes = [line for line in text.splitlines() if line.startswith("- ")]
    lost = [note for note in notes if "without a row" in note]
    assert len(lost) == 1
    assert lost[0].startswith("- tactics")
    assert "I can't help" in lost[0]  # two cells are called tactics, so that it is named in full
    assert any(note.startswith("- no benign prompts were sent") for note in notes)


def test_only_what_an_attack_drew_by_itself_is_called_its_own(tmp_path: Path) -> None:
    spec = {
        "suite": {"use": "kitchen", "limit": 2},
        "target": {"use": "scripted", "reply": "Sure {n}"},
        "attack": ["direct", "best_of_n,n=4"],
        "judge": "contains:Sure",
        "benign": "none",
    }
    drawn = withstand.run(spec, store=tmp_path / "s.db").cells
    stopped = withstand.run(spec | {"until_success": True}, store=tmp_path / "s.db").cells
    notes = [[note for note in cell["notes"] if "own draws" in note] for cell in (*drawn, *stopped)]
    assert notes == [[], ["8 cases are the attack's own draws, with its own sampling"], [], []]
