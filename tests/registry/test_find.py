"""Names to classes to objects: types of fields, presets, components of other people, and messages that help."""

import dataclasses
import importlib.metadata
import json
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Optional

import pytest

from cases import walk_cases
from withstand.core import Behavior, Judge, Model, SpecError, TestCase, digest, dumps, user
from withstand.core.describe import source_hash
from withstand.registry import find
from withstand.registry.show import show


@dataclass(frozen=True)
class Typed:
    """A judge with a field of every type. Ours."""

    method: ClassVar[str] = "rule"
    asks: ClassVar[int] = 0
    text: str
    number: int = 0
    share: float = 0.0
    flag: bool = False
    maybe: float | None = None
    words: tuple[str, ...] = ()
    rules: tuple[tuple[str, float], ...] = ()
    one_of: Literal["low", "high"] = "low"
    model: Model | None = None
    old_style: Optional[Judge] = None  # noqa: UP045 - how older code writes it
    judges: tuple[Judge, ...] = ()
    speed: int = field(default=1, metadata={"key": False})

    def grade(self, behavior, completions):
        yield from ()
        return []


@pytest.fixture
def typed(monkeypatch):
    """Builds a `Typed` from the command line's text."""
    monkeypatch.setitem(sys.modules, "my_judges", sys.modules[__name__])
    return lambda text, **given: find.build("judge", {"use": f"my_judges:Typed,text=x{text}", **given})


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        (",number=3", "number", 3),
        (",number=-3", "number", -3),
        (",share=3", "share", 3.0),
        (",share=1e-3", "share", 0.001),
        (",share=.5", "share", 0.5),
        (",flag=true", "flag", True),
        (",flag=false", "flag", False),
        (",text=4", "text", "4"),
        (",text=true", "text", "true"),
        (",text=[a]", "text", "[a]"),
        (",maybe=2", "maybe", 2.0),
        (",maybe=none", "maybe", None),
        (",words=a b", "words", ("a b",)),
        (',words="a, b"', "words", ("a, b",)),
        (',words=["a", "b, c"]', "words", ("a", "b, c")),
        (",words=[]", "words", ()),
        (",words=12", "words", ("12",)),
        (',rules=[["a", 0.5], ["b", 1]]', "rules", (("a", 0.5), ("b", 1.0))),
        (",one_of=high", "one_of", "high"),
        (",model=none", "model", None),
        (",model=scripted", "model", find.build("target", "scripted")),
        (',model={use="scripted", reply="no"}', "model", find.build("target", {"use": "scripted", "reply": "no"})),
        (",old_style=advbench", "old_style", find.build("judge", "advbench")),
        (",old_style=none", "old_style", None),
        (",judges=advbench", "judges", (find.build("judge", "advbench"),)),
        (',judges={use="contains", pattern="x"}', "judges", (find.build("judge", "contains:x"),)),
        (
            ',judges=["advbench", {use="contains", pattern="x"}]',
            "judges",
            (find.build("judge", "advbench"), find.build("judge", "contains:x")),
        ),
    ],
)
def test_a_field_is_of_its_annotations_type(typed, text, name, value):
    spec = f",{text.lstrip(',')}" if name != "text" else ""
    built = typed(spec) if name != "text" else find.build("judge", f"my_judges:Typed{text}")
    assert getattr(built, name) == value
    assert type(getattr(built, name)) is type(value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("number", 3), ("share", 3), ("words", ["a"]), ("words", ("a", "b")), ("judges", ["advbench"]), ("maybe", None)],
)
def test_a_field_from_python(typed, name, value):
    assert getattr(typed("", **{name: value}), name) is not value or value is None or name in ("number", "words")


