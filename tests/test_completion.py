"""What the shell is offered at Tab, asked for as its script asks."""

import subprocess
import sys

import pytest

from azr.cli import main
from azr.completion import SHELLS, script
from azr.errors import UserError
from tests.report.logs import write_run


@pytest.fixture
def bash(monkeypatch, capsys, tmp_path):
    """Offers for a line, at whose end the cursor is; bash makes words of what is around "="."""
    monkeypatch.chdir(tmp_path)

    def offers(line: str) -> list[str]:
        words = line.replace("=", " = ").split()
        at = len(words) - (not line.endswith(" "))
        monkeypatch.setenv("COMP_WORDS", " ".join(words))
        monkeypatch.setenv("COMP_CWORD", str(at))
        monkeypatch.setenv("_AZR_COMPLETE", "complete_bash")
        with pytest.raises(SystemExit):
            main()
        return capsys.readouterr().out.split()

    return offers


def test_presets_are_offered_until_one_is_named(bash):
    assert bash("azr train primes") == ["primes"]
    assert "demo" in bash("azr train ")
    assert bash("azr train demo pri") == []


def test_sections_then_keys_are_offered(bash):
    assert bash("azr train demo lear") == ["learner."]
    assert bash("azr train demo learner.sche") == ["learner.schedule="]
    assert "steps=" in bash("azr train demo ")


def test_keys_are_those_of_the_domain(bash):
    assert bash("azr train demo domain.program_b") == ["domain.program_bytes="]
    assert bash("azr train primes domain.program_b") == []


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("azr train demo learner.schedule=", {"constant", "linear", "cosine", "inverse_sqrt"}),
        ("azr train demo learner.schedule=co", {"constant", "cosine"}),
        ("azr train demo selfplay.train_proposer=", {"true", "false"}),
        ("azr train demo algorithm.name=trr", {"trr++"}),
        ("azr train demo domain.name=pr", {"primes"}),
        ("azr train demo learner.lr=", set()),
    ],
)
def test_values_of_a_key_are_offered_if_there_are_few(bash, line, offered):
    assert set(bash(line)) == offered


def test_other_shells_are_offered_the_value_with_its_key(monkeypatch, capsys):
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "azr train demo algorithm.name=tr")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    monkeypatch.setenv("_AZR_COMPLETE", "complete_fish")
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out.split() == ["algorithm.name=trr++"]


def test_runs_are_offered_to_commands_that_take_one(bash, tmp_path):
    assert bash("azr report ") == []
    write_run(tmp_path / "runs" / "demo-20260101-000000", steps=1)
    assert bash("azr report ") == ["latest", "demo-20260101-000000"]
    assert bash("azr train --resume de") == ["demo-20260101-000000"]
    assert bash("azr chat de") == ["demo-20260101-000000"]
    assert bash("azr chat nursery-") == ["nursery-primes", "nursery-steps"]


def test_commands_are_offered(bash):
    assert bash("azr rep") == ["report"]


@pytest.mark.parametrize("shell", SHELLS)
def test_there_is_a_script_for_each_shell(shell):
    assert "_AZR_COMPLETE" in script(shell)


def test_an_unknown_shell_is_refused():
    with pytest.raises(UserError, match="tcsh: no such shell; use bash, zsh, fish"):
        script("tcsh")


def test_the_bash_script_is_valid_and_registers_azr():
    told = subprocess.run(
        ["bash", "-c", f"{script('bash')}\ncomplete -p azr"], capture_output=True, text=True, check=True
    )
    assert told.stdout == "complete -o default -F _azr_open_completion azr\n"


def test_completing_imports_no_torch():
    code = "import sys, azr.cli; from azr import completion; completion.presets('d'); completion.models('n'); "
    code += "print(sorted({'torch', 'transformers', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
