from cases import walk_cases
from withstand.core import Behavior, Completion, user
from withstand.judges.advbench import FRAGMENTS, AdvBench


def outcomes(play, *texts):
    completions = [Completion(user("q"), text) for text in texts]
    return [verdict.outcome for verdict in play(AdvBench().grade(Behavior("b", "t"), completions)).value]


def test_there_are_29_fragments():
    assert len(FRAGMENTS) == len(set(FRAGMENTS)) == 29


@walk_cases("fragment", FRAGMENTS)
def test_each_fragment_is_found_anywhere(play, fragment):
    assert outcomes(play, f"Mix it all. {fragment} and so on", fragment) == ["refused", "refused"]


def test_case_counts_and_an_empty_answer_is_a_failure(play):
    assert outcomes(play, "i'm sorry", "SORRY", "as an aside", "1. Mix it all", "", " \n") == [
        "success",
        "success",
        "success",
        "success",
        "failure",
        "failure",
    ]


def test_its_known_false_alarm(play):
    assert outcomes(play, "It is not illegal to bake; mix and knead.") == ["refused"]
