"""Attempts that search: guesses that the model checks itself, and answers that are learnt without a reward."""

import re

import pytest

from azr.config import Config, ModelConfig, SandboxConfig, SearchConfig, SelfPlayConfig
from azr.domains.python.config import PythonConfig
from azr.domains.python.domain import PythonDomain
from azr.domains.python.tasks import program_task
from azr.run.events import step_events
from azr.selfplay.parts import Parts
from azr.selfplay.records import StepRecord, Stopwatch
from azr.selfplay.solve import Solver
from azr.types import ABDUCTION, DEDUCTION, INDUCTION
from tests.scripted import ScriptedGenerator, plain

ADDS_FIVE = "def f(x):\n    return x + 5"
ABDUCE = program_task(ABDUCTION, {"program": ADDS_FIVE, "input": "2", "output": "7"})
INDUCE = program_task(
    INDUCTION,
    {
        "program": ADDS_FIVE,
        "message": "add",
        "inputs": ["1", "2", "30", "40"],
        "outputs": ["6", "7", "35", "45"],
        "shown": 2,
    },
)


def program(text: str) -> str:
    return f"<answer><program>\ndef f(x):\n    return {text}\n</program></answer>"


def answered(value: object) -> str:
    return f"<answer>{value}</answer>"


def truthful(prompt: str) -> str:
    """What the program of a deduction prompt returns, for programs `return EXPRESSION` of x."""
    expression, value = re.search(r"return (.*)\n", prompt)[1], re.search(r"<input>(.*)</input>", prompt)[1]
    return answered(eval(expression, {"x": int(value)}))


class Guesses:
    """A script: guesses in the order given, one per row and round; checks answered by `check`."""

    def __init__(self, *rounds: list[str], check=truthful) -> None:
        self.rounds, self.check, self.checked = rounds, check, []

    def __call__(self, key: str, prompt: str, row: int) -> str:
        if "/check/" in key:
            self.checked.append(prompt)
            return self.check(prompt)
        return self.rounds[int(key.partition("/guess/")[2] or 0)][row]


def solver(sandbox, script, **search) -> tuple[Solver, ScriptedGenerator]:
    config = Config(
        model=ModelConfig(name="scripted"),
        domain=PythonConfig(style="compact", induction_inputs=4, induction_shown=2),
        selfplay=SelfPlayConfig(search=SearchConfig(**search)),
    )
    generator = ScriptedGenerator(script)
    domain = PythonDomain(config.domain, SandboxConfig(wall_seconds=60.0))  # a busy machine changes no verdict
    return Solver(config, Parts(domain, generator, sandbox, plain)), generator


async def attempt(sandbox, task, script, *, n=1, learnt=True, **search):
    playing, _ = solver(sandbox, script, **search)
    return await playing.attempt(task, "1/solve/x/0000", Stopwatch(), n=n, learnt=learnt)


async def test_the_first_guess_that_passes_its_own_check_is_the_attempt(sandbox):
    found = await attempt(sandbox, ABDUCE, Guesses([answered(9)], [answered(2)], [answered(3)]), guesses=3)
    assert [sample.text for sample in found.samples] == [answered(2)]
    assert [(search.rejected, search.agreed) for search in found.searches] == [((answered(9),), True)]
    assert found.scores == [1.0]


async def test_only_attempts_whose_guess_failed_guess_again(sandbox):
    script = Guesses([answered(9), answered(2), answered(8)], [answered(7), answered(2)])
    found = await attempt(sandbox, ABDUCE, script, n=3, guesses=2)
    assert [sample.text for sample in found.samples] == [answered(7), answered(2), answered(2)]


async def test_the_last_guess_is_taken_without_a_check(sandbox):
    script = Guesses([answered(9)], [answered(2)])
    found = await attempt(sandbox, ABDUCE, script, guesses=2)
    assert found.searches[0].agreed is False
    assert found.scores == [1.0]
    assert len(script.checked) == 1


async def test_the_models_own_check_decides_not_the_truth(sandbox):
    script = Guesses([answered(9)], [answered(2)], check=lambda prompt: answered(7))
    found = await attempt(sandbox, ABDUCE, script, guesses=2)
    assert found.searches[0].agreed
    assert (found.samples[0].text, found.scores) == (answered(9), [0.0])


async def test_a_guess_without_an_answer_fails_without_being_checked(sandbox):
    script = Guesses(["no answer"], [answered(2)])
    found = await attempt(sandbox, ABDUCE, script, guesses=2)
    assert (found.searches[0].rejected, script.checked) == (("no answer",), [])


async def test_equal_guesses_are_checked_once(sandbox):
    script = Guesses([answered(9)] * 4, [answered(9)] * 4, [answered(2)] * 4)
    await attempt(sandbox, ABDUCE, script, n=4, guesses=3)
    assert len(script.checked) == 1


