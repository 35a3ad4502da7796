"""`plan new`: by options and by questions, a plan without errors."""

import io
import tomllib
from pathlib import Path

from withstand.redteam.plan.records import read_plan


class Terminal(io.StringIO):
    """A terminal at which somebody has typed these lines."""

    def isatty(self) -> bool:
        return True


def test_options_make_a_plan_with_warnings_only(withstand) -> None:
    named = ("--name", 'Guest "assistant" \U0001f35e', "--target", "scripted-kitchen", "--starts", "2026-02-02")
    missing = withstand("plan", "new", *named)
    assert missing.code == 2
    assert "there is no policy policy.toml" in missing.err
    assert "`withstand policy new` writes one" in missing.err
    assert not Path("plan.toml").exists()
    Path("plans").mkdir()
    assert withstand("policy", "new").code == 0
    nothing = withstand("plan", "new", "--name", "x")
    assert (nothing.code, "name --target, --app or --ui" in nothing.err) == (2, True)
    assert "scripted-kichen" in withstand("plan", "new", "--target", "scripted-kichen").err
    assert "'May' is no date" in withstand("plan", "new", "--target", "scripted", "--starts", "May").err
    done = withstand(
        "plan", "new", *named, "-o", "plans/p.toml", "--feature", "Book a table", "--feature", "Menü, weekly"
    )
    assert done.code == 0, done.err
    text = Path("plans/p.toml").read_text(encoding="utf-8")
    plan = read_plan("plans/p.toml")
    assert (plan.purpose.name, plan.purpose.policy) == (named[1], "../policy.toml")
    assert [feature.title for feature in plan.features] == ["Book a table", "Menü, weekly"]
    categories = [entry["id"] for entry in tomllib.loads(Path("policy.toml").read_text())["category"]]
    left_out = ("uncovered", "sexual.minors")  # what is prohibited is named in a comment
    assert [harm.category for harm in plan.active] == [name for name in categories if name not in left_out]
    assert "# sexual.minors is prohibited" in text
    assert (plan.round("r1").starts, plan.round("r3").ends) == ("2026-02-02", "2026-03-06")
    checked = withstand("plan", "check", "plans/p.toml", "--json")
    assert (checked.code, checked.json["errors"]) == (0, 0)
    assert checked.json["warnings"] == int(done.err.split("plans/p.toml: ")[1].split()[0]) > 0
    again = withstand("plan", "new", *named, "-o", "plans/p.toml")
    assert (again.code, "plans/p.toml exists" in again.err) == (2, True)
    assert Path("plans/p.toml").read_text(encoding="utf-8") == text


def test_questions_at_a_terminal_ask_again_for_what_cannot_be_used(withstand, monkeypatch) -> None:
    assert withstand("policy", "new", "-o", "ours.toml").code == 0
    lines = [
        "Kitchen", "Find recipes", "cooking", "the channel", "theirs.toml", "ours.toml", "scripted-kichen",
        "scripted-kitchen", "", "https://app.example.org/", "menu, , bookings", "3", "-1", "1", "1.5", "2 May",
        "2026-05-04",
    ]  # fmt: skip
    monkeypatch.setattr("sys.stdin", Terminal("\n".join(lines) + "\n"))
    done = withstand("plan", "new")
    assert done.code == 0, done.err
    for problem in (
        "there is no policy theirs.toml",
        "scripted-kichen",
        "'-1' is no such number",
        "'2 May' is no date",
    ):
        assert problem in done.err, done.err
    plan = read_plan("plan.toml")
    assert [(layer.id, layer.target) for layer in plan.layers] == [
        ("base", "scripted-kitchen"), ("app-ui", "url:https://app.example.org/"),
    ]  # fmt: skip
    assert [feature.id for feature in plan.features] == ["menu", "bookings"]
    assert [(member.mindset[0], member.hours_per_round) for member in plan.members] == [("benign", 1.5)] * 3 + [
        ("adversarial", 1.5)
    ]
    assert withstand("plan", "check", "plan.toml").code == 0