@pytest.mark.parametrize(
    ("text", "name", "hint"),
    [
        (",number=3.5", "number", "number is int"),
        (",number=many", "number", "int"),
        (",number=true", "number", "int"),
        (",share=false", "share", "float"),
        (",share=nan", "share", "float"),
        (",share=inf", "share", "float"),
        (",flag=maybe", "flag", "bool"),
        (",flag=7", "flag", "bool"),
        (",one_of=middle", "one_of", "low"),
        (",rules=[[1]]", "rules", "tuple"),
        (",words=[1, 2]", "words", "tuple[str, ...]"),
    ],
)
def test_a_field_that_does_not_fit(typed, text, name, hint):
    with pytest.raises(SpecError, match=f"Typed: {name} = .* does not fit: .+") as error:
        typed(text)
    assert hint in error.value.hint


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": 3}, "not a target"),
        ({"judges": [3]}, "not a judge"),
        ({"words": 3}, "words"),
        ({"number": True}, "number"),
    ],
)
def test_python_values_that_do_not_fit(typed, given, message):
    with pytest.raises(SpecError, match=message):
        typed("", **given)


def test_half_a_list_is_a_mistake(typed):
    with pytest.raises(SpecError, match="TOML"):
        typed(",words=[a b]")


def test_objects_are_taken_as_they_are(typed):
    model = find.build("target", "scripted")
    assert typed("", model=model).model is model


# --- names -------------------------------------------------------------------------------------------------------


@walk_cases(
    ("kind", "spec", "message", "hint"),
    [
        ("attack", "storey", "no attack is called 'storey'", "did you mean story"),
        ("attack", "prefix", "no attack is called", "prefill or prefix_injection"),
        ("attack", "self_reminder", "no attack is called", "is a defense, not an attack"),
        ("attack", "zzzzzz", "no attack is called", "module:Class"),
        ("suite", "zzzzzz", "no suite is called", "withstand list suites"),
        ("target", "openai/gpt-4.1", "no target is called", "did you mean openai:gpt-4.1"),
        ("attack", "story,scene=x", "story has no field 'scene'", "did you mean scenes"),
        ("attack", "direct,zzz=x", "direct has no field 'zzz'", "its fields are seed"),
        ("judge", "contains", "contains needs pattern", "contains:PATTERN"),
        ("target", "openai", "openai needs model", "openai:MODEL"),
        ("judge", "llm,clip=3", "llm needs model", "llm:MODEL"),
        ("judge", "advbench:x", "has no place for 'x'", "field=value"),
        ("target", "openai:a,model=b", "has no place for 'a'", "field=value"),
        ("defense", "self_reminder:closing=Mind!", "gives a field where the value of reminder stands", "closing=Mind!"),
        ("defense", "self_check:fails=open", "self_check:fails=open gives a field where", "self_check,fails=open"),
        ("attack", "no_such_module:Attack", "no attack is called", ""),
        ("attack", "json:nothing", "json has no class nothing", ""),
        ("attack", "json:JSONDecoder", "not a frozen dataclass", "frozen=True"),
        ("attack", "withstand.core:Behavior", "not an attack: it has no method run", ""),
        ("attack", "withstand.nope.more:Attack", "no attack is called", ""),
    ],
)
def test_what_is_not_found(kind, spec, message, hint):
    with pytest.raises(SpecError) as error:
        find.build(kind, spec)
    assert message in str(error.value)
    assert hint in error.value.hint


def test_a_hyphen_is_an_underscore():
    assert find.build("attack", "best-of-n,n=2") == find.build("attack", "best_of_n,n=2")
    assert find.label("attack", "best-of-n,n=2") == find.label("attack", "best_of_n,n=2") == "best_of_n,n=2"
    assert find.build("target", "scripted_kitchen") == find.build("target", "scripted-kitchen")
    assert show("attack", "best-of-n").entry.name == "best_of_n"


def test_a_preset_is_a_component_with_fields_and_what_is_given_wins():
    kitchen = find.build("target", "scripted-kitchen")
    assert len(kitchen.rules) == 9
    assert dataclasses.replace(kitchen, width=3, reply="no") == find.build(
        "target", "scripted-kitchen,width=3,reply=no"
    )
    assert find.build("suite", "kitchen-benign,split=val").harmless
    with pytest.raises(SpecError, match="scripted has no field 'ruls'"):
        find.build("target", "scripted-kitchen,ruls=x")


