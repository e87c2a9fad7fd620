"""Rewards and algorithms from other packages: the example's are used, wrong ones are one clear line."""

import tempfile
from dataclasses import asdict
from pathlib import Path

import pytest

from azr.algorithms import registry
from azr.config import AlgorithmConfig, RewardConfig, SandboxConfig
from azr.console import explain_failure
from azr.domains.python.config import PythonConfig
from azr.domains.python.domain import PythonDomain
from azr.errors import UserError
from azr.intrinsic import load
from azr.plugin_commands import plugins as list_plugins
from azr.run.events import step_events
from azr.selfplay.rewards import intrinsic_reward
from azr.settings import check
from azr.types import DEDUCTION, Role, Verdict
from tests.domains.test_plugins import install
from tests.installed import put
from tests.rollouts import make_rollout
from tests.selfplay.test_selfplay import make

EXAMPLE = Path(__file__).parents[1] / "examples" / "azr-extras"
TERM = """\
from azr.intrinsic import SolverReward
class Odd(SolverReward):
    "Odd."
    def value(self, task, sample, verdict):
        return {}
"""
ALGORITHM = """\
from azr.algorithms.advantages import Baseline, Estimate
from azr.algorithms.registry import Algorithm
class Odd(Algorithm):
    name = {name!r}
    equation = "A = 0"
    aggregation = {aggregation!r}
    def estimate(self, rollouts, config, values=None):
        return {made}
"""
DOMAIN = PythonDomain(PythonConfig(), SandboxConfig())
ZEROS = "[Estimate.constant(one, {}, Baseline('all', 1, 0.0, None, False)) for one in rollouts]"


@pytest.fixture
def extras(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(put(EXAMPLE, tmp_path / "site")))


def odd(tmp_path, monkeypatch, code: str, group: str, names: str = "odd") -> None:
    install(tmp_path, monkeypatch, code, target="odd_plugin:Odd", names=names, group=group)


def algorithm(name: str = "odd", aggregation: str = "token_mean", made: str = ZEROS.format("0.0")) -> str:
    return ALGORITHM.format(name=name, aggregation=aggregation, made=made)


def paid(**names: float) -> RewardConfig:
    return RewardConfig(plugins={name: {"coefficient": value} for name, value in names.items()})


# Rewards


async def test_a_solvers_reward_is_added_to_each_attempt_and_recorded(extras, sandbox):
    record = await make(sandbox, kinds=("deduction",), rewards=paid(brevity=0.5)).step(1)
    events = list(step_events(record, DOMAIN))
    values = {e["id"]: e["intrinsic"]["brevity"] for e in events if e["event"] == "attempt"}
    rewards = {e["id"]: e["reward"] for e in events if e["event"] == "reward" and "/solve/" in e["id"]}
    tokens = {e["id"]: e["tokens"] for e in events if e["event"] == "attempt"}
    right = {e["id"] for e in events if e["event"] == "verdict" and e["reason"] == "correct"}
    assert right & values.keys()
    assert values.keys() - right
    assert values == {name: 1 / tokens[name] if name in right else 0.0 for name in values}
    assert rewards == {name: 1 + 0.5 * values[name] if name in right else -1.0 for name in rewards}


async def test_a_proposers_reward_is_added_and_recorded_beside_azrs_own(extras, sandbox):
    record = await make(sandbox, kinds=("deduction",), rewards=paid(frontier=0.25)).step(1)
    tasks = [event for event in step_events(record, DOMAIN) if event["event"] == "task"]
    proposals = [one.reward for one in record.rollouts if one.cell == (Role.PROPOSE, DEDUCTION)]
    assert proposals == [0.75] * 3  # half of the attempts are right: 0.5 (Eq. 4) and 0.25 * 4 * 0.5 * 0.5
    assert [list(task["intrinsic"]) for task in tasks] == [["complexity", "novelty", "diversity", "frontier"]] * 3


async def test_without_plug_ins_attempts_have_no_intrinsic_rewards(sandbox):
    record = await make(sandbox, kinds=("deduction",)).step(1)
    assert not any("intrinsic" in event for event in step_events(record, DOMAIN) if event["event"] != "task")


def test_a_plug_ins_value_is_capped_and_weighted(extras):
    config = RewardConfig(plugins={"brevity": {"coefficient": 2.0, "cap": 0.25}})
    assert intrinsic_reward({"brevity": 0.5}, config) == 0.5


def test_a_plug_in_of_the_other_role_adds_nothing(extras):
    assert intrinsic_reward({"frontier": 1.0}, paid(brevity=1.0)) == 0.0


def test_an_unknown_reward_gets_the_nearest_name(extras):
    with pytest.raises(UserError, match="no such reward; did you mean brevity") as caught:
        check(RewardConfig, {"plugins": {"brevty": {"coefficient": 1.0}}}, source="here")
    assert str(caught.value).startswith("here: plugins")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import nowhere_to_be_found", "cannot be loaded: ModuleNotFoundError"),
        ("Odd = 3", "is not a subclass of azr.intrinsic.ProposerReward or azr.intrinsic.SolverReward"),
        (TERM.replace("def value", "def worth"), "cannot be made: TypeError: Can't instantiate abstract class Odd"),
    ],
)
def test_a_wrong_reward_is_one_line(tmp_path, monkeypatch, code, message):
    odd(tmp_path, monkeypatch, code, "azr.rewards")
    with pytest.raises(UserError) as caught:
        paid(odd=1.0)
    assert str(caught.value).startswith("reward odd: odd_plugin:Odd ")
    assert message in str(caught.value)


