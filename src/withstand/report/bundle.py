"""A run to hand over: numbers, hashes and provenance without the texts, and whether such a bundle is true.

A bundle is a folder or a zip file: `manifest.json` (SHA-256 of each other file), `summary.json` (what
`withstand report --format json` prints), `cases.jsonl` (each case with its outcome, what people said of it, and digests
of what was sent and answered), `report.html` without texts, `spec.toml`, `README.txt`, and where its maker signed it
`manifest.json.sig`.
What is in a bundle is data: no component that it names is built.
"""

import hashlib
import io
import json
import math
import re
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from withstand.core import Json, SpecError, bounded, digest, dumps
from withstand.core.content import to_json
from withstand.core.outcomes import HITS, OUTCOMES, SCORED
from withstand.core.text import count, unique, visible
from withstand.registry.grammar import to_toml
from withstand.report.html import html
from withstand.report.packed import unpack
from withstand.report.write import HTML_CASES, save
from withstand.results.advice import asked_of, case_facts, from_cases
from withstand.results.cases import cases
from withstand.results.cell_builder import interval
from withstand.results.cells import measures, plain
from withstand.results.families import of_cases
from withstand.results.graded import graded, rows_of
from withstand.results.labeling import place_named
from withstand.results.reviewed import said_of
from withstand.results.summary import find_run, summarize
from withstand.results.worst_case import Together, Tried, by_category
from withstand.runner.foreign import FROM_BUNDLE, MANIFEST, MARK
from withstand.stats import rates
from withstand.stats.group_sequential import Watch, paths
from withstand.store.store import RunRow, Store

FORMAT = 1
FACED = ("suite", "target", "defense", "judge", "benign")
SIGNATURE = "manifest.json.sig"
PEOPLE = "people"
"""In a case that people labeled: the outcome that they say."""

README = """\
The results of a run of withstand, without the texts that were sent and answered.

summary.json   every number of the report
cases.jsonl    every case: outcome, labels of people, and digests of prompt, completion, the judge's reason and errors
report.html    the report, texts left out
spec.toml      what was run
manifest.json  SHA-256 of each other file; manifest.json.sig, where there is one, is its SSH signature

withstand bundle verify PATH               checks the hashes and computes the figures anew from the cases
withstand bundle verify PATH --store DB    compares every case with the store of the run
"""


SPEC_HEAD = f"# What was run. While it says {FROM_BUNDLE}, it may name no file, command, variable or code.\n"

# --- made --------------------------------------------------------------------------------------------------------