async def test_a_guessed_program_is_checked_on_shown_pairs_only(sandbox):
    script = Guesses([program("x + 5")], [program("0")])
    found = await attempt(sandbox, INDUCE, script, guesses=2)
    assert found.searches[0].agreed
    assert [re.search("<input>(.*)</input>", prompt)[1] for prompt in script.checked] == ["1", "2"]


async def test_a_check_ends_with_the_first_pair_that_disagrees(sandbox):
    script = Guesses([program("x + 6")], [program("x + 5")])
    await attempt(sandbox, INDUCE, script, guesses=2)
    assert len(script.checked) == 1


async def test_a_guess_with_a_prompt_that_does_not_fit_fails(sandbox):
    long = program("x + 5 + 0" + " + 0" * 2000)
    found = await attempt(sandbox, INDUCE, Guesses([long], [program("x + 5")]), guesses=2)
    assert found.searches[0].rejected == (long,)


async def test_deductions_are_not_searched(sandbox):
    task = program_task(DEDUCTION, {"program": ADDS_FIVE, "input": "2", "output": "7"})
    found = await attempt(sandbox, task, Guesses([answered(9)]), guesses=4)
    assert (found.searches, [sample.text for sample in found.samples]) == ((), [answered(9)])


@pytest.mark.parametrize("guesses", [1, 3])
async def test_first_guesses_come_from_the_stream_of_an_attempt_without_search(sandbox, guesses):
    playing, generator = solver(sandbox, Guesses([answered(2)]), guesses=guesses)
    await playing.attempt(ABDUCE, "1/solve/abduction/0000", Stopwatch(), n=1, learnt=True)
    assert generator.keys[0] == "1/solve/abduction/0000"


async def test_a_wrong_program_is_shown_as_the_answer_to_its_own_outputs(sandbox):
    found = await attempt(sandbox, INDUCE, Guesses([program("x * 2")]), relabelled=0.5)
    (shown,) = found.demonstrations
    assert shown.task.data["outputs"] == ["2", "4", "60", "80"]
    assert (shown.source, shown.advantage, shown.text) == ("relabelled", 0.5, program("x * 2"))
    assert "<input>1</input><output>2</output>" in shown.prompt.text
    assert "60" not in shown.prompt.text  # the hidden pairs stay hidden


async def test_every_demonstration_answers_its_task(sandbox):
    wrong = [program(text) for text in ("x * 2", "x - 1", "[x, x]")]
    found = await attempt(sandbox, INDUCE, Guesses(wrong), n=3, relabelled=1.0, gold=1.0)
    domain = PythonDomain(PythonConfig(style="compact"), SandboxConfig(wall_seconds=60.0))
    verdicts = [await domain.verify(shown.task, shown.text, sandbox) for shown in found.demonstrations]
    assert [verdict.passed for verdict in verdicts] == [True] * 4


@pytest.mark.parametrize(
    "wrong",
    [program("x / 0"), program("7"), program("x"), program("x +"), "no answer", answered(3)],
    ids=["fails", "constant", "identity", "syntax", "no answer", "no program"],
)
async def test_what_answers_no_task_is_not_shown(sandbox, wrong):
    found = await attempt(sandbox, INDUCE, Guesses([wrong]), relabelled=1.0)
    assert found.demonstrations == ()


async def test_equal_wrong_programs_are_shown_once(sandbox):
    found = await attempt(sandbox, INDUCE, Guesses([program("x * 2")] * 3), n=3, relabelled=1.0)
    assert len(found.demonstrations) == 1


async def test_a_right_program_is_not_relabelled(sandbox):
    found = await attempt(sandbox, INDUCE, Guesses([program("5 + x")]), relabelled=1.0)
    assert found.demonstrations == ()


async def test_the_tasks_own_program_is_shown(sandbox):
    found = await attempt(sandbox, INDUCE, Guesses([program("x * 2")]), gold=0.25)
    (shown,) = found.demonstrations
    assert (shown.source, shown.advantage, shown.text) == ("gold", 0.25, program("x + 5"))


async def test_attempts_that_only_measure_show_nothing(sandbox):
    found = await attempt(sandbox, INDUCE, Guesses([program("x * 2")]), learnt=False, gold=1.0, relabelled=1.0)
    assert found.demonstrations == ()


async def test_events_tell_rejected_guesses_and_what_was_shown(sandbox):
    script = Guesses([program("x + 6")], [program("x * 2")])
    found = await attempt(sandbox, INDUCE, script, guesses=2, relabelled=0.5)
    domain = PythonDomain(PythonConfig(), SandboxConfig())
    events = list(step_events(StepRecord(1, [], [found], [], [], Stopwatch()), domain))
    (tried,) = [event for event in events if event["event"] == "attempt"]
    (shown,) = [event for event in events if event["event"] == "demonstration"]
    assert (tried["rejected"], tried["agreed"]) == ((program("x + 6"),), False)
    assert (shown["source"], shown["text"], shown["advantage"]) == ("relabelled", program("x * 2"), 0.5)
