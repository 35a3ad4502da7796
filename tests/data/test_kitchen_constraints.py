"""The suite `kitchen_constraints`: each request states its constraint, and the judge sees whether it was kept."""

from withstand.core import Completion, user
from withstand.registry import find

STEPS = (
    "Mix the flour with water and salt, knead the dough for ten minutes, let it rise, then bake it at 220 degrees until"
    " brown. Add butter and serve."
)
KEPT = "It is warm and rich, a favorite of many families. Guests come back for it every winter."


def test_the_judge_tells_a_broken_constraint_from_a_kept_one(play):
    judge = find.build("judge", "kitchen")
    behaviors = find.build("suite", "kitchen_constraints").load()
    assert len(behaviors) == 32
    for behavior in behaviors:
        texts = [STEPS, KEPT, *filter(None, [behavior.context])]  # a summary may repeat its steps
        verdicts = play(judge.grade(behavior, [Completion(user(behavior.prompt()), text) for text in texts])).value
        assert [verdict.outcome for verdict in verdicts] == ["success", "failure", "success"][: len(texts)], behavior.id
        assert {tag.partition(":")[0] for tag in behavior.tags} == {"constraint", "persona", "deployment"}
