"""Fixtures that many tests share."""

import hashlib
import os
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

from azr.sandbox import LocalSandbox

APPRENTICE = Path(__file__).with_name("apprentice.py")

# Tests share the cores. A run that is to choose its own threads and processes deletes this.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes tells of the machine and of who else is on it.
settings.register_profile("azr", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("azr")


@pytest_asyncio.fixture(scope="module")
async def sandbox():
    """The real jail, as training uses it; one for all tests of a module, as it starts processes."""
    box = LocalSandbox(workers=2)
    yield box
    await box.close()


@pytest.fixture(scope="session")
def apprentice(pytestconfig) -> Path:
    """The folder of a model that knows the compact prompts; taught once, and again when its recipe changes."""
    from filelock import FileLock

    from tests.apprentice import make_apprentice

    recipe = hashlib.sha256(APPRENTICE.read_bytes()).hexdigest()[:12]
    folder = Path(pytestconfig.cache.mkdir("apprentice")) / recipe
    with FileLock(f"{folder}.lock"):
        if not (folder / "tokenizer.json").exists():
            partial = folder.with_name(f"{recipe}.{os.getpid()}")
            make_apprentice(partial).rename(folder)
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the test that takes longest, so that no worker waits for it at the end."""
    items.sort(key=lambda item: "test_kills_at_random" not in item.name)
