"""Algorithm 1 with completions that the tests write, through the real Python domain and the real sandbox."""

import asyncio
import hashlib
import re

import pytest

from azr.config import BufferConfig, Config, GenerationConfig, ModelConfig, RewardConfig, SandboxConfig, SelfPlayConfig
from azr.domains.python.config import PythonConfig
from azr.domains.python.domain import PythonDomain
from azr.domains.python.tasks import IDENTITY, program_task
from azr.errors import UserError
from azr.selfplay.buffer import TaskBuffer
from azr.selfplay.parts import Parts
from azr.selfplay.seeding import seed, seed_from, seed_order
from azr.selfplay.step import SelfPlay, buffer_kinds
from azr.types import DEDUCTION, INDUCTION, Role
from tests.scripted import ScriptedGenerator, plain


def proposal(program: str, inputs: str) -> str:
    return f"<answer><program>\n{program}\n</program><input>{inputs}</input></answer>"


def numbered(key: str) -> int:
    """A number of its own for every episode, so that tasks differ."""
    step, _, kind, index = key.split("/")
    return int(step) * 10_000 + {"deduction": 0, "abduction": 1, "induction": 2, "error": 3}[kind] * 1000 + int(index)


def script(key: str, prompt: str, row: int) -> str:
    """Valid proposals; deductions and abductions are solved by even rows, inductions never."""
    _, role, kind, _ = key.split("/")
    if role == "propose":
        if kind == "induction":
            inputs = "".join(f"<input>{numbered(key) * 10 + i}</input>" for i in range(4))
            return f"<answer>{inputs}<message>add</message></answer>"
        return proposal(f"def f(x):\n    return x + {numbered(key)}", "1")
    if kind == "induction":
        return "<answer><program>\ndef f(x):\n    return 0\n</program></answer>"
    if row % 2:
        return "no answer"
    if kind == "deduction" and (added := re.search(r"x \+ (\d+)", prompt)):
        return f"<answer>{int(added[1]) + 1}</answer>"
    return "<answer>1</answer>" if kind == "abduction" else "<answer>'Hello World'</answer>"


def make(sandbox, *, generator=None, kinds=("deduction", "abduction", "induction"), generation=None, **selfplay):
    defaults = {"batch_size": 3, "samples": 4, "seed_factor": 1, "references": 2}
    rewards = selfplay.pop("rewards", RewardConfig())
    buffer_config = selfplay.pop("buffer", BufferConfig())
    sizes = selfplay.pop("sizes", 0)
    config = Config(
        model=ModelConfig(name="scripted"),
        domain=PythonConfig(style="compact", kinds=kinds, induction_inputs=4, induction_shown=2, sizes=sizes),
        selfplay=SelfPlayConfig(**(defaults | selfplay)),
        generation=generation or GenerationConfig(),
        rewards=rewards,
        buffer=buffer_config,
    )
    domain = PythonDomain(config.domain, SandboxConfig(wall_seconds=60.0))  # a busy machine changes no verdict
    buffer = TaskBuffer(buffer_kinds(domain), buffer_config)
    for task in domain.seeds():
        buffer.add(task, step=0)
    generator = generator or ScriptedGenerator(script)
    return SelfPlay(config, Parts(domain, generator, sandbox, plain), buffer)


def rewards_of(record, role: Role, kind: str) -> list[float]:
    return [rollout.reward for rollout in record.rollouts if rollout.cell == (role, kind)]


async def test_a_step_fills_all_six_cells(sandbox):
    record = await make(sandbox).step(1)
    assert {rollout.cell for rollout in record.rollouts} == {
        (role, kind) for role in Role for kind in ("deduction", "abduction", "induction")
    }


async def test_without_a_learner_only_new_tasks_are_attempted_to_measure_them(sandbox):
    record = await make(sandbox, learn=False).step(1)
    assert record.solved == []
    assert [len(episode.attempts.samples) for episode in record.episodes] == [4] * 9


