"""A published suite, from your copy of its file. Its preset says columns, source, license, twin and taxonomy. Ours."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from withstand.core import Behavior, SpecError
from withstand.core.home import home_dir
from withstand.core.taxonomy import check_taxonomy
from withstand.data import _read
from withstand.formats import rows


@dataclass(frozen=True, slots=True)
class Published(_read.Mapped):
    """One table of a published suite: CSV, JSON Lines, a JSON list or Parquet, by the file's ending.

    path: your copy: the file, its http(s) URL, or a folder (a checkout) that holds it under one of `files`; left out,
    the folder `suites` below `WITHSTAND_HOME`. Columns are matched without regard to case.
    id, text, context, target_string, category, functional, tags, cluster: names of columns; "" where the file has none.
    Without a column of ids, they are made from text and context. A text may be a list of one turn.
    files: names of the file, with the folders that upstream keeps it in.   source: where to get it.
    package: folder of an installed package that holds it, as pyrit/datasets; read where you have no copy of your own.
    checksums: SHA-256 of published copies; another copy is used and named in the run's notes.
    count: behaviors of a published copy; 0 where nobody counted them for us.
    other_half: name of the file that holds another half, which is refused.
    names: of categories that the file numbers from 1.
    taxonomy: rows of a category, its MLCommons hazards and its OWASP ids (Top 10 for LLM applications 2025).

    Rows whose text repeats that of an earlier row are left out, and the run's notes count them.
    """

    path: str = ""
    files: tuple[str, ...] = ()
    package: str = ""
    source: str = ""
    checksums: tuple[str, ...] = ()
    count: int = 0
    other_half: str = ""
    names: tuple[str, ...] = ()
    taxonomy: tuple[tuple[str, str, str], ...] = ()

    def __post_init__(self) -> None:
        if not (self.path or self.files):
            raise SpecError("path is empty", hint="name the file")
        if not self.path:
            replace(self, path=self.files[0])  # checks the other fields
            return
        _read.Mapped.__post_init__(self)
        if self.other_half and Path(urlsplit(self.path).path).name == self.other_half:
            raise SpecError(f"{self.path} is another half of this suite", hint=f"name {' or '.join(self.files)}")
        check_taxonomy(self.taxonomy)

    @property
    def place(self) -> str:
        """The path or URL of the copy; where there is none, the place where it is looked for."""
        if rows.is_url(self.path) or (self.path and not Path(self.path).expanduser().is_dir()):
            return self.path
        folder = Path(self.path).expanduser() if self.path else home_dir("suites")
        places = [folder / name for name in self.files]
        places += (
            [] if self.path else [inside / name for inside in _read.installed(self.package) for name in self.files]
        )
        return str(next((place for place in places if place.is_file()), places[0]))

    @property
    def near(self) -> str:
        """Where the other half of this suite lies, by the path that was given: in the same file, or in its folder."""
        if self.split_column or self.path != self.place:
            return self.path
        return "" if rows.is_url(self.path) else str(Path(self.path).parent)

    @property
    def version(self) -> str:
        """`published` and the head of its SHA-256 for a known copy, `modified` for another; else the head alone."""
        digest = sha256(self._file().data).hexdigest()
        word = "" if not self.checksums else "published-" if digest in self.checksums else "modified-"
        return word + digest[:8]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of this copy."""
        table, unique = self._table()
        behaviors, notes = len(unique), list[str]()
        digest = sha256(self._file().data).hexdigest()
        published = f"; a published copy has {self.count}" if self.count and behaviors != self.count else ""
        if self.checksums and digest not in self.checksums:
            notes.append(f"{table.name} is no published copy that we know: {behaviors} behaviors{published}")
        elif published:
            notes.append(f"{table.name} has {behaviors} behaviors{published}")
        if repeated := len(table.rows) - behaviors:
            words = (
                "row repeats the text of another and is" if repeated == 1 else "rows repeat the text of another and are"
            )
            notes.append(f"{table.name}: {repeated} {words} left out")
        return tuple(notes)

    def load(self) -> list[Behavior]:
        """The behaviors, in the file's order. Raises `SpecError` with file, row and column."""
        table, unique = self._table()
        columns = {name: getattr(self, name) for name in _read.MAPPED}
        kept = _read.Table(table.name, table.columns, tuple(unique))
        return [
            replace(behavior, category=self._category(behavior.category))
            for behavior in _read.behaviors(kept, columns, benign=self.harmless)
        ]

    def _file(self) -> rows.File:
        """Raises `MissingError` that says where to get it."""
        try:
            return rows.read_or_fetch(self.place)
        except rows.MissingError as error:
            license = f" ({self.license})" if self.license else ""
            package = f", install {self.package.partition('/')[0]}" if self.package else ""
            hint = f"get it from {self.source}{license} and put it there{package}, or give its path"
            raise rows.MissingError(str(error), hint=hint if self.source else "name the file") from None

    def _table(self) -> tuple[_read.Table, list[rows.Row]]:
        """The rows of the split with the columns as the fields call them, and those whose text is new."""
        file = self._file()
        wanted = [column for name in (*_read.MAPPED, "split_column") if (column := getattr(self, name))]
        parsed = rows.parse(file)
        heads = dict.fromkeys(column for row in parsed for column in row.cells)
        exact = {column.lower(): column for column in wanted}
        renamed = {head: exact[head.lower()] for head in heads if head not in wanted and head.lower() in exact}
        table = _read.Table.of(file, [_plain(row, renamed, self.text) for row in parsed])
        if lacking := [column for column in wanted if column not in table.columns]:
            message = f"{file.name} lacks {', '.join(lacking)}; its columns are {', '.join(table.columns)}"
            where = f"; the file is at {self.source}" if self.source else ""
            raise SpecError(message, hint=f"is it {' or '.join(self.files) or 'the right file'}?{where}")
        if self.split:
            table = table.only(self.split_column, self.split)
        return table, _unique(table.rows, self.text, self.context)

    def _category(self, cell: str) -> str:
        """The name of a numbered category; any other as it stands."""
        number = int(cell) if cell.isdecimal() else 0
        return self.names[number - 1] if 0 < number <= len(self.names) else cell


def _plain(row: rows.Row, renamed: dict[str, str], text: str) -> rows.Row:
    """The row with wanted columns under the names of the fields, truth values as text, and one turn as its text."""
    cells = {renamed.get(name, name): value for name, value in row.cells.items()}
    for name, value in cells.items():
        if isinstance(value, bool):
            cells[name] = str(value).lower()
        elif name == text and isinstance(value, list):
            if len(value) != 1:
                raise SpecError(f"{row.place}, column {name}: {len(value)} turns", hint="a behavior has one turn")
            cells[name] = value[0]
    return replace(row, value=cells)


def _unique(listed: Sequence[rows.Row], text: str, context: str) -> list[rows.Row]:
    """The first row of each text and context; a row without text is kept, for the error that names it."""
    first: dict[tuple[str, str], rows.Row] = {}
    for row in listed:
        first.setdefault((row.text(text) or row.place, row.text(context)), row)
    return list(first.values())
