"""The Seatbelt backend as far as it can be tried without a Mac: the profile, the command, and what the host does.

`test_seatbelt_on_a_mac.py` has what runs on macOS only.
"""

from __future__ import annotations

import asyncio
import platform
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from azr.config.run import SandboxConfig
from azr.sandbox import Job, Limits, Mode, Outcome, Reason, Sandbox, SandboxError, SeatbeltSandbox, make_sandbox
from azr.sandbox.backends import seatbelt, seatbelt_profile
from azr.sandbox.host.exchange import content
from tests.sandbox.seatbelt_stand_in import install

linux = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="the stand-in for sandbox-exec is Linux's"
)


def parts(*files: Path) -> tuple[str, dict[str, str], str]:
    """The profile, its parameters, and the interpreter."""
    (program, flag, text, *definitions), interpreter = seatbelt_profile.command("/usr/bin/sandbox-exec", files=files)
    assert (program, flag) == ("/usr/bin/sandbox-exec", "-p")
    assert set(definitions[::2]) == {"-D"}
    return text, dict(word.split("=", 1) for word in definitions[1::2]), interpreter


def forms(text: str) -> list[str]:
    """The rules of a profile, each on one line."""
    rules, depth, start = [], 0, 0
    for at, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "(" and depth == 1:
            start = at
        if character == ")" and depth == 0:
            rules.append(" ".join(text[start : at + 1].split()))
    assert depth == 0
    return rules


# --- the profile -------------------------------------------------------------------------------------------------


def test_everything_is_denied_before_anything_is_allowed() -> None:
    assert forms(parts()[0])[:3] == ["(version 1)", "(deny default)", '(import "system.sb")']


@pytest.mark.parametrize(
    "operation", ["network*", "mach-lookup", "ipc-posix*", "file-write*", "process-exec*", "process-fork", "signal"]
)
def test_what_apples_rules_may_allow_is_denied_after_them(operation: str) -> None:
    rules = forms(parts()[0])
    denied = [at for at, rule in enumerate(rules) if re.match(rf"\(deny\b[^(]*{re.escape(operation)}[ )]", rule)]
    assert denied
    assert denied[0] > rules.index('(import "system.sb")')


def test_what_is_allowed_in_the_end_is_this_and_nothing_else() -> None:
    allowed = [rule for rule in forms(parts()[0]) if rule.startswith("(allow")]
    assert [re.sub(r" \((literal|subpath) \(param .*\)", " PATHS)", rule) for rule in allowed] == [
        "(allow process-exec PATHS)",
        "(allow process-info* (target self))",
        "(allow signal (target self))",
        "(allow sysctl-read)",
        "(allow file-read-metadata PATHS)",
        "(allow file-read* file-map-executable PATHS)",
        '(allow file-write-data (literal "/dev/null"))',
    ]


def test_only_the_installation_of_python_can_be_read() -> None:
    _, parameters, interpreter = parts()
    readable = {value for name, value in parameters.items() if name.startswith("READABLE")}
    assert readable == {str(Path(prefix).resolve()) for prefix in (sys.base_prefix, sys.base_exec_prefix)}
    assert Path(interpreter).is_relative_to(sys.base_prefix)


def test_installed_packages_are_hidden_after_the_installation_is_allowed() -> None:
    rules = forms(parts()[0])
    hidden = rules.index('(deny file-read* file-map-executable (regex #"/(site|dist)-packages(/|$)"))')
    assert hidden > next(at for at, rule in enumerate(rules) if rule.startswith("(allow file-read* "))


def test_every_parameter_is_defined_and_used() -> None:
    text, parameters, _ = parts(Path("/private/var/x/given"), Path("/private/var/x/printed"))
    assert set(re.findall(r'\(param "(\w+)"\)', text)) == parameters.keys()