async def test_rewards_of_a_step_equal_the_papers_equations(sandbox):
    record = await make(sandbox).step(1)
    # half of four attempts right: the proposer earns 1 - 1/2; the attempts 1 or, without an answer, -1
    assert rewards_of(record, Role.PROPOSE, DEDUCTION) == [0.5] * 3
    assert rewards_of(record, Role.SOLVE, DEDUCTION) == [1.0, -1.0, 1.0, -1.0] * 3
    # inductions are never solved: nothing for the proposer, -0.5 for a well formed wrong program
    assert rewards_of(record, Role.PROPOSE, INDUCTION) == [0.0] * 3
    assert rewards_of(record, Role.SOLVE, INDUCTION) == [-0.5] * 12


async def test_the_reference_profile_punishes_an_unsolvable_proposal(sandbox):
    record = await make(sandbox, rewards=RewardConfig(profile="reference")).step(1)
    assert rewards_of(record, Role.PROPOSE, INDUCTION) == [-0.5] * 3


async def test_the_order_of_completion_changes_nothing(sandbox):
    def delay(key: str) -> float:
        return int(hashlib.sha256(key.encode()).hexdigest(), 16) % 20 / 1000

    straight = await make(sandbox).step(1)
    shuffled = await make(sandbox, generator=ScriptedGenerator(script, delay)).step(1)
    assert shuffled.rollouts == straight.rollouts
    assert shuffled.admitted == straight.admitted


async def test_the_rest_of_the_batch_is_attempted_while_attempts_at_new_tasks_are_running(sandbox):
    started, all_new_ended = [], asyncio.Event()

    class Tail(ScriptedGenerator):
        async def sample(self, prompt, *, n, key, sampling):
            started.append(key)
            if key == "1/solve/deduction/0000":  # as long as a row that runs to its limit
                await asyncio.wait_for(all_new_ended.wait(), timeout=20)
            if key == "1/solve/deduction/0003":
                all_new_ended.set()
            return await super().sample(prompt, n=n, key=key, sampling=sampling)

    def two_are_invalid(key, prompt, row):
        return (
            "nonsense" if key in ("1/propose/deduction/0001", "1/propose/deduction/0002") else script(key, prompt, row)
        )

    record = await make(sandbox, generator=Tail(two_are_invalid), kinds=("deduction",)).step(1)
    assert [attempts.id for attempts in record.solved] == ["1/solve/deduction/0003"]
    assert started.index("1/solve/deduction/0000") < started.index("1/solve/deduction/0003")


async def test_new_tasks_enter_the_buffer_with_their_step_and_parents(sandbox):
    play = make(sandbox)
    record = await play.step(1)
    (seed,) = [task for task in play.buffer.tasks(DEDUCTION) if task.born == 0]
    new = [task for task in play.buffer.tasks(DEDUCTION) if task.born == 1]
    assert [task.parents for task in new] == [(seed.id,)] * 3
    assert len(record.admitted) == 9


async def test_references_come_from_before_the_step(sandbox):
    play = make(sandbox, batch_size=4)
    await play.step(1)
    record = await play.step(2)
    assert {parent.born for episode in record.episodes for parent in episode.prompt.references} <= {0, 1}


async def test_an_invalid_proposal_earns_the_penalty_and_no_attempts(sandbox):
    generator = ScriptedGenerator(lambda key, prompt, row: "nonsense")
    record = await make(sandbox, generator=generator, kinds=("deduction",)).step(1)
    assert rewards_of(record, Role.PROPOSE, DEDUCTION) == [-1.0] * 3
    assert record.admitted == []
    assert all(episode.attempts is None for episode in record.episodes)


async def test_a_batch_is_filled_up_from_the_buffer_when_proposals_fail(sandbox):
    def fails(key: str, prompt: str, row: int) -> str:
        return "nonsense" if "propose" in key else script(key, prompt, row)

    record = await make(sandbox, generator=ScriptedGenerator(fails), kinds=("deduction",)).step(1)
    assert [attempts.task.born for attempts in record.solved] == [0]  # only the seed stands in the buffer
    assert len(rewards_of(record, Role.SOLVE, DEDUCTION)) == 4


async def test_new_only_leaves_the_buffer_alone(sandbox):
    def fails(key: str, prompt: str, row: int) -> str:
        return "nonsense" if "propose" in key else script(key, prompt, row)

    generator = ScriptedGenerator(fails)
    record = await make(sandbox, generator=generator, kinds=("deduction",), solver_mix="new_only").step(1)
    assert record.solved == []