def test_a_field_inside_a_preset_is_changed_by_its_path():
    pytest.importorskip("torch")
    plain, changed = (find.build("stage", f"r2d2-desk{more}") for more in ("", ",stage.steps=5,attack.width=8,pool=5"))
    assert (changed.stage.steps, changed.attack.width, changed.pool) == (5, 8, 5)
    assert changed == replace(plain, stage=replace(plain.stage, steps=5), attack=replace(plain.attack, width=8), pool=5)
    mix = find.build("stage", "safety_mix,stage=sft,stage.steps=5,share=0.5")
    assert (mix.stage.steps, mix.stage.batch) == (5, 8)
    with pytest.raises(SpecError, match="none is given") as error:
        find.build("stage", "safety_mix,stage.steps=5")
    assert "stage=NAME" in error.value.hint
    with pytest.raises(SpecError, match="sft has no field 'stops'"):
        find.build("stage", "r2d2-desk,stage.stops=5")
    with pytest.raises(SpecError, match="r2d2 has no field 'steps'") as error:
        find.build("stage", "r2d2-desk,steps=5")
    assert "write stage.steps=5" in error.value.hint


def test_defaults_fill_only_what_exists_and_is_left_out():
    assert find.build("attack", "story", seed=7, nope=1).seed == 7
    assert find.build("attack", "story,seed=3", seed=7).seed == 3


def test_a_missing_extra_names_its_install_line(monkeypatch, tmp_path):
    room = tmp_path / "attacks"
    room.mkdir()
    (room / "needs_torch.py").write_text('"""Ours."""\nimport torch_of_nobody.cuda\n')
    entry = find.Entry("attack", "needs_torch", "needs_torch", room / "needs_torch.py")
    monkeypatch.setattr(find, "entries", lambda kind: {"needs_torch": entry})
    monkeypatch.syspath_prepend(str(room))
    with pytest.raises(SpecError, match="needs_torch needs torch_of_nobody, which is not installed") as error:
        find.build("attack", "needs_torch")
    assert error.value.hint == 'pip install "withstand[all]"'
    error = find._missing("withstand.models.hf", ModuleNotFoundError("no torch", name="torch.nn"))
    assert (str(error), error.hint) == ("hf needs torch.nn, which is not installed", 'pip install "withstand[local]"')


# --- components of other people ----------------------------------------------------------------------------------

