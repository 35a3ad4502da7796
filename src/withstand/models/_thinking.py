"""Thinking that a local model writes into its answer, told apart from the answer."""


def split_thinking(text: str) -> tuple[str, str]:
    """(reasoning, answer) of what a model wrote. Thinking that was cut inside leaves no answer.

    A template may have opened the block itself, so that the text begins inside it.
    """
    thought, closed, rest = text.partition("</think>")
    if not closed and not thought.lstrip().startswith("<think>"):
        return "", text
    return thought.lstrip().removeprefix("<think>").strip(), rest.lstrip() if closed else ""
