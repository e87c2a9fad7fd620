"""Tiny models that the policy's tests share."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from azr.config import ModelConfig
from azr.models.load import LanguageModel, load_model
from tests.tiny import Architecture, tiny_model


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Architecture, Path]:
    """A saved model of each architecture."""
    root = tmp_path_factory.mktemp("models")
    return {name: tiny_model(root / name, architecture=name) for name in ("qwen2", "llama", "gpt2")}


@pytest.fixture
def load(folders: dict[Architecture, Path]) -> Callable[[Architecture], LanguageModel]:
    """Load a fresh copy of a model."""
    return lambda architecture: load_model(ModelConfig(name=str(folders[architecture]), device="cpu"))


@pytest.fixture
def policy(load: Callable[[Architecture], LanguageModel]) -> LanguageModel:
    """A fresh Qwen2-shaped model."""
    return load("qwen2")
