"""`azr domains new` and `azr domains try`: the package works as it is written, and says what is wrong once it does not."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from azr.domains.new import write
from azr.domains.trial import run
from azr.errors import UserError
from tests.domains.test_plugins import PLUG_IN, azr, install
from tests.installed import put


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A package that `azr domains new` wrote, on the path."""
    folder = write("my-sums", tmp_path / "azr-my-sums")
    monkeypatch.syspath_prepend(str(put(folder, tmp_path / "site")))
    monkeypatch.delitem(sys.modules, "azr_my_sums", raising=False)
    return folder


def test_a_new_domain_has_prompts_in_every_style_and_accepts_its_gold_answers(package, capsys):
    assert run("my-sums", [], 5)
    told = capsys.readouterr().out
    for style in ("r1", "chat", "compact"):
        assert f"--- {style}: propose sum\n" in told
        assert f"--- {style}: solve missing\n" in told
    assert "sum: gold answers: 5 of 5 right\n" in told
    assert "missing: garbage as a proposal: 0 of 5 right (" in told


def test_settings_can_be_tried(package, capsys):
    assert run("my-sums", ["domain.largest=9"], 2)
    assert "two numbers from 0 to 9" in capsys.readouterr().out


def test_a_domain_that_runs_programs_can_be_tried(capsys):
    assert run("python", ["kinds=['deduction']"], 2)
    assert "deduction: gold answers: 2 of 2 right" in capsys.readouterr().out


def test_a_gold_answer_that_is_refused_is_shown(package, tmp_path, capsys):
    module = tmp_path / "site" / "azr_my_sums.py"
    module.write_text(module.read_text().replace("return answer ==", "return answer + '0' =="))
    assert not run("my-sums", [], 3)
    told = capsys.readouterr().out
    assert "sum: gold answers: 0 of 3 right (3 wrong)" in told
    assert "sum: a gold answer that is refused: <answer>" in told


@pytest.mark.parametrize("method", ["draw", "propose_text", "parse", "solve_text", "answer", "correct"])
def test_the_method_that_raised_is_named(package, tmp_path, monkeypatch, capsys, method):
    from azr.console import explain_failure

    module = tmp_path / "site" / "azr_my_sums.py"
    code = module.read_text()
    start = code.index('"""', code.index(f"    def {method}(")) + 3
    end = code.index('"""\n', start) + 4
    module.write_text(f"{code[:end]}        raise LookupError('no such word')\n{code[end:]}")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(LookupError) as caught:
        run("my-sums", [], 2)
    assert explain_failure(caught.value) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"azr: error: domain my-sums: MySumsDomain.{method} raised LookupError: no such word; ")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("method", "value", "wanted"),
    [
        ("def seeds(self)", "[1]", "Task"),
        ("def propose_prompt(self, *_)", "'a text'", "ProposalPrompt"),
        ("def solve_prompt(self, *_)", "5", "str"),
        ("def show(self, *_)", "None", "str"),
        ("def gold(self, *_)", "7", "str"),
        ("async def verify(self, *_)", "True", "Verdict"),
        ("async def validate(self, *_)", "False", "Proposal"),
        ("async def held_out(self, *_)", "['a task']", "Task"),
    ],
)
def test_a_method_that_returns_another_type_is_named(package, tmp_path, method, value, wanted):
    module = tmp_path / "site" / "azr_my_sums.py"
    code, first = module.read_text(), "    def draw("
    assert first in code
    module.write_text(code.replace(first, f"    {method}:\n        return {value}\n\n{first}"))
    name = method.partition("(")[0].rpartition(" ")[2]
    with pytest.raises(UserError, match=rf"domain my-sums: MySumsDomain\.{name} returned .*, not of type {wanted}$"):
        run("my-sums", [], 2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Sums", "lower-case letters"),
        ("my_sums", "lower-case letters"),
        ("9sums", "begins with a letter"),
        ("../sums", "lower-case letters"),
        ("", "lower-case letters"),
        ("try", "a command of azr domains"),
        ("python", "a domain of this name is installed already"),
    ],
)
def test_an_unsuitable_name_is_refused_and_nothing_is_written(tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        write(name, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_kept(tmp_path):
    (tmp_path / "sums").mkdir()
    with pytest.raises(UserError, match="exists already"):
        write("sums", tmp_path / "sums")
    assert list((tmp_path / "sums").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written: not a directory"):
        write("sums", tmp_path / "file" / "sums")


@pytest.mark.slow
def test_a_wrong_name_exits_with_2_and_a_new_domain_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong, right = azr(tmp_path, "domains", "new", "Sums"), azr(tmp_path, "domains", "new", "sums")
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)
    assert right.returncode == 0
    assert "azr domains try sums" in right.stdout
    assert (tmp_path / "azr-sums" / "tests" / "test_azr_sums.py").is_file()


@pytest.mark.slow
def test_a_domain_is_shown_by_its_name_beside_the_commands(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, PLUG_IN + "PLUGIN = DomainPlugin(Settings, Odd, 'Odd.')")
    assert "kinds: one" in azr(tmp_path, "domains", "odd").stdout
    unknown = azr(tmp_path, "domains", "od")
    assert unknown.returncode == 2
    assert "no such domain; did you mean odd?" in unknown.stderr


@pytest.mark.slow
def test_a_new_package_installs_and_passes_its_own_tests(tmp_path):
    folder, site = write("sums", tmp_path / "azr-sums"), tmp_path / "site"
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(folder)], check=True, timeout=120)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