OWN = '''
    """Shout. Ours."""

    from dataclasses import dataclass
    from typing import ClassVar

    from withstand.core import TestCase, UpperBounds, user


    @dataclass(frozen=True)
    class Shout:
        """One test case in capitals."""

        needs: ClassVar[frozenset[str]] = frozenset()
        mark: str = "!"
        seed: int = 0

        def __post_init__(self):
            if not self.mark:
                raise ValueError("mark is empty")

        def most(self):
            return UpperBounds(cases=1)

        def run(self, behavior, target):
            yield TestCase(behavior.id, user(behavior.text.upper() + self.mark))


    class Loose:
        def run(self, behavior, target):
            yield
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's own file `shouting_<n>.py`, importable; its name."""
    name = f"shouting_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(OWN))
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_a_class_of_ones_own_file(own, play, tmp_path):
    attack = find.build("attack", f"{own}:Shout,mark=?", seed=3)
    assert (attack.mark, attack.seed) == ("?", 3)
    cases = play(attack.run(Behavior("a", "bake"), None)).cases
    assert cases == [TestCase("a", user("BAKE?"))]
    assert find.label("attack", f"{own}:Shout,mark=?") == f"{own}:Shout,mark=?"
    described = find.describe(attack)
    assert described["use"] == f"{own}:Shout"
    assert len(described["version"]) == 32  # it declares none: its source stands for it
    assert described["version"] == source_hash(type(attack))


def test_mistakes_in_ones_own_file(own, tmp_path):
    with pytest.raises(SpecError, match="mark is empty"):
        find.build("attack", f"{own}:Shout,mark=")
    with pytest.raises(SpecError, match="frozen"):
        find.build("attack", f"{own}:Loose")
    (tmp_path / f"{own}_broken.py").write_text("def f(:\n")
    with pytest.raises(SpecError, match="cannot be imported: SyntaxError"):
        find.build("attack", f"{own}_broken:Shout")
    (tmp_path / f"{own}_lacking.py").write_text("import module_of_nobody\n")
    with pytest.raises(SpecError, match=r"the module module_of_nobody that .* imports is not installed"):
        find.build("attack", f"{own}_lacking:Shout")


def test_a_component_of_a_notebook():
    code = (
        "import sys; from dataclasses import dataclass; from withstand.registry import find\n"
        "@dataclass(frozen=True)\n"
        "class Mine:\n"
        "    n: int = 1\n"
        "    def run(self, behavior, target): yield\n"
        "sys.modules['__main__'].__spec__ = None\n"
        "made = find.build('attack', '__main__:Mine,n=2')\n"
        "print(made.n, find.describe(made)['use'], bool(find.source_hash(Mine)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.returncode) == (["2", "__main__:Mine", "False"], 0), done.stderr


@pytest.fixture
def announced(own, monkeypatch):
    """Entry points as another package would announce them."""
    points = importlib.metadata.EntryPoints(
        [
            importlib.metadata.EntryPoint("shout", f"{own}:Shout", "withstand.attacks"),
            importlib.metadata.EntryPoint("story", f"{own}:Shout", "withstand.attacks"),
            importlib.metadata.EntryPoint("gone", "package_of_nobody.deep:Gone", "withstand.attacks"),
            importlib.metadata.EntryPoint("lacking", f"{own}:Nothing", "withstand.attacks"),
            importlib.metadata.EntryPoint("loose", f"{own}:Loose", "withstand.attacks"),
        ]
    )
    monkeypatch.setattr(find, "_entry_points", lambda: points)
    find.entries.cache_clear()
    yield own
    find.entries.cache_clear()


def test_entry_points_are_found_after_the_folder(announced):
    assert find.entries("attack")["shout"].path is None
    assert find.summary(find.entries("attack")["shout"]) == f"from {announced}:Shout"
    assert find.build("attack", "shout,mark=?").mark == "?"
    assert find.name_of(type(find.build("attack", "shout"))) == f"{announced}:Shout"
    assert find.name_of(type(find.build("attack", "story"))) == "story"  # ours stands
    assert "shout" not in find.entries("judge")
    assert [row[0] for row in show("attack", "shout").fields] == ["mark", "seed"]


@pytest.mark.parametrize("name", ["gone", "lacking", "loose"])
def test_a_broken_entry_point_is_a_message(announced, name):
    with pytest.raises(SpecError):
        find.build("attack", name)


@pytest.mark.parametrize("name", ["gone", "lacking"])
def test_showing_a_broken_entry_point_is_a_message(announced, name):
    with pytest.raises(SpecError):
        show("attack", name)


# --- what a component is -----------------------------------------------------------------------------------------


def test_describe_leaves_out_what_cannot_change_a_row():
    quick, slow = (
        find.build("target", "openai:m,lanes=1,timeout=3,base_url=http://a/v1"),
        find.build("target", "openai:m"),
    )
    assert find.describe(quick) == find.describe(slow)
    assert find.describe(slow) != find.describe(find.build("target", "openai:m,revision=2"))
    assert find.describe(slow)["identity"] == {"revision": ""}
    judge = find.build("judge", {"use": "llm", "model": "openai:m"})
    assert find.describe(judge)["model"] == find.describe(slow)
    assert digest(find.describe((judge, None))) == digest([find.describe(judge), None])


@dataclass(frozen=True)
class Before:
    """A judge as it was. Ours."""

    version: ClassVar[int] = 1
    text: str = "a"


@dataclass(frozen=True)
class After(Before):
    """It with fields that came later."""

    strict: bool = field(default=False, metadata={"added": "0.2"})
    words: tuple[str, ...] = field(default_factory=lambda: ("x",), metadata={"added": "0.3"})
    inner: Before | None = field(default=None, metadata={"added": "0.3"})


@dataclass(frozen=True)
class Around:
    """It holds others. Ours."""

    version: ClassVar[int] = 1
    judge: Before
    more: tuple[Before, ...] = ()


def as_before(component):
    """Its description under the name of the class that it was."""
    text = dumps(find.describe(component))
    return json.loads(text.replace(find.name_of(After), find.name_of(Before)))


def test_a_field_added_later_is_left_out_of_the_key_at_its_default():
    assert as_before(After("b")) == find.describe(Before("b"))
    assert as_before(After("b", strict=False, words=("x",))) == find.describe(Before("b"))
    assert as_before(After("b", strict=True)) == find.describe(Before("b")) | {"strict": True}
    assert as_before(After("b", words=())) == find.describe(Before("b")) | {"words": []}
    assert as_before(After("b", inner=Before()))["inner"] == find.describe(Before())


def test_a_field_added_later_is_left_out_in_nested_components_too():
    assert as_before(Around(After(), (After("b"),))) == find.describe(Around(Before(), (Before("b"),)))
    changed = as_before(Around(After(strict=True), (After("b", words=("y",)),)))
    assert (changed["judge"]["strict"], changed["more"][0]["words"]) == (True, ["y"])


def test_a_field_added_later_needs_a_default():
    @dataclass(frozen=True)
    class Lacking:
        version: ClassVar[int] = 1
        number: int = field(metadata={"added": "0.2"})

    with pytest.raises(RuntimeError, match="number was added later and needs a default"):
        find.describe(Lacking(1))


def test_parts_are_the_components_inside():
    judge = find.build("judge", {"use": "llm", "model": "scripted"})
    assert list(find.parts((judge, None))) == [judge, judge.model]


@pytest.mark.parametrize(
    ("kind", "spec", "text"),
    [
        ("target", "openai:m,lanes=3,revision=2", "openai:m,revision=2"),
        ("target", {"use": "openai", "model": "m"}, "openai:m"),
        ("attack", {"use": "best_of_n", "n": 8}, "best_of_n,n=8"),
        ("judge", {"use": "llm", "model": {"use": "openai", "model": "m"}}, "llm:openai:m"),
        ("judge", {"use": "llm", "model": {"use": "openai", "model": "m", "lanes": 2}}, "llm:openai:m"),
        ("judge", {"use": "llm", "model": {"use": "openai", "model": "m", "system": "s"}}, "llm:{openai:m,system=s}"),
        ("attack", {"use": "prefill", "opening": "x" * 60}, f"prefill,opening={'x' * 37}..."),
    ],
)
def test_labels(kind, spec, text):
    assert find.label(kind, spec) == text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("llm:openai:m,base_url=http://h/v1", 'write llm,model={use="openai:m", base_url="http://h/v1"}'),
        ("llm:openai:m,clip=9,lanes=4,base_url=u", 'write llm,model={use="openai:m", lanes="4", base_url="u"}'),
        ("llm:openai:m,bse_url=u", "its fields are model, rubric, max_tokens, clip, probability"),
        ("llm:scripted,rubrik=u", "did you mean rubric?"),
    ],
)
def test_a_field_of_the_component_inside(text, hint):
    with pytest.raises(SpecError, match="llm has no field") as caught:
        find.build("judge", text)
    assert caught.value.hint.endswith(hint)


def test_a_suite_that_needs_its_data():
    with pytest.raises(SpecError, match="harmbench needs path") as caught:
        find.build("suite", "harmbench")
    assert "--data FOLDER" in caught.value.hint


def lines(shown):
    return [line for _, section in shown.sections() for line in section]


def test_show_says_what_a_constant_holds_in_a_few_lines():
    story = show("attack", "story")
    assert any("Write a short story" in line for line in lines(story))
    assert dict(story.values)["SCENES"][0].startswith("Write a short story")
    assert story.json()["values"]["SCENES"] == dict(story.values)["SCENES"]
    llm = lines(show("judge", "llm"))
    assert any("You review answers" in line for line in llm)
    assert "      (18 more)" in llm
    assert all(len(line) < 120 for line in llm)


def test_show_says_a_citation_as_it_is():
    assert "      @inproceedings{mazeika2024harmbench," in lines(show("suite", "harmbench"))


def test_show_says_a_presets_own_comment_and_shortens_its_fields():
    shown = show("target", "scripted-kitchen")
    assert shown.docstring.startswith("Acts like a model that was trained")
    assert len(lines(shown)) < 40
    assert all(len(line) < 120 for line in lines(shown))
    assert len(dict(shown.preset)["rules"]) > 6  # whole in the JSON


def test_show_reads_ones_own_class(monkeypatch, tmp_path):
    (tmp_path / "shown_own.py").write_text(
        '"""Mine."""\nraise SystemError\nWORDS = ("a",) + ("b",)\n'
        "class Own:\n    words: tuple = WORDS\n    def run(self): ...\nclass Other: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    shown = show("attack", "shown_own:Own")  # read, not imported
    assert (shown.docstring, shown.fields) == ("Mine.", (("words", "tuple", "WORDS", True),))
    assert dict(shown.values) == {"WORDS": "('a',) + ('b',)"}
    for kind, name, message in [
        ("judge", "shown_own:Own", "is not a judge: it has no method grade"),
        ("attack", "shown_own:Other", "is not an attack: it has no method run"),
        ("attack", "shown_own:Nothing", "does not define Nothing"),
        ("attack", "shown_nowhere:Own", "no attack is called"),
    ]:
        with pytest.raises(SpecError, match=message):
            show(kind, name)


BASE = '''
raise RuntimeError("imported")
COLORS = ["red"]

