"""The one reader of files of records: what each form gives, and where a mistake is said to be."""

import pytest

from withstand.core import SpecError
from withstand.formats import rows


def read(name, text):
    """(place, number, value) of each record."""
    return [(row.place, row.number, row.value) for row in rows.parse(rows.File(name, text.encode()))]


def test_csv_counts_the_header_as_row_1_and_says_the_line():
    assert read("a.csv", 'x,y\n1,"2\n3"\n\n4,5\n') == [
        ("a.csv, row 2 (line 2)", 1, {"x": "1", "y": "2\n3"}),
        ("a.csv, row 4 (line 5)", 2, {"x": "4", "y": "5"}),
    ]


def test_json_lines_keep_the_number_of_their_line():
    assert read("a.jsonl", '{"x": 1}\n\n3\n') == [("a.jsonl, line 1", 1, {"x": 1}), ("a.jsonl, line 3", 3, 3)]


def test_a_json_list_is_read_under_any_name():
    assert read("a.jsonl", ' [{"x": 1}, 2]') == [("a.jsonl, item 1", 1, {"x": 1}), ("a.jsonl, item 2", 2, 2)]


def test_parquet_gives_objects(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"x": ["a", "b"]}), tmp_path / "a.parquet")
    listed = rows.parse(rows.read(str(tmp_path / "a.parquet")))
    assert [(row.number, row.value) for row in listed] == [(1, {"x": "a"}), (2, {"x": "b"})]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"x,y\n1\n", "a.csv, row 2 (line 2): 1 fields, but the header has 2 columns"),
        ("a.csv", b'x\n"1\n', "a.csv, row 2 (line 2): bad CSV"),
        ("a.jsonl", b'{"x": 1}\n{]\n', "a.jsonl, line 2, character 2: bad JSON"),
        ("a.jsonl", b"[1,\n2\n", "a.jsonl, line 3, character 1: bad JSON"),
        ("a.jsonl", b"{}\n\xff\n", "a.jsonl, line 2: byte 3 (0xff) is not UTF-8"),
    ],
)
def test_a_mistake_is_named_with_its_place(name, data, message):
    with pytest.raises(SpecError) as error:
        rows.parse(rows.File(name, data))
    assert message in str(error.value)
    assert error.value.hint


def test_a_record_that_is_no_object_is_named_when_a_cell_is_wanted():
    (row,) = rows.parse(rows.File("a.jsonl", b"[3]"))
    with pytest.raises(SpecError, match=r"a\.jsonl, item 1: expected an object, found int"):
        row.text("x")
