"""How the parts of a run are made from its configuration."""

import pytest
import torch

from azr.sandbox.backends.unsafe import UnsafeSubprocessSandbox
from azr.train import start as command


@pytest.fixture(autouse=True)
def own_threads(monkeypatch):
    """This module changes how many threads torch has; the tests after it get theirs back."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("words", "threads"), [([], 1), (["threads=3"], 3)])
def test_a_run_of_the_demo_has_one_thread_unless_others_are_asked_for(words, threads):
    command.make_parts(command.resolve("demo", words), UnsafeSubprocessSandbox(allow_unsafe=True))
    assert torch.get_num_threads() == threads