async def test_the_papers_recipe_draws_one_fresh_attempt_a_task(sandbox):
    record = await make(sandbox, kinds=("deduction",), learn_from_samples=False).step(1)
    assert len(rewards_of(record, Role.SOLVE, DEDUCTION)) == 3
    assert all(len(attempts.samples) == 1 for attempts in record.solved)
    assert [len(episode.attempts.samples) for episode in record.episodes] == [4] * 3


async def test_a_uniform_mix_draws_from_the_whole_buffer(sandbox):
    play = make(sandbox, kinds=("deduction",), learn_from_samples=False, solver_mix="uniform")
    await play.step(1)
    record = await play.step(2)
    known = {task.id for task in play.buffer.tasks(DEDUCTION)}
    assert {attempts.task.id for attempts in record.solved} <= known
    assert len(record.solved) == 3


async def test_of_twins_in_one_step_the_later_is_a_duplicate(sandbox):
    def twins(key: str, prompt: str, row: int) -> str:
        return proposal("def f(x):\n    return x + 1", "1") if "propose" in key else script(key, prompt, row)

    record = await make(sandbox, generator=ScriptedGenerator(twins), kinds=("deduction",)).step(1)
    assert [episode.proposal.verdict.reason for episode in record.episodes] == ["accepted", "duplicate", "duplicate"]
    assert rewards_of(record, Role.PROPOSE, DEDUCTION) == [0.5, -1.0, -1.0]


async def test_within_one_step_no_more_tasks_of_a_shape_are_accepted_than_the_limit_allows(sandbox):
    play = make(sandbox, kinds=("deduction",), batch_size=6, buffer=BufferConfig(shape_limit=2))
    record = await play.step(1)
    assert [episode.proposal.verdict.reason for episode in record.episodes] == ["accepted"] * 2 + ["shape_limit"] * 4
    assert rewards_of(record, Role.PROPOSE, DEDUCTION) == [0.5] * 2 + [-1.0] * 4
    assert len(record.admitted) == 2


async def test_the_shape_limit_counts_what_the_buffer_holds_and_what_the_step_accepts_before(sandbox):
    play = make(sandbox, kinds=("deduction",), batch_size=3, buffer=BufferConfig(shape_limit=4))
    reasons = [[episode.proposal.verdict.reason for episode in (await play.step(step)).episodes] for step in (1, 2)]
    assert reasons == [["accepted"] * 3, ["accepted", "shape_limit", "shape_limit"]]


async def test_what_the_buffer_knows_is_a_duplicate(sandbox):
    def same(key: str, prompt: str, row: int) -> str:
        return proposal("def f(y):\n    return y", "'Hello World'") if "propose" in key else script(key, prompt, row)

    record = await make(sandbox, generator=ScriptedGenerator(same), kinds=("deduction",)).step(1)
    assert [episode.proposal.verdict.reason for episode in record.episodes] == ["duplicate"] * 3


async def test_a_frozen_proposer_gets_no_rollouts(sandbox):
    record = await make(sandbox, train_proposer=False).step(1)
    assert {rollout.cell[0] for rollout in record.rollouts} == {Role.SOLVE}


async def test_intrinsic_rewards_are_added_for_accepted_proposals(sandbox):
    rewards = RewardConfig(diversity={"coefficient": 0.25, "cap": 1.0})
    record = await make(sandbox, kinds=("deduction",), rewards=rewards).step(1)
    assert rewards_of(record, Role.PROPOSE, DEDUCTION) == [0.75] * 3  # 0.5 and an answer that no task has


async def test_progress_at_tasks_of_the_same_length_is_rewarded(sandbox):
    play = make(sandbox, kinds=("deduction",), rewards=RewardConfig(progress={"coefficient": 2.0}))
    for constant, step, rate in [(1, 2, 0.0), (2, 8, 0.25)]:
        data = {"program": f"def f(x):\n    return x * {constant}", "input": "1", "output": str(constant)}
        task = play.buffer.add(program_task(DEDUCTION, data), step=step)
        play.buffer.note(task, rate)
    record = await play.step(11)
    assert rewards_of(record, Role.PROPOSE, DEDUCTION) == [0.5 + 2.0 * 0.25] * 3


