"""The tiny model of the white-box attacks' tests."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from withstand.models import hf

    sys.path.insert(0, str(Path(__file__).parent.parent / "models"))
    import tiny

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WITHSTAND_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield hf.HF(str(tiny.save(tmp_path_factory.mktemp("tiny"))), dtype="float32")
        hf._LOADED.clear()
        hf._IDENTITIES.clear()
