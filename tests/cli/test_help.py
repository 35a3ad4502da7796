"""The help of every command: grouped, and never cut at 80 columns."""

import click
from click.testing import CliRunner

from cases import walk_cases
from withstand.cli.main import cli
from withstand.cli.options import Commands


def walk(command, path=()):
    """Every command with its path."""
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from walk(inner, (*path, name))


COMMANDS = dict(walk(cli))


def text_of(*path, columns=80):
    """The help of a command as a terminal of so many columns shows it."""
    done = CliRunner().invoke(cli, [*path, "--help"], terminal_width=columns, prog_name="withstand")
    assert done.exit_code == 0
    return done.output


def test_the_main_help_is_grouped_and_lists_every_command_once():
    lines = text_of().splitlines()
    assert [line for line in lines if line.endswith(":") and not line.startswith(" ")] == [
        "Options:", "Measure:", "Look:", "Decide:", "Red team:", "Watch:", "Train:", "Manage:",
    ]  # fmt: skip
    listed = [line.split()[0] for line in lines[lines.index("Measure:") :] if line.startswith("  ")]
    assert sorted(listed) == sorted(cli.commands)


@walk_cases("path", [path for path, command in COMMANDS.items() if isinstance(command, Commands)])
def test_no_summary_is_cut_at_80_columns(path):
    text = text_of(*path)
    assert "..." not in text.partition("Commands:")[2] + text.partition("Measure:")[2]
    for command in COMMANDS[path].commands.values():
        assert command.get_short_help_str(1_000) in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


def test_a_summary_of_the_main_help_takes_one_line_of_80_columns():
    lines = text_of().splitlines()
    for name, command in cli.commands.items():
        assert f"  {name:<11}  {command.get_short_help_str(1_000)}" in lines


@walk_cases(("path", "command"), COMMANDS.items())
def test_every_option_says_what_it_is(path, command):
    """A help that begins with "Of ..." leaves the reader to guess of what."""
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.name
            assert option.help[0].isupper() or option.help.startswith("postgresql"), option.help
            assert not option.help.startswith("Of "), option.help
