"""The cases of a run as a Parquet file."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from withstand.core import SpecError
from withstand.report import write
from withstand.results.cases import CaseResult
from withstand.results.cells import CellResult


def save_parquet(
    cells: Sequence[CellResult], cases: Iterable[CaseResult], path: Path, with_text: bool = True
) -> None:  # fmt: skip
    """Write the cases with the columns of the CSV, and their texts or digests of them. Needs pandas and pyarrow.

    Raises `SpecError` where a package is missing or the file cannot be written.
    """
    try:
        import pandas
        import pyarrow  # type: ignore[import-untyped,unused-ignore] # noqa: F401 - pandas writes with it
    except ImportError as error:
        raise SpecError(
            f"parquet needs {error.name}, which is not installed",
            hint="pip install pandas pyarrow, or export jsonl or csv",
        ) from error
    rows = [
        [value.encode(errors="replace").decode() if isinstance(value, str) else value for value in row.values()]
        for row in write.rows(cells, cases, with_text)
    ]
    part = path.with_name(f".{path.name}.part")
    try:
        pandas.DataFrame(rows, columns=list(write.COLUMNS)).to_parquet(part, engine="pyarrow", index=False)
        part.replace(path)
    except OSError as error:
        raise SpecError(f"cannot write {path}: {error.strerror}", hint="name another file") from error
