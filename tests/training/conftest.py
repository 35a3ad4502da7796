"""What all tests of the stages share."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def one_thread(one_thread: None) -> None:
    """For all of them."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a random Llama of two layers and a tokenizer of whole words."""
    import learner

    return str(learner.save(tmp_path_factory.mktemp("tiny-llama")))
