"""Which sandbox a configuration gets, and what it is told where it gets none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from azr.errors import UserError
from azr.sandbox import (
    DockerSandbox,
    Job,
    LocalSandbox,
    MemoSandbox,
    RemoteSandbox,
    SandboxError,
    UnsafeSubprocessSandbox,
    make_sandbox,
)
from azr.train import start

PLUG_IN = """\
from azr.sandbox import Outcome

class Odd:
    def __init__(self, *, word: str = "odd", workers=None):
        self.word, self.workers = word, workers

    async def run(self, job):
        return (Outcome(value=f"{self.word} {self.workers}"),) * len(job.inputs)

    async def close(self): ...
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str, names: str = "odd") -> None:
    """Put a module and the metadata of its installation into a folder on the path."""
    (folder / "odd_backend.py").write_text(code)
    for number, name in enumerate(names.split()):
        meta = folder / f"odd_backend{number}-1.0.dist-info"
        meta.mkdir()
        (meta / "METADATA").write_text(f"Metadata-Version: 2.1\nName: odd_backend{number}\nVersion: 1.0\n")
        (meta / "entry_points.txt").write_text(f"[azr.sandboxes]\n{name} = odd_backend:Odd\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "odd_backend", raising=False)


@pytest.mark.skipif(sys.platform != "linux", reason="the local sandbox needs Linux")
def test_auto_is_the_local_sandbox_on_linux() -> None:
    assert isinstance(make_sandbox(memo=0), LocalSandbox)


def test_auto_elsewhere_is_an_error_that_names_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "freebsd14")
    with pytest.raises(
        SandboxError, match=r"this is freebsd14: set sandbox.backend = 'docker'.*allow_unsafe = true"
    ) as error:
        make_sandbox()
    assert "\n" not in str(error.value)


def test_local_on_macos_is_an_error_that_names_its_own_jail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxError, match=r"this is darwin: set sandbox.backend = 'seatbelt' or 'docker'"):
        make_sandbox(backend="local")


async def test_every_backend_can_be_chosen() -> None:
    chosen = [
        make_sandbox(backend="docker", memo=0),
        make_sandbox(backend="remote", url="http://127.0.0.1:1", memo=0),
        make_sandbox(backend="unsafe", allow_unsafe=True, memo=0),
    ]
    assert [type(sandbox) for sandbox in chosen] == [DockerSandbox, RemoteSandbox, UnsafeSubprocessSandbox]
    for sandbox in chosen:
        await sandbox.close()


def test_unsafe_needs_to_be_allowed() -> None:
    with pytest.raises(SandboxError, match="allow_unsafe"):
        make_sandbox(backend="unsafe")


def test_remote_needs_an_address() -> None:
    with pytest.raises(SandboxError, match=r"needs sandbox\.url"):
        make_sandbox(backend="remote")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "dokcer",
            "no such backend; did you mean docker?; registered are auto, docker, local, remote, seatbelt, unsafe",
        ),
        ("podman", "no such backend; registered are auto, docker, local, remote, seatbelt, unsafe"),
    ],
)
def test_an_unknown_backend_gets_the_nearest_name_and_the_known_ones(name: str, message: str) -> None:
    with pytest.raises(SandboxError) as error:
        make_sandbox(backend=name)
    assert str(error.value) == f"sandbox.backend = {name!r}: {message}"


def test_the_configuration_refuses_an_unknown_backend_before_anything_is_made() -> None:
    with pytest.raises(UserError, match="did you mean docker"):
        start.resolve("demo", ["sandbox.backend=dokcer"])


async def test_the_configuration_chooses_an_installed_backend_with_its_own_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, PLUG_IN)
    words = ["sandbox.backend=odd", "sandbox.options.word=even", "sandbox.workers=3"]
    sandbox = make_sandbox(**start.resolve("demo", words).sandbox.choice)
    assert [outcome.value for outcome in await sandbox.run(Job("", ("1", "2")))] == ["even 3", "even 3"]


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (
            "sandbox.options.wodr=1",
            "sandbox.options.wodr: unknown key; did you mean word?; the options of 'odd' are word",
        ),
        ("sandbox.options.workers=1", "sandbox.options.workers: write sandbox.workers"),
        ("sandbox.options.self=1", "sandbox.options.self: unknown key; the options of 'odd' are word"),
    ],
)
def test_a_wrong_option_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, assignment: str, message: str
) -> None:
    install(tmp_path, monkeypatch, PLUG_IN)
    with pytest.raises(UserError) as error:
        start.resolve("demo", ["sandbox.backend=odd", assignment])
    assert str(error.value) == message


def test_a_backend_without_options_says_so() -> None:
    with pytest.raises(SandboxError, match=r"options\.image_name: unknown key; 'local' has no options"):
        make_sandbox(backend="local", options={"image_name": "x"})


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import nowhere_to_be_found", "cannot be loaded: ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("x = 1", "cannot be loaded: AttributeError"),
        ("Odd = 3", "cannot be called; it is of type int"),
        ("def Odd(): return 3", "int has no method close and no method run"),
        ("def Odd(): return 1 / 0", "cannot be made: ZeroDivisionError: division by zero"),
        ("def Odd(*, file): ...", "cannot be made: TypeError"),
    ],
)
def test_a_wrong_plug_in_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    install(tmp_path, monkeypatch, code)
    with pytest.raises(SandboxError) as error:
        make_sandbox(backend="odd")
    assert str(error.value).startswith("sandbox.backend = 'odd'")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_two_packages_with_one_name_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, PLUG_IN, names="odd odd")
    with pytest.raises(SandboxError, match="registered more than once"):
        make_sandbox(backend="odd")


def test_the_sandbox_is_made_without_the_configuration() -> None:
    code = "import sys, azr.sandbox as s; s.make_sandbox(); print({'pydantic', 'azr.config'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "set()\n"


async def test_remembers_outcomes_by_default() -> None:
    sandbox = make_sandbox(backend="unsafe", allow_unsafe=True)
    assert isinstance(sandbox, MemoSandbox)
    job = Job("import random\ndef f(): return random.random()", ("",))
    assert await sandbox.run(job) == await sandbox.run(job)
    await sandbox.close()