def files_of(store: Store, run: RunRow, version: str) -> dict[str, bytes]:
    """The files of a bundle by name. `version` is the package's."""
    summary = summarize(store, run)
    listed = cases(store, run, max(1, HTML_CASES // max(1, len(summary.cells))))
    total = sum(cell.cases for cell in summary.cells)
    files = {
        "README.txt": README.encode(),
        "summary.json": (json.dumps(summary.to_json(), indent=1) + "\n").encode(),
        "cases.jsonl": "".join(f"{dumps(row)}\n" for row in _rows(store, run)).encode(),
        "report.html": html(summary, listed, total, with_text=False).encode(),
        "spec.toml": (SPEC_HEAD + to_toml({FROM_BUNDLE: run.key, **run.spec})).encode(),
    }
    manifest = {
        MARK: FORMAT, "run": run.name, "run_key": run.key, "withstand": version,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }  # fmt: skip
    return {MANIFEST: (json.dumps(manifest, indent=1) + "\n").encode(), **files}


def _rows(store: Store, run: RunRow) -> Iterator[dict[str, Any]]:
    """Each case as `graded` counts it, with what people said of it where they labeled it, and digests of its texts; an
    empty text has none."""
    texts, people = {}, said_of(store.labels(run.key))
    for case in cases(store, run):
        prompt = dumps([[turn.role, turn.text] for turn in case.chat]) if case.chat else ""
        parts = {"prompt": prompt, "completion": case.completion, "why": case.why, "error": case.error}
        texts[case.cell, case.behavior, case.case, case.sample] = {
            "score": case.score,
            **{name: digest(text) if text else "" for name, text in parts.items()},
        }
    asked = asked_of(store, run)
    for index, cell in enumerate(graded(store, run)):
        for row in rows_of([cell]):
            at = (index, row["behavior"], row["case"], row["sample"])
            label = people.get(place_named(*at))
            more: dict[str, Any] = {PEOPLE: label} if label else {}
            if index in asked:
                more["advice"] = case_facts(asked[index], row["key"], at[2:])
            yield {"cell": index, **row, **more, **texts.get(at, {})}


def write(files: Mapping[str, bytes], output: str) -> None:
    """As a zip file where the name ends in .zip, else as a folder, which must be new or empty."""
    path = Path(output)
    try:
        if path.suffix.lower() == ".zip":
            path.write_bytes(zipped(files))
            return
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise SpecError(f"{output} is not empty", hint="name a new folder, or a .zip file, with -o")
        for name, data in files.items():
            save(path / name, data.decode())
    except OSError as error:
        raise SpecError(f"cannot write {output}: {error.strerror}", hint="name another place with -o") from error


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A bundle as a zip file. Its dates are fixed, so that equal runs make equal files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def digest_of(files: Mapping[str, bytes]) -> str:
    """SHA-256 of the manifest, which holds those of all other files: to be told beside a bundle."""
    return hashlib.sha256(files[MANIFEST]).hexdigest()


# --- checked -----------------------------------------------------------------------------------------------------


def read(where: str) -> dict[str, bytes]:
    """The files of a bundle by name; nothing is unpacked. Raises `SpecError` for what is no bundle."""
    path = Path(where)
    files: dict[str, bytes] = {}
    try:
        if path.is_dir():
            for entry in sorted(path.iterdir()):
                if not entry.is_file():
                    raise SpecError(f"{where} is no bundle: it holds {entry.name}, which is no file", hint=_MAKE)
                files[entry.name] = bounded.read_bytes(entry, bounded.BUNDLE)
        else:
            files = bounded.read_zip(path)
        manifest = _json(MANIFEST, files[MANIFEST])
        if manifest[MARK] != FORMAT:
            raise SpecError(f"{where} is a bundle of format {manifest[MARK]}; this version reads {FORMAT}", hint=_NEWER)
        if not isinstance(manifest["files"], dict):
            raise TypeError("files is no object")
    except (OSError, KeyError, TypeError) as error:
        raise SpecError(f"{where} is no bundle: {type(error).__name__} {error}", hint=_MAKE) from error
    return files


def _json(name: str, data: bytes) -> Json:
    return bounded.parse_json(name, bounded.decode(name, data))


_MAKE = "`withstand bundle RUN -o PATH` makes one, a folder or a zip file"
_NEWER = "use the version of withstand that made it"


def verify(files: Mapping[str, bytes], store: Store | None = None) -> list[tuple[str, list[str]]]:
    """What was checked, each with what is wrong with it; nothing wrong is an empty list."""
    manifest = json.loads(files[MANIFEST])
    checks = [(f"hashes of {count(len(manifest['files']), 'file')}", list(_hashes(manifest["files"], files)))]
    try:
        summary = json.loads(files["summary.json"])
        rows = [json.loads(line) for line in files["cases.jsonl"].decode().splitlines() if line.strip()]
        wrong = list(_figures(summary, rows))
        label = f"figures of {count(len(summary['cells']), 'cell')}, from {count(len(rows), 'case')}"
    except (KeyError, ValueError, TypeError, AttributeError, ZeroDivisionError) as error:
        return [*checks, ("figures", [f"cannot be read: {type(error).__name__} {error}"])]
    checks += [(label, wrong), ("verdicts of the report", list(_report(files.get("report.html", b""), rows)))]
    if store is not None:
        checks.append((f"cases against {store.where}", list(_against(store, manifest, rows))))
    return checks


def _report(page: bytes, rows: Sequence[Json]) -> Iterator[str]:
    """Verdicts that the report shows and the cases do not have."""
    try:
        blocks = [unpack(block) for block in re.findall(r">(eJ[A-Za-z0-9+/=]+)<", page.decode())]
        if not blocks:
            if rows:
                yield "the report shows no case"
            return
        names = blocks[0]["outcomes"]
        ids = [(row[0], row[1]) for block in blocks[1:] for row in block]
        outcomes = [names[place] for place in blocks[0]["outcome"]]
        shown = Counter(zip(blocks[0]["cell"], ids, outcomes, strict=True))
        have = Counter((row["cell"], (visible(row["behavior"]), row["sample"]), row["outcome"]) for row in rows)
    except (KeyError, ValueError, TypeError, IndexError, AttributeError, zlib.error) as error:
        yield f"report.html cannot be read: {type(error).__name__} {error}"
        return
    if lost := shown - have:
        cell, (behavior, _), outcome = min(lost)
        yield f"{count(lost.total(), 'verdict')} not in the cases, such as {outcome} for {behavior} of cell {cell}"
    elif shown.total() < min(len(rows), HTML_CASES):
        yield f"the report shows {shown.total()} of {len(rows)} cases"


def _hashes(wanted: Mapping[str, str], files: Mapping[str, bytes]) -> Iterator[str]:
    for name in sorted({*wanted, *files} - {MANIFEST, SIGNATURE}):
        if name not in files:
            yield f"{name} is missing"
        elif name not in wanted:
            yield f"{name} is not in the manifest"
        elif hashlib.sha256(files[name]).hexdigest() != wanted[name]:
            yield f"{name} is not what the manifest says"


def _figures(summary: Json, rows: Iterable[Json]) -> Iterator[str]:
    by_cell: dict[int, list[Json]] = defaultdict(list)
    for row in rows:
        by_cell[row["cell"]].append(row)
    limit = summary["run"]["spec"].get("stop_when_decided")
    faced = [tuple(cell[name] for name in FACED) for cell in summary["cells"]]
    for cell, rivals in zip(summary["cells"], map(faced.count, faced), strict=True):
        for name, value in figures(cell, by_cell[cell["index"]], limit, rivals).items():
            if not _same(cell.get(name), value):
                where = f"cell {cell['index']} ({cell['target']}, {cell['defense']}, {cell['attack']})"
                yield f"{where}: {name} is {cell.get(name)}, from the cases {value}"
    for worst in summary.get("worst", ()):
        yield from _worst_figures(summary["cells"], worst, by_cell, limit is not None)
    for where, stated, computed in chain(_advice(summary, by_cell), _families(summary, by_cell)):
        for name in sorted({*stated, *computed}):
            if not _same(stated.get(name), computed.get(name)):
                yield f"{where}: {name} is {stated.get(name)}, from the cases {computed.get(name)}"
    if lost := set(by_cell) - {cell["index"] for cell in summary["cells"]}:
        yield f"cases of cells that the summary does not have: {sorted(lost)}"


def _advice(summary: Json, rows: Mapping[int, Sequence[Json]]) -> Iterator[tuple[str, Json, Json]]:
    """What the summary says of advice beside what the cases do."""
    computed: list[Json] = [plain(result) for result in from_cases(summary, rows)]
    listed: list[Json] = summary.get("advice", [])  # older bundles have none
    empty: Json = {}
    for stated, own in zip_longest(listed, computed, fillvalue=empty):
        yield f"advice of {(own or stated)['attack']}", stated, own


def _families(summary: Json, rows: Mapping[int, Sequence[Json]]) -> Iterator[tuple[str, Json, Json]]:
    """What the summary says of variants beside what the cases do. What writers lost is in no case."""
    stated, computed = summary.get("families") or {}, of_cases(summary, rows)
    for name in sorted({*stated, *computed}):
        both = [side.get(name) or () for side in (stated, computed)]
        if name != "rows":
            yield "families of variants", {name: both[0]}, {name: both[1]}
            continue
        for entry, own in zip_longest(*both, fillvalue={}):
            yield f"variants of {(own or entry)['arm']}", entry, own


def _worst_figures(
    cells: Sequence[Json], worst: Json, rows: Mapping[int, Sequence[Json]], watched: bool
) -> Iterator[str]:
    """What is not as the cases say of the behaviors that any attack broke, where a label of people stands in place of
    the judge's verdict."""
    labels = ("suite", "target", "defense", "judge")
    own = [cell for cell in cells if measures(cell) == "harm" and all(cell[name] == worst[name] for name in labels)]
    places: dict[str, int] = {}
    categories: dict[int, str] = {}
    tried: list[Tried] = []
    clusters: list[dict[int, str]] = []
    labeled, seen_broken = 0, set[int]()
    for cell in own:
        cases_here = [row | {"outcome": row.get(PEOPLE, row["outcome"])} for row in rows[cell["index"]]]
        for row in cases_here:
            categories[places.setdefault(row["key"], len(places))] = row["category"]
        names = [places[name] for name in unique(row["key"] for row in cases_here)]
        counted = zip(names, _by_behavior(cases_here), strict=True)
        tried.append(
            {
                place: (counts["success"], counts["unscored"] + counts["error"], sum(counts.values()))
                for place, counts in counted
            }
        )
        clusters.append(dict(zip(names, _clusters(cases_here), strict=True)))
        by_people = [row for row in cases_here if PEOPLE in row]
        labeled += len(by_people)
        seen_broken |= {places[row["key"]] for row in by_people if row[PEOPLE] == "success"}
    together = Together.of(tried, watched, clusters)
    seen = together.estimate()
    broken = (sum(hits > 0 for hits, *_ in behaviors.values()) for behaviors in tried)
    computed: dict[str, Any] = {"attacks": dict(zip((cell["attack"] for cell in own), broken, strict=True))}
    computed |= {"labeled": labeled, "checked": len(seen_broken & {*together.broken}), "broken": len(together.broken)}
    if seen is not None:
        computed |= {"behaviors": seen.behaviors, "rate": seen.rate, "bounds": seen.bounds, "open": seen.open}
        computed |= {} if watched else {"interval": seen.interval}
        computed["by_category"] = [to_json(part) for part in by_category(together, categories)]
    for name, value in computed.items():
        if not _same(worst[name], value):
            yield f"any attack on {worst['target']}: {name} is {worst[name]}, from the cases {value}"


def figures(cell: Json, rows: Sequence[Json], limit: float | None = None, rivals: int = 1) -> dict[str, Any]:
    """Counts, rates, intervals and bounds of a cell from its cases alone; the corrected rate needs labels.

    limit: the run asks only until the ASR lies below or above it.   rivals: attacks on the same.
    """
    what = measures(cell)
    hits = HITS[what]
    behaviors = _by_behavior(rows)
    counted, scored = _columns(behaviors, hits)
    unknown = [counts["unscored"] + counts["error"] for counts in behaviors]
    wanted = [sum(counts.values()) for counts in behaviors]
    watch = None if limit is None or cell["benign"] else Watch(limit, cell["behaviors"])
    asked, clusters = paths(counted, unknown, wanted), _clusters(rows)
    rate, ends = rates.mean_rate(counted, scored), interval(counted, scored, clusters, watch, asked)
    of_all = interval(counted, scored, clusters, watch, asked, rivals)
    if watch is not None and len(wanted) not in watch.looks:  # a behavior without a test case has no row here
        ends, of_all = cell["asr_interval"], cell.get("asr_interval_all")
    result: dict[str, Any] = {name: sum(counts[name] for counts in behaviors) for name in OUTCOMES} | {
        "cases": sum(wanted)
    }
    if what == "utility":
        low, high = ends or (None, None)
        utility = {"n": sum(scored), "rate": rate, "low": low, "high": high}
        return result | {"asr": None, "over_refusal": None, "utility": utility}
    if cell["benign"]:
        return result | {"asr": None, "over_refusal": rate, "over_refusal_interval": ends}
    bounds = rates.rate_bounds(counted, unknown, wanted)
    result |= {"asr": rate, "asr_interval": ends, "asr_bounds": bounds}
    if "asr_interval_all" in cell:  # summaries of older bundles lack it
        result["asr_interval_all"] = of_all
    if cell["asr_micro"] is not None:  # else the search was stopped
        result["asr_micro"] = rates.pooled_rate(counted, scored)
        result["asr_at_k"] = {k: rates.rate_at_k(counted, scored, int(k))[0] for k in cell["asr_at_k"]}
    categories: dict[str, list[Json]] = defaultdict(list)
    for row in rows:
        categories[row["category"]].append(row)
    by_category = []
    for category in cell["by_category"]:
        of = categories[category["category"]]
        counted, scored = _columns(_by_behavior(of), hits)
        parts = {"success": sum(counted), "scored": sum(scored), "asr": rates.mean_rate(counted, scored)}
        by_category.append({**category, **parts, "asr_interval": interval(counted, scored, _clusters(of))})
    return result | {"by_category": by_category}


def _by_behavior(rows: Iterable[Json]) -> list[dict[str, int]]:
    """How often each outcome came, one dict per behavior."""
    behaviors: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        behaviors[row["key"]].append(row["outcome"])
    return [{name: outcomes.count(name) for name in OUTCOMES} for outcomes in behaviors.values()]


def _clusters(rows: Iterable[Json]) -> list[str]:
    """The cluster of each behavior."""
    return [*{row["key"]: str(row.get("cluster", "")) for row in rows}.values()]


def _columns(behaviors: Sequence[Mapping[str, int]], hits: Sequence[str]) -> tuple[list[int], list[int]]:
    return [sum(counts[name] for name in hits) for counts in behaviors], [
        sum(counts[name] for name in SCORED) for counts in behaviors
    ]


def _same(stated: Any, computed: Any) -> bool:
    if isinstance(stated, list) and isinstance(computed, (list, tuple)):
        return len(stated) == len(computed) and all(map(_same, stated, computed))
    if isinstance(stated, dict) and isinstance(computed, dict):
        return stated.keys() == computed.keys() and all(_same(stated[key], computed[key]) for key in stated)
    if isinstance(stated, float) or isinstance(computed, float):
        numbers = isinstance(stated, (int, float)) and isinstance(computed, (int, float))
        return numbers and math.isclose(stated, computed, rel_tol=1e-9, abs_tol=1e-12)
    return bool(stated == computed)


def _against(store: Store, manifest: Json, rows: Sequence[Json]) -> Iterator[str]:
    run = find_run(store, manifest["run"])
    if run.key != manifest["run_key"]:
        yield f"run {run.name} of {store.where} has another plan"
        return
    listed = [*_rows(store, run)]
    ours, theirs = ({dumps({k: v for k, v in row.items() if k != PEOPLE}) for row in side} for side in (listed, rows))
    for what, lost in (("not in the store", theirs - ours), ("not in the bundle", ours - theirs)):
        if lost:
            first = json.loads(min(lost))
            yield f"{count(len(lost), 'case')} {what}, such as {first['behavior']} of cell {first['cell']}"
    names = ("cell", "key", "case", "sample")
    labels = {tuple(row[name] for name in names): row.get(PEOPLE) for row in listed}
    unlike = [row for row in rows if PEOPLE in row and labels.get(tuple(row[name] for name in names)) != row[PEOPLE]]
    if unlike:
        at = f"such as {unlike[0]['behavior']} of cell {unlike[0]['cell']}"
        yield f"people say otherwise in the store of {count(len(unlike), 'case')}, {at} (or said so later)"
