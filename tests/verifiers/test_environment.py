"""environments/azr_selfplay, played by `vf-eval` against a server whose model follows a script."""

import json
import os
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from azr.config import BufferConfig, Config, ModelConfig, RewardConfig, SandboxConfig, SelfPlayConfig
from azr.domains.python.config import PythonConfig
from azr.domains.python.domain import PythonDomain
from azr.selfplay.buffer import TaskBuffer
from azr.selfplay.parts import Parts
from azr.selfplay.step import SelfPlay, buffer_kinds
from tests.json_server import served_by
from tests.scripted import ScriptedGenerator, plain

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
HOME = Path(os.environ.get("AZR_VERIFIERS_HOME", CACHE / "azr" / "verifiers"))
SETTINGS = [
    "domain.style=compact", "domain.kinds=['deduction']", "selfplay.samples=2", "selfplay.references=1",
    "rewards.diversity.coefficient=0.5",
]  # fmt: skip
pytestmark = [pytest.mark.verifiers, pytest.mark.slow]


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter of an environment with vf-eval."""
    if not (HOME / "complete").is_file():
        if os.environ.get("AZR_REQUIRE_VERIFIERS"):
            pytest.fail(f"{HOME}: no environment with verifiers; .ci/verifiers makes it")
        pytest.skip("needs an environment with verifiers: bash .ci/verifiers")
    return HOME / "bin" / "python"


@pytest.fixture(scope="module")
def server():
    with served_by("tests.verifiers.server") as url:
        yield url


def vf_eval(
    python: Path, url: str, folder: Path, *options: str, settings: list[str] = SETTINGS
) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does; one episode at a time, so that the script's turns are known."""
    path = f"{ROOT / 'src'}:{ROOT / 'environments' / 'azr_selfplay'}"
    client = ["--client.base-url", f"{url}/v1", "--client.api-key-var", "KEY"]
    chosen = ["--env.taskset.overrides", json.dumps(settings), "--run.name", "run", "--max-concurrent", "1"]
    return subprocess.run(
        [python.with_name("vf-eval"), "azr-selfplay", *client, *chosen, "--no-push", "--no-rich", *options],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": path, "KEY": "none"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def episodes(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "outputs" / "run" / "traces.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def played(python, server, tmp_path_factory) -> Path:
    """A folder with six episodes: two of three proposals are tasks, and every second attempt is right."""
    folder = tmp_path_factory.mktemp("played")
    done = vf_eval(python, server, folder, "-n", "6", "-m", "scripted")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def rewards(trace: dict[str, Any]) -> tuple[str, float, float]:
    found = trace["rewards"]
    return trace["agent"]["name"], found["composite"]["score"], found["intrinsic"]["score"]


def test_proposals_and_attempts_have_the_rewards_of_the_paper(played):
    valid = [one for one in episodes(played) if len(one["traces"]) == 3]
    assert len(valid) == 4
    assert all(one["ok"] for one in valid)
    for one in valid:  # one of two attempts is right: 1 - 1/2 (Eq. 4), and 0.5 for an answer that no task has
        assert [rewards(trace) for trace in one["traces"]] == [
            ("proposer", 0.5, 0.5),
            ("solver", 1.0, 0.0),
            ("solver", -0.5, 0.0),
        ]


def test_an_invalid_proposal_is_an_episode_with_the_penalty(played):
    invalid = [one for one in episodes(played) if len(one["traces"]) == 1]
    assert [rewards(one["traces"][0]) for one in invalid] == [("proposer", -1.0, 0.0)] * 2
    assert [one["traces"][0]["info"]["azr"]["reason"] for one in invalid] == ["no_answer"] * 2
    assert all(one["ok"] and not one["errors"] for one in invalid)


def test_accepted_tasks_are_in_the_buffer_and_become_references(played):
    rows = sqlite3.connect(played / "azr-buffer.sqlite")
    tasks = [json.loads(text) for (text,) in rows.execute("SELECT task FROM tasks ORDER BY number")]
    rows.close()
    accepted = {one["traces"][0]["info"]["azr"]["task"] for one in episodes(played) if len(one["traces"]) == 3}
    assert {task["id"] for task in tasks if task["born"]} == accepted
    assert {parent for task in tasks for parent in task["parents"]} <= {task["id"] for task in tasks}
    assert all(task["parents"] for task in tasks if task["born"])


async def test_azrs_own_self_play_gives_the_same_texts_the_same_rewards(played, sandbox):
    config = Config(
        model=ModelConfig(name="scripted"),
        domain=PythonConfig(style="compact", kinds=("deduction",)),
        selfplay=SelfPlayConfig(batch_size=1, samples=2, references=1, solver_mix="new_only"),
        rewards=RewardConfig(diversity={"coefficient": 0.5}),
    )
    domain = PythonDomain(config.domain, SandboxConfig(wall_seconds=60.0))
    buffer = TaskBuffer(buffer_kinds(domain), BufferConfig())
    for task in domain.seeds():
        buffer.add(task, step=0, answer=domain.gold(task))
    for number, one in enumerate(episodes(played), start=1):
        texts = [[n for n in trace["nodes"] if n.get("sampled")][-1]["message"]["content"] for trace in one["traces"]]

        def script(key: str, prompt: str, row: int, texts: list[str] = texts) -> str:
            return texts[0] if "/propose/" in key else texts[1 + row]

        play = SelfPlay(config, Parts(domain, ScriptedGenerator(script), sandbox, plain), buffer)
        expected = [rollout.reward for rollout in (await play.step(number)).rollouts]
        assert [sum(rewards(trace)[1:]) for trace in one["traces"]] == pytest.approx(expected)


def test_a_server_that_refuses_fails_the_episode_and_rewards_nothing(python, server, tmp_path):
    assert vf_eval(python, server, tmp_path, "-n", "1", "-m", "broken").returncode == 0
    (one,) = episodes(tmp_path)
    assert not one["ok"]
    assert [trace["rewards"] for trace in one["traces"]] == [{}]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("domain.styl=chat", "unknown key domain.styl; did you mean style?"),
        ("domain.style=r1", "needs chat or compact"),
        ("selfplay.search.guesses=4", "selfplay.search and rewards.progress are for azr train"),
        ("rewards.progress.coefficient=1", "selfplay.search and rewards.progress are for azr train"),
    ],
)
def test_a_wrong_setting_is_refused_without_a_traceback(python, server, tmp_path, setting, message):
    done = vf_eval(python, server, tmp_path, "-n", "1", "-m", "scripted", settings=[setting])
    assert done.returncode != 0
    assert message in " ".join((done.stdout + done.stderr).replace("│", " ").split())
    assert "Traceback" not in done.stderr
