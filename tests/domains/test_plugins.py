"""Domains from other packages: a small one is installed and played from end to end; wrong ones are told apart."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from azr.algorithms.registry import TRRPlusPlus
from azr.analysis.figures import figures
from azr.analysis.metrics import step_metrics
from azr.analysis.step import OpenStep
from azr.config import BufferConfig, Config, ModelConfig, SandboxConfig, SelfPlayConfig
from azr.domains import registry
from azr.domains.base import ProposalPrompt, length_of, make_task
from azr.errors import UserError
from azr.run.events import learning_events, step_events
from azr.selfplay.buffer import TaskBuffer
from azr.selfplay.parts import Parts
from azr.selfplay.seeding import seed
from azr.selfplay.step import SelfPlay, buffer_kinds
from azr.train.screen import PlainScreen
from azr.types import Role
from tests.scripted import ScriptedGenerator, plain

EXAMPLE = Path(__file__).parents[2] / "examples" / "azr-bases"
PLUG_IN = """\
from typing import ClassVar
from azr.config import DomainConfig
from azr.domains.exact import ExactDomain
from azr.domains.registry import DomainPlugin

class Settings(DomainConfig):
    available: ClassVar = ("one",)
    name: str = "odd"

class Odd(ExactDomain[Settings]):
    pass

"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder in which the example package is installed, as pip does it."""
    folder = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(EXAMPLE)], check=True, timeout=120)
    return folder


