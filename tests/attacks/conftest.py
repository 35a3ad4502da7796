"""The tiny model of the white-box attacks' tests."""

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    import tiny
    from withstand.models import hf

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WITHSTAND_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield hf.HF(str(tiny.save(tmp_path_factory.mktemp("tiny"))), dtype="float32")
        hf._LOADED.clear()
        hf._IDENTITIES.clear()
