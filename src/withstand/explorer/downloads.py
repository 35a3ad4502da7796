"""Files of a run to keep: its reports, cases and bundle, as `withstand report`, `cite` and `bundle` write them.

Without texts anybody may keep them. With texts an admin may, where the server was started for it, by a POST.
"""

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

from starlette.responses import Response, StreamingResponse

from withstand.core import SpecError
from withstand.core.text import count
from withstand.explorer.app import PageRequest, attachment
from withstand.explorer.security import Refused
from withstand.report import bundle
from withstand.report import write as files
from withstand.report.cite import cite
from withstand.report.parquet import save_parquet
from withstand.report.pdf import pdf
from withstand.results.cases import cases
from withstand.results.summary import summarize

Content = bytes | str | Iterable[str]
Make = Callable[[PageRequest, bool], Content]
"""What is in the file; the flag: with texts."""


@dataclass(frozen=True, slots=True)
class Download:
    """A file of a run. kind: its media type.   texts: it may hold texts; without them it has digests or lengths."""

    name: str
    title: str
    kind: str
    make: Make
    texts: bool = False


def _rendered(form: str, asked: PageRequest, with_text: bool) -> Content:
    return files.render(asked.explorer.store, asked.run(), form, with_text=with_text)


def _pdf(asked: PageRequest, with_text: bool) -> Content:
    page = files.render(asked.explorer.store, asked.run(), "html", reveal=with_text, with_text=with_text)
    if not asked.explorer.printing.acquire(timeout=60):  # one browser at a time
        raise SpecError("another report is being printed", hint="try again in a minute")
    try:
        return pdf(page, asked.explorer.chromium)
    finally:
        asked.explorer.printing.release()


def _csv(asked: PageRequest, with_text: bool) -> Content:
    indexed = asked.indexed(texts=False)
    return files.csv_of(indexed.summary.cells, cases(asked.explorer.store, indexed.run), with_text)


def _parquet(asked: PageRequest, with_text: bool) -> Content:
    indexed = asked.indexed(texts=False)
    with tempfile.TemporaryDirectory(prefix="withstand-") as folder:  # mode 0700
        path = Path(folder, "cases.parquet")
        save_parquet(indexed.summary.cells, cases(asked.explorer.store, indexed.run), path, with_text)
        return path.read_bytes()


def _bundle(asked: PageRequest, _: bool) -> Content:
    return bundle.zipped(bundle.files_of(asked.explorer.store, asked.run(), metadata.version("withstand")))


def _cite(asked: PageRequest, _: bool) -> Content:
    return cite(summarize(asked.explorer.store, asked.run()))


DOWNLOADS = (
    Download("report.html", "HTML", "text/html", partial(_rendered, "html"), texts=True),
    Download("report.pdf", "PDF", "application/pdf", _pdf, texts=True),
    Download("report.md", "Markdown", "text/markdown", partial(_rendered, "md")),
    Download("report.tex", "LaTeX", "application/x-tex", partial(_rendered, "tex")),
    Download("summary.json", "numbers as JSON", "application/json", partial(_rendered, "json")),
    Download("cases.csv", "cases as CSV", "text/csv", _csv, texts=True),
    Download("cases.parquet", "cases as Parquet", "application/vnd.apache.parquet", _parquet, texts=True),
    Download("references.bib", "BibTeX", "application/x-bibtex", _cite),
    Download("spec.toml", "spec", "application/toml", partial(_rendered, "toml")),
    Download("bundle.zip", "bundle", "application/zip", _bundle),
)


def _keep(download: Download, asked: PageRequest) -> Response:
    """The file without texts. The audit, where it can be written, says once for each session who has it."""
    if asked.query.get("text") == "1":
        raise Refused(403, "an address exports no texts", "press the button on the page of the run, or send a POST")
    answer = _answer(download, asked, with_text=False)
    run = asked.run()
    if not asked.explorer.read_only and (run.key, download.name) not in asked.session.downloaded:
        asked.explorer.audit(asked.who, "download", f"{run.name}, {download.name} without texts")
        asked.session.downloaded.add((run.key, download.name))
    return answer


def _keep_texts(download: Download, asked: PageRequest) -> Response:
    """The file with its texts, where the server was started for that and an admin asks."""
    asked.need("admin")
    if not asked.explorer.with_text:
        raise Refused(403, "this explorer exports no texts", "start it with --with-text")
    indexed = asked.indexed(texts=False)
    number = count(sum(cell.cases for cell in indexed.summary.cells), "case")
    asked.explorer.audit(asked.who, "export", f"{indexed.run.name}, {download.name}, {number} with texts")
    return _answer(download, asked, with_text=True)


def _answer(download: Download, asked: PageRequest, with_text: bool) -> Response:
    content = download.make(asked, with_text)
    head = attachment(f"{asked.run().name}-{download.name}")
    if isinstance(content, (bytes, str)):
        data = content if isinstance(content, bytes) else content.encode("utf-8", "replace")
        return Response(data, media_type=download.kind, headers=head)
    lines = (line.encode("utf-8", "replace") for line in content)
    return StreamingResponse(lines, media_type=download.kind, headers=head)


def offered(asked: PageRequest) -> Mapping[str, tuple[Download, ...]]:
    """The files for the page of a run: without texts, and with texts for who may have those."""
    may = asked.explorer.with_text and asked.may("admin")
    return {
        "files": DOWNLOADS,
        "with_text": tuple(download for download in DOWNLOADS if download.texts) if may else (),
    }


ROUTES = (
    *((f"/runs/{{run}}/{download.name}", partial(_keep, download), ["GET"]) for download in DOWNLOADS),
    *(
        (f"/runs/{{run}}/{download.name}", partial(_keep_texts, download), ["POST"])
        for download in DOWNLOADS
        if download.texts
    ),
)