@pytest.fixture(scope="module")
def bases(site):
    """The example's domain, found through its entry point."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        config = registry.config_class("bases")(style="compact", max_number=99)
        return registry.make_domain(config, SandboxConfig())


def azr(site: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "azr", *map(str, words)]
    return subprocess.run(
        command, env={"PYTHONPATH": str(site)}, capture_output=True, text=True, timeout=60, check=False
    )


def install(
    folder: Path,
    monkeypatch,
    code: str,
    target: str = "odd_plugin:PLUGIN",
    names: str = "odd",
    group: str = "azr.domains",
) -> None:
    """Put a module and the metadata of its installation into a folder on the path."""
    (folder / "odd_plugin.py").write_text(code)
    for number, name in enumerate(names.split()):
        meta = folder / f"odd{number}-1.0.dist-info"
        meta.mkdir()
        (meta / "METADATA").write_text(f"Metadata-Version: 2.1\nName: odd{number}\nVersion: 1.0\n")
        (meta / "entry_points.txt").write_text(f"[{group}]\n{name} = {target}\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "odd_plugin", raising=False)


# The example, as an installed package


def test_an_installed_domain_is_listed_with_its_description(site):
    listed = azr(site, "domains").stdout
    assert "bases" in listed
    assert "python" in listed
    assert "primes" in listed
    assert "Whole numbers in other bases" in listed


def test_the_settings_of_a_domain_are_told(site):
    told = azr(site, "domains", "bases").stdout
    assert "kinds: reading, writing" in told
    assert "domain.max_base" in told


def test_the_examples_configuration_resolves_and_its_knobs_are_checked(site):
    resolved = azr(site, "config", EXAMPLE / "bases.toml", "domain.max_base=7")
    assert tomllib.loads(resolved.stdout)["domain"] == {
        "name": "bases", "kinds": ["reading", "writing"], "style": "chat", "max_base": 7, "max_number": 200,
    }  # fmt: skip
    wrong = azr(site, "config", EXAMPLE / "bases.toml", "domain.max_bases=7")
    assert "unknown key domain.max_bases; did you mean max_base?" in wrong.stderr
    assert wrong.returncode == 2


async def test_the_examples_gold_answers_are_right(bases):
    tasks = await bases.held_out(30, None)
    assert {task.kind for task in tasks} == {"reading", "writing"}
    for task in tasks:
        base = task.data["base"]
        digits = bases.answer(task) if task.kind == "writing" else np.base_repr(task.data["number"], base).lower()
        assert int(digits, base) == task.data["number"]
        assert (await bases.verify(task, bases.gold(task), None)).passed


async def test_the_example_in_its_propose_prompt_is_a_valid_proposal(bases):
    prompt = bases.propose_prompt("reading", [], np.random.default_rng(0))
    assert (await bases.validate(prompt, prompt.text, None)).verdict.reason == "accepted"


@given(
    text=st.text(max_size=40), shell=st.sampled_from(["{}", "<answer>{}</answer>", "<answer>{} in base {}</answer>"])
)
async def test_no_text_whatever_breaks_the_example(bases, text, shell):
    written = shell.replace("{}", text)
    await bases.validate(ProposalPrompt("reading", "", ()), written, None)
    await bases.verify(bases.seeds()[0], written, None)


async def test_kinds_of_ones_own_go_through_the_whole_loop(bases):
    def script(key: str, prompt: str, row: int) -> str:
        step, role, _, index = key.split("/")
        if role == "propose":
            return f"<answer>{10 + 7 * int(index) + int(step)} in base 3</answer>"
        return "<answer>1</answer>" if row else "<answer>25</answer>"

    selfplay = SelfPlayConfig(batch_size=4, samples=2, seed_factor=1, references=2)
    config = Config(model=ModelConfig(name="scripted"), domain=bases.config, selfplay=selfplay)
    buffer = TaskBuffer(buffer_kinds(bases), BufferConfig())
    play = SelfPlay(config, Parts(bases, ScriptedGenerator(script), None, plain), buffer)
    assert [record async for record in seed(play)]
    record = await play.step(1)
    events = list(step_events(record, bases))
    estimates = TRRPlusPlus().estimate(record.rollouts, config.algorithm)
    events += learning_events(1, record.rollouts, [0.0] * len(estimates), estimates, {})
    step = OpenStep(1)
    for event in events:
        step.add(event)
    metrics = step_metrics(figures(step, set()), {kind: buffer.size(kind) for kind in bases.kinds})
    assert {rollout.cell for rollout in record.rollouts} == {(role, k) for role in Role for k in ("reading", "writing")}
    assert set(metrics["kinds"]) == {"reading", "writing"}
    assert {event["kind"] for event in events if "kind" in event} == {"reading", "writing"}
    console = Console(record=True, width=400)
    PlainScreen(console, 1).step(metrics | {"seconds": {"step": 1.0}})
    assert "reading valid" in console.export_text()


def test_the_page_shows_the_examples_own_code():
    page = (EXAMPLE.parents[1] / "docs" / "writing-a-domain.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 4
    assert all(block in (EXAMPLE / "azr_bases.py").read_text() for block in blocks)


# Plug-ins that are wrong


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import nowhere_to_be_found", "cannot be loaded: ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("x = 1", "cannot be loaded: AttributeError"),
        ("PLUGIN = dict", "is a type, not an azr.domains.registry.DomainPlugin"),
        (
            PLUG_IN + "PLUGIN = DomainPlugin(dict, Odd, 'Odd.')",
            "its config is not a subclass of azr.config.DomainConfig",
        ),
        (PLUG_IN + "PLUGIN = DomainPlugin(DomainConfig, Odd, 'Odd.')", "DomainConfig.available names no kinds"),
        (PLUG_IN + "PLUGIN = DomainPlugin(Settings, None, 'Odd.')", "its build is not callable"),
        (PLUG_IN + "PLUGIN = DomainPlugin(Settings, Odd, None)", "its description is not a text"),
    ],
)
def test_a_wrong_plug_in_is_one_clear_line(tmp_path, monkeypatch, code, message):
    install(tmp_path, monkeypatch, code)
    with pytest.raises(UserError) as caught:
        registry.plugin("odd")
    assert str(caught.value).startswith("domain odd: odd_plugin:PLUGIN")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        ("Odd", "cannot be built: TypeError: Can't instantiate abstract class Odd"),
        ("lambda config, sandbox: 3", "int lacks complexity, gold, held_out"),
        ("lambda config: 3", "cannot be built: TypeError"),
    ],
)
def test_a_domain_that_is_not_whole_is_one_clear_line(tmp_path, monkeypatch, build, message):
    install(tmp_path, monkeypatch, PLUG_IN + f"PLUGIN = DomainPlugin(Settings, {build}, 'Odd.')")
    with pytest.raises(UserError, match="domain odd: ") as caught:
        registry.make_domain(registry.config_class("odd")(), SandboxConfig())
    assert message in str(caught.value)


def test_a_domain_written_before_domains_had_a_length_is_still_played(tmp_path, monkeypatch):
    members = "{name: None for name in vars(Domain) if name not in ('length', '__init__')}"
    older = f"from azr.domains.base import Domain\nOlder = type('Older', (), {members})\n"
    install(tmp_path, monkeypatch, PLUG_IN + older + "PLUGIN = DomainPlugin(Settings, lambda c, s: Older(), 'Odd.')")
    domain = registry.make_domain(registry.config_class("odd")(), SandboxConfig())
    assert length_of(domain, make_task("one", {}, fingerprint="", shape="")) is None


def test_a_task_of_the_example_is_as_long_as_its_text_has_words(bases):
    assert (
        bases.length(bases.task("writing", {"number": 5, "base": 2})) == 6
    )  # Write 5 in base 2. <answer>1001</answer>


def test_two_packages_with_one_name_are_told_apart(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, PLUG_IN, names="odd odd")
    with pytest.raises(UserError, match="registered more than once"):
        registry.plugin("odd")


def test_a_broken_plug_in_hides_none_of_the_others(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "import nowhere_to_be_found")
    done = azr(tmp_path, "domains")
    assert "python" in done.stdout
    assert "primes" in done.stdout
    assert done.stderr.startswith("azr: error: domain odd: ")
    assert done.returncode == 2


def test_an_unknown_domain_gets_the_nearest_name():
    with pytest.raises(UserError, match="no such domain; did you mean primes"):
        registry.plugin("prime")