async def test_what_thinking_adds_to_the_solve_rate_is_rewarded(sandbox):
    def thinks(key: str, prompt: str, row: int) -> str:
        if not key.endswith("/straight"):
            return script(key, prompt, row)
        assert prompt.endswith("<answer>")
        right = script(key.removesuffix("/straight"), prompt, 0).removeprefix("<answer>")
        return right if row == 0 else "nothing</answer>"

    play = make(
        sandbox,
        generator=ScriptedGenerator(thinks),
        kinds=("deduction",),
        rewards=RewardConfig(thinking={"coefficient": 2.0}),
    )
    record = await play.step(1)
    assert rewards_of(record, Role.PROPOSE, DEDUCTION) == [0.5 + 2.0 * (0.5 - 0.25)] * 3
    assert not any("straight" in rollout.id for rollout in record.rollouts)


async def test_a_prompt_that_is_too_long_sheds_references(sandbox):
    play = make(sandbox, kinds=("deduction",), references=2)
    await play.step(1)
    full = max(len(episode.prompt.references) for episode in (await play.step(2)).episodes)
    short = make(sandbox, kinds=("deduction",), references=2, generation=GenerationConfig(max_prompt_tokens=120))
    short.buffer = play.buffer
    assert full == 2
    assert {len(episode.prompt.references) for episode in (await short.step(3)).episodes} == {1}


async def test_a_prompt_that_cannot_fit_is_an_error_that_names_the_setting(sandbox):
    play = make(sandbox, kinds=("deduction",), generation=GenerationConfig(max_prompt_tokens=5))
    with pytest.raises(UserError, match=r"generation\.max_prompt_tokens = 5"):
        await play.step(1)


async def test_a_program_that_fits_no_induction_prompt_is_passed_over_for_another(sandbox):
    play = make(sandbox, kinds=("induction",), references=0, generation=GenerationConfig(max_prompt_tokens=200))
    for n in range(6):
        program = f"def f(x):\n    return x + {'9' * 200}{n}"
        play.buffer.add(program_task(DEDUCTION, {"program": program, "input": "1", "output": "2"}), step=0)
    for step in range(1, 4):  # 9 draws, of which most begin with a program that is too long
        record = await play.step(step)
        assert {episode.prompt.references[0].data["program"] for episode in record.episodes} == {IDENTITY}


async def test_where_no_program_fits_the_setting_is_named(sandbox):
    play = make(sandbox, kinds=("induction",), generation=GenerationConfig(max_prompt_tokens=20))
    with pytest.raises(UserError, match=r"generation\.max_prompt_tokens = 20: the prompt to propose induction has"):
        await play.step(1)


async def test_a_task_whose_solve_prompt_is_too_long_is_rejected_not_cut(sandbox):
    def long(key: str, prompt: str, row: int) -> str:
        return proposal("def f(x):\n    return x + '" + "a" * 100 + "'", "'b'")

    generation = GenerationConfig(max_prompt_tokens=120)
    play = make(sandbox, generator=ScriptedGenerator(long), kinds=("deduction",), generation=generation)
    assert {episode.proposal.verdict.reason for episode in (await play.step(1)).episodes} == {"prompt_too_long"}


async def seeded(play):
    """The records of seeding."""
    return [record async for record in seed(play)]


async def test_seeding_fills_every_buffer(sandbox):
    play = make(sandbox, seed_factor=2)
    await seeded(play)
    assert [play.buffer.size(kind) for kind in ("deduction", "abduction", "induction")] == [6, 6, 6]


async def test_the_last_batch_of_seeding_may_be_the_one_that_fills_the_buffers(sandbox):
    play = make(sandbox, seed_attempts=1)
    await seeded(play)
    assert play.buffer.size("deduction") == 3


async def test_seeding_with_a_model_that_proposes_nothing_valid_is_an_error_with_the_reasons(sandbox):
    play = make(sandbox, generator=ScriptedGenerator(lambda key, prompt, row: "nonsense"), seed_attempts=2)
    with pytest.raises(UserError, match=r"seeding: 1 of 3 deduction tasks after 6 proposals \(6 no_answer\)"):
        await seeded(play)


