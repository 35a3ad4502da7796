"""The same clusters on every machine: by runs of letters, whichever sentence encoder lies in the user's cache."""

import pytest


@pytest.fixture(autouse=True)
def _no_encoder(monkeypatch, tmp_path):
    monkeypatch.setenv("WITHSTAND_CACHE", str(tmp_path / "no-encoder"))
