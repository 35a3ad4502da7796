"""The papers behind a run: `references.bib` against what components name, `withstand cite` and `--methods`."""

import re
from dataclasses import replace
from pathlib import Path
from unicodedata import normalize

import withstand
from cases import walk_cases
from withstand.core import digest
from withstand.registry import find
from withstand.report.cite import cite
from withstand.report.methods import methods
from withstand.report.sources import FILE, cited, references

SRC = Path(withstand.__file__).parent
TEXTS = {
    path.relative_to(SRC).as_posix(): " ".join(path.read_text(encoding="utf-8").split())
    for room in (*find.ROOMS.values(), "training")
    for path in sorted((SRC / room).rglob("*"))
    if path.suffix in (".py", ".toml")
}
BY_ID = {reference.eprint: reference for reference in references() if reference.eprint}


def run(tmp_path: Path, **changes):
    spec = {"suite": "kitchen", "limit": 2, "target": "scripted-kitchen", "attack": ["direct", "story"]}
    return withstand.run(spec | changes, store=tmp_path / "s.db")


def keys(bibtex: str) -> list[str]:
    return re.findall(r"^@\w+\{([^,]+),$", bibtex, re.M)


def test_every_source_that_a_component_names_has_an_entry() -> None:
    named = {(file, id_) for file, text in TEXTS.items() for id_ in re.findall(r"arXiv:(\d{4}\.\d{4,5})", text)}
    assert len(named) > 60
    assert {(file, id_) for file, id_ in named if id_ not in BY_ID} == set()


def test_an_entry_is_by_whom_the_docstrings_say_and_of_that_year() -> None:
    entries = {
        (id_, re.sub(r" et al\.| and [A-Z]\w+", "", author), year)
        for text in TEXTS.values()
        for author, year, id_ in re.findall(
            r"([A-Z]\w+(?: et al\.| and [A-Z]\w+)) (\d{4})\)?, arXiv:(\d{4}\.\d{4,5})", text
        )
    }
    assert len(entries) > 30
    assert {
        (id_, name, year) for id_, name, year in entries if (BY_ID[id_].names[0], BY_ID[id_].year) != (name, year)
    } == (set())


def test_no_entry_is_there_twice_or_for_nothing() -> None:
    entries = references()
    assert (
        len({reference.key for reference in entries}) == len(entries) == len(re.findall(r"^@", FILE.read_text(), re.M))
    )
    assert len(BY_ID) + sum(not reference.eprint for reference in entries) == len(entries)
    everything = " ".join(TEXTS.values())
    assert [reference.key for reference in entries if not reference.named_in(everything)] == []


@walk_cases("reference", references())
def test_an_entry_is_sound_bibtex(reference) -> None:
    lines = reference.text.splitlines()
    assert re.fullmatch(r"@(misc|inproceedings|article)\{[a-z]+\d{4}\w+,", lines[0])
    assert lines[-1] == "}"
    for line in lines[1:-1]:
        assert re.fullmatch(r"  \w+ = \{.+\},?", line)
        depth = 0
        for character in line:
            depth += {"{": 1, "}": -1}.get(character, 0)
            assert depth >= 0
        assert depth == 0
        assert line.isascii()
        assert line.endswith(",") == (line != lines[-2])
    assert reference.key.startswith(
        re.sub(r"\W.*", "", normalize("NFD", reference.names[0]).replace("\u0308", "").lower())
    )
    if reference.eprint:  # no paper is older than its first version there
        assert int(reference.year) in (2000 + int(reference.eprint[:2]), 2001 + int(reference.eprint[:2]))


def test_what_a_text_cites() -> None:
    assert [r.short for r in cited("GCG. Zou et al. 2023, arXiv:2307.15043; also arXiv:1908.10084.")] == (
        ["Reimers and Gurevych 2019", "Zou et al. 2023"]
    )
    assert [r.key for r in cited('as "Many-shot", Anil et al.\n2024, says')] == ["anil2024many"]
    assert cited("Anil et al. 2023, arXiv:9999.99999") == []


def test_the_papers_of_a_run(tmp_path: Path) -> None:
    text = cite(run(tmp_path, defense="self_reminder").result)
    assert keys(text) == [
        "withstand", "mazeika2024harmbench", "xie2023defending", "li2023deepinception", "zou2023universal"
    ]  # fmt: skip
    assert "% suite kitchen, suite kitchen-benign, attack direct\n@inproceedings{mazeika2024harmbench,\n" in text
    assert "% defense self_reminder\n@article{xie2023defending,\n" in text
    assert "% judge refusal_words\n@misc{zou2023universal,\n" in text


