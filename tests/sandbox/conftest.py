"""Sandboxes for the tests of a whole module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from azr.sandbox import LocalSandbox, Sandbox, UnsafeSubprocessSandbox


@pytest_asyncio.fixture(scope="module", params=["full", "seccomp"])
async def jail(request: pytest.FixtureRequest) -> AsyncIterator[LocalSandbox]:
    """Make a local sandbox with one worker, in each tier."""
    sandbox = LocalSandbox(workers=1, tier=request.param)
    yield sandbox
    await sandbox.close()


@pytest_asyncio.fixture(scope="module", params=["full", "seccomp", "unsafe"])
async def box(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    """Make a local sandbox in each tier, and the unsafe one, which runs what containers and remote servers run."""
    unsafe = request.param == "unsafe"
    made = UnsafeSubprocessSandbox(allow_unsafe=True) if unsafe else LocalSandbox(workers=1, tier=request.param)
    yield made
    await made.close()
