"""A Tinker service over a tiny model, and azr's own learner over the same."""

from __future__ import annotations

import pytest

pytest.importorskip("tinker", reason="needs the extra `tinker`: pip install 'azr[tinker]'")

from tests.language_models import _one_thread, folders, load, policy
from tests.tinker.fake import KEY

__all__ = ["_one_thread", "folders", "load", "policy"]


@pytest.fixture(autouse=True)
def _key(monkeypatch, tmp_path):
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("TINKER_BASE_URL", "TINKER_CREDENTIAL_CMD"):
        monkeypatch.delenv(name, raising=False)
