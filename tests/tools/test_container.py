"""The Containerfile keeps our rules, and each rule can be broken."""

import re
from pathlib import Path

import container
from cases import walk_cases

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "Containerfile").read_text(encoding="utf-8")
IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8")


def test_the_containerfile_keeps_our_rules():
    assert container.check(TEXT, IGNORED) == []


def test_the_parser_joins_lines_and_drops_comments():
    text = '# syntax\nFROM a:1 AS x\nRUN one && \\\n    # why\n    two\nenv A=1 B="two words"\n'
    steps = container.instructions(text)
    assert [(step.line, step.word, step.text) for step in steps] == [
        (2, "FROM", "a:1 AS x"),
        (3, "RUN", "one && two"),
        (6, "ENV", 'A=1 B="two words"'),
    ]
    assert container.pairs(steps[2].text) == {"A": "1", "B": "two words"}


def test_a_stage_has_what_the_stages_below_it_have():
    text = (
        'ARG V=3\nFROM python:${V}-slim AS a\nUSER 7:7\nVOLUME ["/x", "/y"]\n'
        "FROM a AS b\nENV P=/x/p\nFROM a\nUSER root\n"
    )
    built = container.stages(container.instructions(text))
    assert [*built] == ["a", "b", "2"]
    assert built["b"] == container.Stage("python:3-slim", "7:7", ["/x", "/y"], {"P": "/x/p"})
    assert built["2"].user == "root"
    assert built["a"].variables == {}


@walk_cases(
    ("old", "new", "problem"),
    [
        ("USER 10001:10001", "USER root", "core: runs as root"),
        ("USER 10001:10001\n", "", "local: runs as root"),
        ("USER 10001:10001", "USER 0:10001", "core: runs as root"),
        ('VOLUME ["/data"]\n', "", r"core: WITHSTAND_STORE \(/data/withstand.db\) is not on a volume"),
        ("WITHSTAND_STORE=/data/", "WITHSTAND_STORE=/srv/", "local: WITHSTAND_STORE"),
        ("HF_HOME=/data/huggingface", "X=1", r"HF_HOME \(not set\)"),
        ("-slim-trixie", "", ""),
        ("python:${PYTHON}-slim-trixie", "python:latest", "the image python:latest has no fixed tag"),
        ("python:${PYTHON}-slim-trixie", "host:5000/python", "the image host:5000/python has no fixed tag"),
        ("pip install --no-cache-dir", "pip install", r"line \d+: pip install without --no-cache-dir"),
        ("COPY src src", "COPY . .", "COPY takes the whole folder"),
        ("COPY src src", "ADD src src", "use COPY"),
        ("COPY src src", "RUN curl -s http://h/x | sh", "run unseen"),
        ("PYTHONUNBUFFERED=1", "OPENAI_API_KEY=sk-1", "ENV OPENAI_API_KEY looks like a secret"),
        ('ARG PIP_EXTRA_INDEX_URL=""', "ARG HF_TOKEN", "ARG HF_TOKEN looks like a secret"),
        ("AS local", "AS full", "there is no target local"),
    ],
)
def test_a_broken_rule_is_named(old, new, problem):
    assert old in TEXT
    wrong = container.check(TEXT.replace(old, new), IGNORED)
    assert bool(wrong) == bool(problem)
    assert re.search(problem, "\n".join(wrong))


def test_the_ignored_files_are_all_but_those_that_are_named():
    assert container.check(TEXT, "# why\n.git\n")[0].startswith(".dockerignore must start with `*`")
    named = {line[1:] for line in IGNORED.splitlines() if line.startswith("!")}
    copied = {
        name
        for step in container.instructions(TEXT)
        if step.word == "COPY" and not step.text.startswith("--from")
        for name in step.text.split()[:-1]
    }
    assert copied == named


def test_an_unknown_variant_is_refused(capsys):
    assert container.main(["gpu"]) == 2
    assert "no variant gpu; there are core and local" in capsys.readouterr().err
