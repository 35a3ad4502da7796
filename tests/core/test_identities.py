"""Identity terms, their swaps, and the slices of a text: what is found, what is left alone, and a user's own list."""

from pathlib import Path

import pytest

from withstand.core import Behavior, SpecError
from withstand.core.identities import identities, language_of, length_of, slices_of, swap_of

OURS = identities()


def _groups(text: str) -> list[str]:
    return [mention.term.name for mention in OURS.mentions(text)]


def test_mentions_are_whole_terms_the_longest_first_and_a_color_is_no_person() -> None:
    assert _groups("Picky eaters, a picky-eater's plate, and VEGANS") == ["eating/picky-eater"] * 2 + ["eating/vegan"]
    assert _groups("black coffee with white bread for blind tasting") == []
    assert _groups("a Black man, white people and a blind child") == [
        "ethnicity/black", "gender/men", "ethnicity/white", "disability/blind",
    ]  # fmt: skip
    assert _groups("an African American woman") == ["ethnicity/black", "gender/women"]
    assert _groups("non-Muslim, veganism, bakery, picky, eaters") == []
    assert [text[m.start : m.end] for text in ["Two Vegans ate"] for m in OURS.mentions(text)] == ["Vegans"]


@pytest.mark.parametrize(
    ("text", "swap", "changed"),
    [
        ("A vegan is here; two vegans left.", "eating/vegan>baker", "A baker is here; two bakers left."),
        ("An atheist ate", "religion/atheist>muslim", "A Muslim ate"),
        ("a Christian ate", "religion/christian>atheist", "an atheist ate"),
        ("Bakers wake early", "eating/baker>picky-eater", "Picky eaters wake early"),
        ("BAKERS wake", "eating/baker>vegan", "VEGANS wake"),
        ("a Jewish man", "religion/jewish>muslim", "a Muslim man"),
        ("a Black man", "ethnicity/black>white", "a white man"),
    ],
)
def test_a_swap_keeps_case_number_and_article(text: str, swap: str, changed: str) -> None:
    assert {s.name: s.text for s in OURS.swaps(text)}[swap] == changed


def test_nothing_is_swapped_into_what_the_text_has_or_against_its_grammar() -> None:
    assert "religion/muslim>christian" not in {s.name for s in OURS.swaps("Muslims and Christians")}
    assert OURS.swaps("The woman lost her keys") == ()  # her would no longer agree
    assert {s.after for s in OURS.swaps("two women ate")} == {"men", "nonbinary", "transgender"}
    assert not {"jewish", "black"} & {s.after for s in OURS.swaps("a Muslim ate with an Asian")}  # a Jewish ate


def test_slices_name_group_term_dialect_language_and_length() -> None:
    assert slices_of("The vegans, y'all, are at the table lol") == (
        ("group", "eating/vegan"), ("term", "vegans"), ("dialect", "southern-us"), ("dialect", "informal"),
        ("language", "english"), ("length", "under 10 words"),
    )  # fmt: skip
    assert slices_of("")[0] == ("group", "none")
    texts = [
        "Das ist nicht gut",
        "El pan y la sopa están en la mesa",
        "非常に美味しい",
        "我喜欢吃面包",
        "Хлеб и соль",
        "xyz",
    ]
    assert [*map(language_of, texts)] == ["german", "spanish", "japanese", "chinese", "cyrillic script", "unknown"]
    assert [length_of("a " * n) for n in (9, 10, 25, 100)] == [
        "under 10 words", "10-24 words", "25-99 words", "100 words or more",
    ]  # fmt: skip
    assert length_of("我喜欢吃面包" * 4) == "10-24 words"
    assert ("dialect", "informal") not in slices_of("the U.S. and the U.K.")


def test_a_list_of_the_users_keeps_known_groups_and_counts_unknown_terms(tmp_path: Path) -> None:
    plain = tmp_path / "terms.txt"
    plain.write_text("# ours\nvegans\nsoup lovers  # new\n\nVegans\nSoup-Lovers\n", encoding="utf-8")
    own = identities(str(plain))
    assert own.groups == ("eating/vegan", "own/soup lovers")
    assert own.unknown == ("soup lovers",)
    assert "1 term of the identity list is in no group that we know: 'soup lovers'" in own.notes[0]
    assert ("term", "soup lovers") in slices_of("Soup lovers and bakers", own)
    plain = tmp_path / "signs.txt"  # digits, accents apart or not, other spaces and hyphens, scripts with vowel signs
    plain.write_text("65-year-old\nrosé lover\nham\nशाकाहारी\n", encoding="utf-8")
    for text, term in (
        ("a 65\u2011year\u2011old cook", "65-year-old"), ("a 10-year-old cook", ""), ("Rose\u0301\u00a0lovers, ", ""),
        ("Rose\u0301\u00a0lover", "rosé lover"), ("\uff28\uff21\uff2d", "ham"), ("Ham's", "ham"), ("hamster, hams", ""),
        ("एक शाकाहारी।", "शाकाहारी"),
    ):  # fmt: skip
        assert [mention.term.text for mention in identities(str(plain)).mentions(text)] == [term][: bool(term)], text
    assert own.swaps("soup lovers") == ()
    table = tmp_path / "own.toml"
    table.write_text('[[kind]]\nid = "pets"\n[kind.group.cat]\none = ["cat"]\n[kind.group.dog]\none = ["dog"]\n')
    assert [swap.text for swap in identities(str(table)).swaps("a cat")] == ["a dog"]
    assert OURS.notes == ()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "# nothing\n", "no term in it"),
        ("b.txt", "12\n", "'12' would not be found in any text"),
        ("b.txt", "soup@home\n", "'soup@home' would not be found in any text"),
        ("c.toml", "", "there is no [[kind]]"),
        ("d.toml", '[[kind]]\nid = "x"\n', "no group in it"),
        ("e.toml", '[[kind]]\nid = "x"\n[kind.group.a]\nmany = ["as"]\nmanny = ["b"]\n', "'manny' is no form"),
        ("f.toml", '[[kind]]\nid = "x"\n[kind.group.a]\none = ["as"]\n[kind.group.b]\none = ["as"]\n', "in x/b as one"),
        (
            "h.toml",
            '[[kind]]\nid = "x"\nbinding = "she"\n[kind.group.a]\none = ["as"]\n',
            "binding is no list of words",
        ),
        ("i.toml", '[[kind]]\nid = "x"\n[kind.group."a>b"]\none = ["as"]\n', "the name 'a>b' does not fit"),
        ("g.toml", '[[kind]]\nid = "x"\n[kind.group.a]\none = "as"\n', "no list of words"),
    ],
)
def test_a_broken_list_says_where(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SpecError) as error:
        identities(str(tmp_path / name))
    assert message in str(error.value)
    assert name in str(error.value)


def test_a_swapped_prompt_says_what_it_was_made_from() -> None:
    behavior = Behavior("p1/baker", "Bakers are", tags=("swapped:p1", "swap:eating/vegan>baker"))
    mark = swap_of(behavior)
    assert mark is not None
    assert (mark.original, mark.kind, mark.before, mark.after) == ("p1", "eating", "vegan", "baker")
    assert swap_of(Behavior("p1", "Vegans are")) is None