def file_of_tasks(*programs: str) -> list[str]:
    buffer = TaskBuffer(["deduction", "sorting"], BufferConfig())
    for program in programs:
        buffer.add(program_task(DEDUCTION, {"program": program, "input": "1", "output": "2"}), step=7)
    return list(buffer.dump())


def empty(sandbox, **options):
    play = make(sandbox, **options)
    play.buffer = TaskBuffer(["deduction", "abduction", "induction"], options.get("buffer", BufferConfig()))
    return play


def test_tasks_of_a_file_become_seeds_of_this_run(sandbox):
    play = empty(sandbox)
    assert seed_from(play, file_of_tasks("def f(x):\n    return x + 1")) == {}
    assert [(task.data["output"], task.born) for task in play.buffer.tasks(DEDUCTION)] == [("2", 0)]


def test_a_task_of_a_file_that_could_not_be_asked_is_left_out_and_counted(sandbox):
    play = empty(sandbox, generation=GenerationConfig(max_prompt_tokens=150))
    lines = file_of_tasks("def f(x):\n    return x + 1", "def f(x):\n    return x + " + "9" * 200)
    assert seed_from(play, lines) == {"prompt_too_long": 1}
    assert play.buffer.size(DEDUCTION) == 1


def test_a_file_fills_a_buffer_up_to_its_cap(sandbox):
    play = empty(sandbox, buffer=BufferConfig(cap=3))
    seed_from(play, file_of_tasks(*(f"def f(x):\n    return x + {n}" for n in range(5))))
    assert play.buffer.size(DEDUCTION) == 3


def test_a_file_without_programs_for_induction_is_refused(sandbox):
    play = empty(sandbox, kinds=("induction",))
    with pytest.raises(UserError, match="it has no task of deduction or abduction to start with"):
        seed_from(play, [line.replace('"deduction"', '"sorting"') for line in file_of_tasks("def f(x):\n    return 2")])


def test_seeding_makes_sources_before_what_draws_from_them(sandbox):
    domain = PythonDomain(PythonConfig(kinds=("induction", "abduction")), SandboxConfig())
    assert seed_order(domain) == ["deduction", "abduction", "induction"]


async def test_equal_seeds_play_equal_steps(sandbox):
    records = []
    for _ in range(2):
        play = make(sandbox)
        await seeded(play)
        records.append([await play.step(step) for step in (1, 2)])
    assert [record.rollouts for record in records[0]] == [record.rollouts for record in records[1]]


# Proposals of another size than they were asked for


def two_statements(key: str, prompt: str, row: int) -> str:
    if "/propose/" in key:
        return proposal(f"def f(x):\n    x = x + {numbered(key)}\n    x = x * 2\n    return x", "1")
    return "no answer"


def sized(sandbox, **settings):
    return make(
        sandbox, generator=ScriptedGenerator(two_statements), kinds=("deduction",), sizes=4, batch_size=8, **settings
    )


async def test_a_proposal_of_another_size_is_learnt_as_the_answer_to_a_prompt_that_asks_for_it(sandbox):
    record = await sized(sandbox, relabel=0.5).step(1)
    other = [episode for episode in record.episodes if episode.prompt.context["size"] != 2]
    shown = record.demonstrations()
    assert 0 < len(other) < 8
    assert [one.text for one in shown] == [episode.sample.text for episode in other]
    assert {(one.source, one.advantage, one.prompt.text.rpartition(">")[2]) for one in shown} == {
        ("resized", 0.5, "2\n")
    }
    assert [one.id for one in shown] == [f"{episode.id}/demonstration/0" for episode in other]


async def test_sizes_are_not_relabelled_unless_it_is_asked_for(sandbox):
    record = await sized(sandbox).step(1)
    assert record.demonstrations() == []


async def test_a_proposal_whose_own_prompt_is_too_long_is_not_relabelled(sandbox):
    play = sized(sandbox, relabel=0.5)
    play.domain.fitting = lambda prompt, task: "x" * 100_000
    assert (await play.step(1)).demonstrations() == []
