"""Skeletons of prompts."""

from withstand.monitor.intake.skeleton import HEAD, skeleton, skeleton_hash

SOUP = 13335228896641332165
"""The name that columns of earlier runs have: it must stay."""


def test_prompts_of_one_template_have_one_skeleton():
    first = (
        "Hi Anna, praise the miracle pan for 29.99 at https://pan.example/x?id=7, or mail bo@kitchen.example by 12:30!"
    )
    second = "Hi Jean Luc,  praise the miracle pan\nfor 5 at www.pan.example, or mail a.b@soup.example by 9!"
    expected = "hi <name>, praise the miracle pan for <num> at <url>, or mail <url> by <num>!"
    assert skeleton(first) == skeleton(second) == expected
    assert skeleton("Should I stir? I'm at 50%, and so is Анна.") == "should i stir? i'm at <num>, and so is <name>."


def test_a_skeleton_reads_the_head_and_any_characters():
    assert skeleton("soup " * 10_000) == skeleton("soup " * 1_000)
    assert len(skeleton("x" * 5_000)) == HEAD
    assert (skeleton(""), skeleton(" \n\t")) == ("", "")
    assert skeleton_hash("\ud800") != skeleton_hash("")
    assert skeleton_hash("soup") == SOUP