def test_what_stands_inside_an_attack_is_cited_too(tmp_path: Path) -> None:
    writer = {"use": "scripted", "reply": '{"improvement": "more", "prompt": "Bake {n}"}', "rules": []}
    pair = {"use": "pair", "streams": 1, "steps": 1, "attacker": writer, "judge": {"use": "rating", "model": writer}}
    text = cite(run(tmp_path, attack=[pair], benign="none").result)
    assert "% attack pair, judge rating\n@misc{chao2023jailbreaking,\n" in text


def test_a_suites_own_citation_stands_as_it_gives_it(tmp_path: Path) -> None:
    data = tmp_path / "own.csv"
    data.write_text("id,text\na,Please say soup\n")
    own = "@misc{mine, title = {Mine}}"
    suites = [
        {"use": "csv", "path": str(data), "citation": citation, "judge": "contains:soup"}
        for citation in (own, "Me, Mine, 2026\n@misc{evil,")
    ]
    text = cite(run(tmp_path, suite=suites, attack=["direct"], benign="none").result)
    assert f"% suite csv\n{own}\n" in text
    assert "% suite csv (2): Me, Mine, 2026 @misc{evil,\n" in text
    assert keys(text.replace(own, "")) == ["withstand", "mazeika2024harmbench"]


def test_a_component_that_this_machine_lacks_is_passed_over(tmp_path: Path) -> None:
    summary = run(tmp_path).result
    gone = {"name": "gone:Gone", "version": "1", "source": ""}
    provenance = replace(summary.provenance, components=(*summary.provenance.components, gone))
    first, *rest = summary.cells
    summary = replace(summary, provenance=provenance, cells=(replace(first, attack="gone:Gone,n=3"), *rest))
    assert keys(cite(summary))[0] == "withstand"
    assert "gone with Gone, n=3" in methods(summary)


def test_the_paragraph_of_methods(tmp_path: Path) -> None:
    done = run(tmp_path, attack=["direct", "best_of_n,n=3"], defense=["none", "self_reminder"], budget={"asks": 40})
    text = methods(done.result)
    assert text.count("\n") == 1
    for part in (
        f"With withstand {withstand.__version__} we measured how scripted-kitchen withstands attack.",
        "both without a defense and behind self_reminder (version 1; Xie et al. 2023)",
        "The suite kitchen (version 1, test split, checksum ",
        ", license Apache-2.0) gave 2 behaviors.",
        "gave 2 benign requests that must not be refused.",
        "best_of_n with n=3 (version 1; Hughes et al. 2024, arXiv:2412.03556)",
        "temperature 0.0, max tokens 256, top p 1.0, 1 completion per test case; the seed was 0.",
        "An attack had at most 40 asks per behavior.",
        "Success was judged by kitchen (version 2), a rule, whose agreement with labels was not measured here.",
        "refusal_words (version 3; Zou et al. 2023, arXiv:2307.15043), by string matching.",
        "with 95% Wilson intervals",
    ):
        assert part in text, part
    calibration = {"judge": "kitchen", "n": 120, "labels": "dev.jsonl", "kappa": 0.8123}
    calibration |= {"annotators": [{"kind": "person", "name": "ann"}, {"kind": "person", "name": "bob"}]}
    calibration |= {"sensitivity": 0.9, "sensitivity_interval": [0.8, 0.95], "specificity": None}
    assert (
        "a rule; against 120 labels by 2 people (dev.jsonl) it had sensitivity 90% (95% interval 80\u201395%) and "
        "Cohen's kappa 0.81."
    ) in methods(replace(done.result, calibrations=(calibration,)))


def test_the_methods_say_whose_prompts_were_sent(tmp_path: Path) -> None:
    """Ours, the user's own by its hash, and both where a component takes part twice; an older run says nothing."""
    pap = {"use": "pap", "attacker": {"use": "scripted", "reply": "Bake a loaf, please"}, "techniques": ["framing"]}
    own = "Say {behavior} kindly."
    judge = {"use": "llm", "model": {"use": "scripted", "reply": "No"}}
    done = run(tmp_path, limit=1, attack=[pap, pap | {"prompt": own}], judge=judge, benign="none")
    mark = digest(own)[:8]
    assert done.result.provenance.prompts == {"llm": "ours", "pap": f"ours, own {mark}"}
    text = methods(done.result)
    assert f"prompts: ours, own (hash {mark})" in text
    assert "(version 2; with this package's prompts; Mazeika" in text
    before = replace(done.result, provenance=replace(done.result.provenance, prompts={}))
    assert "prompts:" not in methods(before)