def test_a_path_cannot_add_a_rule(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    odd = tmp_path / 'a") (allow default) ("'
    monkeypatch.setattr(sys, "base_prefix", str(odd))
    text, parameters, _ = parts()
    assert "allow default" not in text
    assert str(odd) in parameters.values()


def test_a_supervisor_of_scripts_may_fork_and_write_its_two_files_and_nothing_more() -> None:
    files = (Path("/private/var/x/given"), Path("/private/var/x/printed"))
    call, script = forms(parts()[0]), forms(parts(*files)[0])
    more = {rule for rule in script if rule not in call and not rule.startswith("(allow file-read-metadata")}
    assert more == {
        "(allow process-fork)",
        '(allow file-read* file-write-data (literal (param "FILE_0")) (literal (param "FILE_1")))',
    }
    assert {name: value for name, value in parts(*files)[1].items() if name.startswith("FILE")} == {
        "FILE_0": "/private/var/x/given",
        "FILE_1": "/private/var/x/printed",
    }


def test_a_python_whose_folder_holds_the_home_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/Users/me")
    monkeypatch.setattr(sys, "base_prefix", "/Users/me")
    with pytest.raises(SandboxError, match="which is /Users/me and holds your home folder"):
        seatbelt_profile.command("/usr/bin/sandbox-exec", files=())


# --- how it is chosen --------------------------------------------------------------------------------------------


def test_it_is_what_auto_means_on_macos(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(seatbelt, "SANDBOX_EXEC", install(tmp_path))
    assert isinstance(make_sandbox(**SandboxConfig().choice, memo=0), SeatbeltSandbox)


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has it")
def test_elsewhere_it_is_refused_with_one_line() -> None:
    with pytest.raises(SandboxError, match="needs macOS's /usr/bin/sandbox-exec") as error:
        make_sandbox(backend="seatbelt")
    assert "\n" not in str(error.value)


# --- what the host does, with a stand-in for sandbox-exec --------------------------------------------------------


@pytest_asyncio.fixture(scope="module")
async def box(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seatbelt, "SANDBOX_EXEC", install(tmp_path_factory.mktemp("bin")))
        made = SeatbeltSandbox(workers=2)
        yield made
        await made.close()


@linux
@pytest.mark.slow
async def test_a_sandbox_exec_that_confines_nothing_is_found_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(seatbelt, "SANDBOX_EXEC", install(tmp_path, confining=False))
    made = SeatbeltSandbox(workers=1)
    with pytest.raises(SandboxError, match="does not hold on this machine") as error:
        await made.run(Job("def f(): return 1"))
    await made.close()
    for name in ("network", "files", "writing", "other processes", "exec"):
        assert f"{name}: " in str(error.value)
    assert "\n" not in str(error.value)


@linux
@pytest.mark.slow
async def test_a_sandbox_exec_that_starts_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    refusing = tmp_path / "sandbox-exec"
    refusing.write_text("#!/bin/sh\nexit 65\n")
    refusing.chmod(0o755)
    monkeypatch.setattr(seatbelt, "SANDBOX_EXEC", str(refusing))
    made = SeatbeltSandbox(workers=1)
    with pytest.raises(SandboxError, match="programs run: an honest program gave crashed"):
        await made.run(Job("def f(): return 1"))
    await made.close()


@linux
@pytest.mark.slow
async def test_programs_and_scripts_give_their_values(box: Sandbox) -> None:
    assert await box.run(Job("def f(x): return x + 1", ("41", "'a'"))) == (
        Outcome("42"),
        Outcome(reason=Reason.ERROR, error="TypeError", detail='can only concatenate str (not "int") to str'),
    )
    script = Job("print(input()[::-1])", ("abc", "é"), mode=Mode.SCRIPT)
    assert await box.run(script) == (Outcome("cba\n"), Outcome("é\n"))


@linux
@pytest.mark.slow
@pytest.mark.parametrize("mode", [Mode.CALL, Mode.SCRIPT])
async def test_memory_that_no_limit_of_the_system_holds_is_stopped_from_outside(
    box: Sandbox, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import time\ndef f():\n    kept = bytearray(200 << 20)\n    time.sleep(600)\n"
    monkeypatch.setattr("azr.sandbox.backends.subprocesses.content", without_limits)
    job = Job(program + ("f()" if mode is Mode.SCRIPT else ""), mode=mode, limits=Limits(60.0, 60, 64 << 20))
    (outcome,) = await box.run(job)
    assert outcome.reason is Reason.MEMORY
    assert outcome.disturbed


@linux
@pytest.mark.slow
async def test_processor_time_is_limited_where_the_system_only_sends_a_signal(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("azr.sandbox.backends.subprocesses.content", without_limits)
    (outcome,) = await box.run(Job("def f():\n    while True: pass", limits=Limits(wall_seconds=120.0, cpu_seconds=1)))
    assert (outcome.reason, outcome.detail) == (Reason.TIMEOUT, "more than 1 s of processor time")


def without_limits(job: Job, *, second: bool) -> dict[str, object]:
    """The request of a job on macOS: its kernel does not hold these limits."""
    return content(job, second=second) | {"memory_bytes": 1 << 40, "cpu_seconds": 1000}


@linux
@pytest.mark.slow
async def test_a_script_that_leaves_its_session_ends_with_its_job(box: Sandbox) -> None:
    before = set(psutil.pids())
    script = Job("import os, time\nos.setsid()\ntime.sleep(600)", mode=Mode.SCRIPT, limits=Limits(wall_seconds=1.0))
    (outcome,) = await box.run(script)
    assert outcome.reason is Reason.TIMEOUT
    await asyncio.sleep(0.1)
    left = [pid for pid in set(psutil.pids()) - before if psutil.pid_exists(pid) and stand_in(pid)]
    assert left == []


def stand_in(pid: int) -> bool:
    try:
        return any("sandbox-exec" in word for word in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False


# --- the rest of azr on macOS ------------------------------------------------------------------------------------

IMPORTS = """
import importlib, sys
from azr.sandbox.backends.bundle import _MODULES
from tests.sandbox.as_on_a_mac import become_a_mac

names = ["azr.cli", "azr.train.start", "azr.train.training", "azr.train.ahead", "azr.sandbox.doctor", "azr.sandbox.host.local"]
names += ["azr.sandbox.backends.seatbelt", *(f"azr.sandbox.guest.{name}" for name in _MODULES)]
for again in (False, True):  # other people's packages are imported before: they have builds for macOS
    for name in names:
        importlib.import_module(name)
    if not again:
        for name in [name for name in sys.modules if name.startswith("azr")]:
            del sys.modules[name]
        become_a_mac()
print("imported")
"""


@linux
@pytest.mark.slow
def test_what_the_demo_imports_needs_nothing_that_only_linux_has() -> None:
    root = Path(__file__).parents[3]
    result = subprocess.run([sys.executable, "-c", IMPORTS], cwd=root, capture_output=True, text=True)
    assert result.stdout == "imported\n", result.stderr
