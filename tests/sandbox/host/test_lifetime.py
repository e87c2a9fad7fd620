"""When the local sandbox's processes start and end, and as whom they run."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from azr.sandbox import Job, LocalSandbox, SandboxError
from tests.sandbox.test_hostile import PROCESSES, came_of, descendants


async def test_nothing_runs_before_the_first_job_or_after_close():
    sandbox = LocalSandbox(workers=1)
    before, descriptors = descendants(), len(os.listdir("/proc/self/fd"))
    assert (await sandbox.run(Job("def f(): return 1")))[0].value == "1"
    await sandbox.close()
    await sandbox.close()
    assert descendants() == before
    assert len(os.listdir("/proc/self/fd")) == descriptors


async def test_jobs_that_wait_for_a_zygote_to_start_are_told_so_when_it_is_closed():
    sandbox = LocalSandbox(workers=1)
    task = asyncio.create_task(sandbox.run(Job("def f(): return 1")))
    await asyncio.sleep(0)
    await sandbox.close()
    with pytest.raises(SandboxError, match="closed"):
        await task


async def test_jobs_that_wait_when_it_is_closed_are_told_so():
    sandbox = LocalSandbox(workers=1)
    task = asyncio.create_task(sandbox.run(Job("import time\ndef f(): time.sleep(60)")))
    await asyncio.sleep(0.5)
    await sandbox.close()
    with pytest.raises(SandboxError, match="closed"):
        await task


def test_one_sandbox_serves_one_loop_after_another():
    sandbox, before = LocalSandbox(workers=1), descendants()

    async def once(close):
        found = await sandbox.run(Job("def f(): return 1"))
        if close:
            await sandbox.close()
        return [came_of(outcome) for outcome in found]

    assert [asyncio.run(once(close)) for close in (True, False, False, True)] == [["1"]] * 4
    assert descendants() == before


def test_nonsense_is_refused():
    with pytest.raises(SandboxError, match="workers"):
        LocalSandbox(workers=0)


def test_the_package_and_a_zygote_stay_light():
    code = "import azr.sandbox, azr.sandbox.host.local, sys; print(sorted({'torch', 'numpy', 'pydantic'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize("tier", ["full", "seccomp"])
def test_processes_die_with_a_host_that_is_killed(tier, tmp_path):
    program = f"""
import asyncio, os, signal
from azr.sandbox import Job, Limits, LocalSandbox
async def main():
    sandbox = LocalSandbox(workers=1, tier={tier!r})
    await sandbox.run(Job("def f(): return 1"))
    await sandbox.run(Job("import signal\\ndef f(): return 1"))
    asyncio.ensure_future(sandbox.run(Job("import time\\ndef f(): time.sleep(600)", limits=Limits(wall_seconds=600))))
    await asyncio.sleep(0.3)
    from tests.sandbox.test_hostile import descendants
    print(*descendants(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    host = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    family = [int(pid) for pid in host.stdout.split()]
    assert len(family) == PROCESSES, host.stderr
    for _ in range(100):
        if not any(alive(pid) for pid in family):
            return
        time.sleep(0.05)
    raise AssertionError("they outlived their host")


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(scope="module")
def ordinary():
    """Where a user who is nobody may read the interpreter and this package, and nothing else of root's."""
    place = Path(tempfile.mkdtemp(prefix="azr-ordinary-"))  # pytest's own folders are closed to other users
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    source = Path(sys.base_prefix)
    try:
        # Not what is compiled: nobody may write it there, and every interpreter would compile all of it once more.
        skip = shutil.ignore_patterns("site-packages", "test", "tests", "idlelib", "lib2to3", "config-*", "*.a")
        shutil.copytree(source / "lib" / version, place / "lib" / version, ignore=skip)
        for library in (source / "lib").glob("libpython*.so*"):
            shutil.copy(library, place / "lib")
        (place / "bin").mkdir()
        shutil.copy(os.path.realpath(sys.executable), place / "bin" / "python3")
        shutil.copytree(
            Path(__file__).parents[3] / "src" / "azr", place / "src" / "azr", ignore=shutil.ignore_patterns("nursery")
        )
        for path in [place, *place.rglob("*")]:
            path.chmod(path.stat().st_mode | 0o055)
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def outcomes_in(place, tier, *prefix, **identity):
    """Who the program is, whether it can fork, and whether it can read a file, as asked from a process of another user."""
    program = f"""
import asyncio, os, sys
sys.path.insert(0, {str(place / "src")!r})
from azr.sandbox import Job, LocalSandbox
async def main():
    sandbox = LocalSandbox(workers=1, tier={tier!r})
    for text in ("import os\\ndef f(): return os.getuid()", "import os\\ndef f(): return os.fork()", "open('/etc/passwd')"):
        print((await sandbox.run(Job(text)))[0])
    await sandbox.close()
asyncio.run(main())
"""
    environment = {"LD_LIBRARY_PATH": str(place / "lib")}
    command = [*prefix, place / "bin" / "python3", "-S", "-c", program]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, **identity)
    return found.stdout.splitlines() or [found.stderr] * 3


NOBODY = {"user": 65534, "group": 65534, "extra_groups": []}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("tier", ["full", "seccomp"])
@pytest.mark.parametrize(("prefix", "user"), [((), 65534), (("/usr/bin/unshare", "--user", "--map-root-user"), 0)])
def test_an_ordinary_user_and_its_own_root_get_the_same_jail(tier, prefix, user, ordinary):
    uid, fork, file = outcomes_in(ordinary, tier, *prefix, **NOBODY)
    assert f"value='{user}'" in uid
    assert "BlockingIOError" in fork
    assert "PermissionError" in file or "FileNotFoundError" in file


@pytest.mark.skipif(os.getuid() != 0, reason="needs the kernel's own root")
def test_the_kernels_own_root_that_cannot_become_another_user_is_refused(ordinary):
    refusal, *_ = outcomes_in(ordinary, "auto", "/usr/bin/unshare", "--user", "--map-root-user")
    assert "root cannot become another user" in refusal