def test_a_reward_cannot_take_the_name_of_azrs_own(tmp_path, monkeypatch):
    odd(tmp_path, monkeypatch, TERM.format("1.0"), "azr.rewards", names="novelty")
    with pytest.raises(UserError, match="has the name of an intrinsic reward of azr"):
        load("novelty")


@pytest.mark.parametrize("value", ["float('nan')", "float('inf')", "None", "'much'"])
async def test_a_value_that_is_no_number_is_one_line(tmp_path, monkeypatch, sandbox, value):
    odd(tmp_path, monkeypatch, TERM.format(value), "azr.rewards")
    with pytest.raises(UserError, match=r"reward odd: Odd\.value returned .*, not a finite number"):
        await make(sandbox, kinds=("deduction",), rewards=paid(odd=1.0)).step(1)


def test_an_error_within_a_plug_in_names_it_among_those_of_its_module(tmp_path, monkeypatch, capsys):
    odd(tmp_path, monkeypatch, TERM.format("1 / 0"), "azr.rewards")
    points = "".join(f"{name.lower()} = odd_plugin:{name}\n" for name in ("Aaa", "Odd", "Zzz"))
    (tmp_path / "odd0-1.0.dist-info" / "entry_points.txt").write_text(f"[azr.rewards]\n{points}")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ZeroDivisionError) as caught:
        load("odd").value(None, None, Verdict(True, 1.0, "correct"))
    assert explain_failure(caught.value) == 2
    (file,) = tmp_path.glob("azr-traceback-*.txt")
    said = "azr: error: reward odd: Odd.value raised ZeroDivisionError: division by zero; its author can mend it with"
    assert capsys.readouterr().err == f"{said} {file}\n"


# Algorithms


def test_an_algorithm_is_chosen_by_its_name(extras):
    batch = [make_rollout(1.0), make_rollout(0.0), make_rollout(3.0, role=Role.PROPOSE)]
    found = registry.estimates(AlgorithmConfig(name="role-baseline"), batch)
    assert [one.advantages_T.tolist() for one in found] == [[0.5] * 3, [-0.5] * 3, [0.0] * 3]
    assert asdict(found[0].baseline)["mean"] == 0.5


def test_an_algorithms_own_aggregation_is_the_default(tmp_path, monkeypatch):
    odd(tmp_path, monkeypatch, algorithm(aggregation="sequence_mean"), "azr.algorithms")
    assert AlgorithmConfig(name="odd").aggregation == "sequence_mean"


def test_an_unknown_algorithm_gets_the_nearest_name(extras):
    with pytest.raises(UserError, match="here: name = 'role-base': no such algorithm; did you mean role-baseline"):
        check(AlgorithmConfig, {"name": "role-base"}, source="here")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import nowhere_to_be_found", "cannot be loaded: ModuleNotFoundError"),
        ("Odd = dict", "is not a subclass of azr.algorithms.registry.Algorithm"),
        (algorithm().replace("def estimate", "def guess"), "cannot be made: TypeError"),
        (algorithm(name="even"), "name is 'even', not the name of its entry point"),
        (algorithm(aggregation="sum"), "aggregation is 'sum', not one of token_mean, sequence_mean, constant"),
        (algorithm().replace('"A = 0"', "0"), "equation is not a text"),
    ],
)
def test_a_wrong_algorithm_is_one_line(tmp_path, monkeypatch, code, message):
    odd(tmp_path, monkeypatch, code, "azr.algorithms")
    with pytest.raises(UserError) as caught:
        AlgorithmConfig(name="odd")
    assert str(caught.value).startswith("algorithm odd: odd_plugin:Odd")
    assert message in str(caught.value)


def test_an_algorithm_cannot_take_the_name_of_azrs_own(tmp_path, monkeypatch):
    odd(tmp_path, monkeypatch, algorithm(name="grpo"), "azr.algorithms", names="grpo")
    with pytest.raises(UserError, match="has the name of an algorithm of azr"):
        registry.plugin("grpo")
    assert isinstance(registry.algorithm(AlgorithmConfig(name="grpo").name), registry.GRPO)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("[]", "estimate returned 0 estimates for 1 rollouts"),
        (ZEROS.format("float('nan')"), "estimate returned advantages that are not finite for r"),
        (
            "[Estimate(one.sample.logprobs[1:], Baseline('all', 1, 0.0, None, False)) for one in rollouts]",
            "estimate returned advantages of shape (2,) for r",
        ),
    ],
)
def test_estimates_that_do_not_fit_the_rollouts_are_one_line(tmp_path, monkeypatch, made, message):
    odd(tmp_path, monkeypatch, algorithm(made=made), "azr.algorithms")
    with pytest.raises(UserError) as caught:
        registry.estimates(AlgorithmConfig(name="odd"), [make_rollout(1.0)])
    assert str(caught.value) == f"algorithm odd: {message}"


# The list


def test_plug_ins_are_listed_beside_azrs_own(extras, capsys):
    list_plugins()
    lines = capsys.readouterr().out.splitlines()
    assert "algorithm  role-baseline    A = r - mu_role" in lines
    assert "reward     brevity          solver: 1 / number of tokens of a correct attempt, else 0." in lines
    assert {line.split()[1] for line in lines} >= {"trr++", "python", "primes", "frontier", "local"}


def test_a_broken_plug_in_hides_none_of_the_others_in_the_list(extras, tmp_path, monkeypatch, capsys):
    odd(tmp_path, monkeypatch, "import nowhere_to_be_found", "azr.algorithms")
    with pytest.raises(UserError, match="algorithm odd: "):
        list_plugins()
    assert "frontier" in capsys.readouterr().out