@dataclass(frozen=True)
class Most:
    needs: ClassVar[str] = "weights"
    first: str

@dataclass(frozen=True)
class Shared(Most):
    """For authors.

    colors: a list.
    """

    colors: list = COLORS
    seed: int = 0

class Plain:
    inner: str
    rounds: ClassVar[int] = 1
'''
HEIR = '''
import shared_base
from json import JSONEncoder
from shared_base import Plain as P

@dataclass(frozen=True)
class Heir(shared_base.Shared, P, JSONEncoder):
    """Ours."""

    last: int = 2
    seed: int = 7

    def run(self): ...
'''


def test_show_follows_base_classes_without_importing_them(monkeypatch, tmp_path):
    (tmp_path / "shared_base.py").write_text(BASE)
    (tmp_path / "shared_heir.py").write_text(HEIR)
    monkeypatch.syspath_prepend(str(tmp_path))
    shown = show("attack", "shared_heir:Heir")
    assert [(name, default) for name, _, default, _ in shown.fields] == [
        ("first", ""), ("colors", "COLORS"), ("seed", "7"), ("last", "2"),
    ]  # fmt: skip
    assert dict(shown.values) == {"COLORS": ["red"]}
    assert dict(shown.constants) == {"rounds": "1", "needs": "'weights'"}
    assert shown.docstring == "Ours.\n\ncolors: a list."


@pytest.mark.parametrize("kind", find.ROOMS)
def test_show_lists_the_fields_that_the_class_has(kind):
    for name, entry in find.entries(kind).items():
        if not entry.preset:
            cls, _ = find.resolve(kind, name)
            assert [row[0] for row in show(kind, name).fields] == [f.name for f in find._fields(cls)], name


def test_show_says_how_an_attack_works():
    assert "  run_together = True" in lines(show("attack", "gcg_multi"))
    assert show("attack", "gcg").json()["facts"]["parts"] == "self.together"
    assert show("attack", "gbda").json()["facts"]["parts"] == "1"
    assert "run_together" not in show("attack", "gcg").json()["facts"]


def test_show_says_defaults_and_what_is_needed():
    shown = {name: (type_, default, keyed) for name, type_, default, keyed in show("target", "openai").fields}
    assert shown["model"] == ("str", "", True)
    assert shown["lanes"] == ("int", "64", False)
    assert shown["revision"] == ("str", "''", True)
    assert show("suite", "kitchen-benign").json()["preset"] == {"use": "kitchen", "harmless": True}
    assert dict(show("suite", "kitchen").constants)["judge"] == "'kitchen'"
    with pytest.raises(SpecError, match="no attack is called"):
        show("attack", "zzzzz")
