"""The language, documents and held-out sets of `nursery-steps`."""

import json
import random
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from azr.concurrency import gather
from azr.config import GenerationConfig, ModelConfig
from azr.domains.python import prompts
from azr.domains.python.syntax import read
from azr.domains.python.tasks import load_held_out
from azr.models import shipped
from azr.models.load import load_model
from azr.rollout.base import Sampling
from azr.rollout.local.generator import LocalGenerator
from azr.types import DEDUCTION
from nursery.steps.build import Recipe, Stage, build
from nursery.steps.documents import (
    PLAIN,
    STYLE,
    Mix,
    attempt,
    calculation,
    deduction_task,
    documents,
    gold_attempt,
    lookups,
    proposal,
)
from nursery.steps.heldout import SETS, draw_set, held_out_programs
from nursery.steps.language import draw_program, draw_state, execute, join_lines
from nursery.steps.positions import training_positions
from nursery.steps.tokenizer import build_tokenizer
from nursery.steps.train import Plan, encode, new_model, of_similar_length, train
from nursery.train import Shape

TOKENIZER = build_tokenizer()
TINY = Shape(hidden=16, layers=2, heads=2, feed_forward=16)


@given(st.integers(1, 12), st.integers(0, 10**6))
def test_the_interpreter_agrees_with_cpython(statements, seed):
    rng = random.Random(seed)
    program, state = draw_program(statements, rng), draw_state(rng)
    scope = {}
    exec(program, scope)
    assert list(execute(program, state)[1]) == scope["f"](*state)


@given(st.integers(0, 12), st.integers(0, 10**6))
def test_every_variable_stays_a_digit(statements, seed):
    rng = random.Random(seed)
    assert all(0 <= digit <= 9 for digit in execute(draw_program(statements, rng), draw_state(rng))[1])


def test_the_trace_of_a_small_program_by_hand():
    program = join_lines(["a = min(a + b, 9)", "b = c if a > 4 else b", "c = 9 - c"])
    digits = ["381", "981", "911", "918", "918"]
    lines = [f"{line} | {state}" for line, state in zip(program.split("\n"), digits, strict=True)]
    assert execute(program, (3, 8, 1)) == (lines, (9, 1, 8))


def test_a_line_outside_the_language_is_refused():
    with pytest.raises(ValueError, match="not in the language"):
        execute(join_lines(["a = __import__('os')"]), (1, 2, 3))


@given(st.integers(0, 10**6))
def test_the_tokenizer_gives_every_document_back(seed):
    text = "".join(piece for piece, _ in next(documents(Mix(propose=0.5), random.Random(seed))))
    assert TOKENIZER.decode(TOKENIZER(text)["input_ids"]) == text


def test_a_line_number_is_one_token_in_program_and_trace():
    task = deduction_task(draw_program(12, random.Random(0)), (1, 2, 3))
    tokens = TOKENIZER.convert_ids_to_tokens(
        TOKENIZER(prompts.solve_prompt(STYLE, task) + gold_attempt(task))["input_ids"]
    )
    assert tokens.count("  # 14\n") == 2


def test_without_line_numbers_a_prompt_shows_the_program_as_it_is():
    task = deduction_task(draw_program(2, random.Random(0)), (1, 2, 3))
    assert task.data["program"] in prompts.solve_prompt(PLAIN, task)
    assert "def f(a, b, c):  # 1\n    " in prompts.solve_prompt(STYLE, task)


@pytest.mark.parametrize(("statements", "name"), SETS.items())
def test_a_shipped_set_is_what_is_drawn(statements, name):
    shipped = [dict(task.data) for task in load_held_out(name, (DEDUCTION,), 10**6)]
    assert shipped == json.loads(json.dumps([dict(task.data) for task in draw_set(statements)]))
    assert len(shipped) == 300


def test_no_document_is_about_a_held_out_program():
    known = sorted(held_out_programs())[:200]
    chosen = iter([*known, draw_program(2, random.Random(1))])
    found = next(documents(Mix(numbered=False), random.Random(0), lambda program: next(chosen) in held_out_programs()))
    assert next(chosen, None) is None
    assert found


def test_equal_held_out_programs_have_equal_texts():
    programs = held_out_programs()
    assert len({read(program).normal for program in programs}) == len(programs)


@given(st.sampled_from(["plain", "random", "gaps"]), st.integers(0, 1000))
def test_positions_rise_and_stay_below_the_longest(how, seed):
    ids, _ = encode(list(islice(documents(Mix(), random.Random(seed)), 3)), TOKENIZER)
    ends = torch.tensor([TOKENIZER.convert_tokens_to_ids(f"  # {number}\n") for number in range(1, 30)])
    positions = training_positions(how, ids, ends, 384, torch.Generator().manual_seed(seed))
    assert (positions.diff(dim=1) > 0).all()
    assert positions.min() >= 0
    assert positions.max() < 384


def gaps_after(text, **settings):
    """For each token but the last, how far the next one is, when positions have gaps; and which tokens end a line."""
    ids, _ = encode([[(text, 1.0)]] * 40, TOKENIZER)
    ends = torch.tensor([TOKENIZER.convert_tokens_to_ids(f"  # {number}\n") for number in (1, 2)])
    positions = training_positions("gaps", ids, ends, 384, torch.Generator().manual_seed(0), **settings)
    return positions.diff(dim=1), torch.isin(ids[:, :-1], ends)


def test_gaps_leave_the_tokens_of_a_line_and_its_number_together():
    steps, after_number = gaps_after("a  # 1\nbcd  # 2\nefg")
    assert (steps[~after_number] == 1).all()
    assert (steps[after_number] > 1).any()


def test_only_the_share_of_documents_that_is_asked_for_has_gaps():
    with_gaps = [(gaps_after("a  # 1\nbcd  # 2\nefg", gapped=share)[0] > 1).any(dim=1).sum() for share in (0, 0.3, 1)]
    assert with_gaps[0] == 0
    assert 0 < with_gaps[1] < with_gaps[2]


@pytest.mark.parametrize("partly_nope", [False, True])
def test_a_resumed_training_ends_with_the_same_weights(tmp_path, partly_nope):
    def trained(stops):
        model = new_model(TINY, TOKENIZER, partly_nope=partly_nope)
        for stop in stops:
            plan = Plan(steps=stop, batch=2, lr=1e-3, last=1.0, warmup=1, positions="gaps")
            file = tmp_path / f"{len(stops)}.pt"
            train(model, TOKENIZER, lambda rng: documents(Mix(), rng), plan, checkpoint=file, report=lambda _: None)
            model = new_model(TINY, TOKENIZER, partly_nope=partly_nope) if stop != stops[-1] else model
        return model.state_dict()

    once, twice = trained([4]), trained([2, 4])
    assert all(torch.equal(once[name], twice[name]) for name in once)


def test_a_built_folder_loads_like_any_model_and_leaves_no_checkpoint(tmp_path):
    stages = (Stage(Mix(drill=1.0), Plan(steps=1, batch=2)), Stage(Mix(propose=0.5), Plan(steps=2, batch=2)))
    record = build(tmp_path, Recipe(stages=stages, shape=TINY), report=lambda _: None)
    policy = load_model(ModelConfig(name=str(tmp_path), device="cpu"))
    assert len(record["tokens"]) == 2
    assert policy.decode(policy.encode("<solve>\n<think>  # 1\ndef f(")) == "<solve>\n<think>  # 1\ndef f("
    assert sorted(tmp_path.glob("*.pt")) == []


def test_a_calculation_has_a_loss_on_the_digits_after_the_statement_alone():
    (known, _), (digits, _) = pieces = calculation(Mix(), random.Random(0))
    assert [weight for _, weight in pieces] == [0.0, 1.0]
    assert (digits.isdigit(), len(digits)) == (True, 3)
    assert known.endswith(" | ")


def test_a_shuffled_prompt_has_the_same_numbered_lines_in_another_order():
    program, state = draw_program(8, random.Random(0)), (1, 2, 3)
    plain, shuffled = (
        attempt(program, state, Mix(shuffle=share), random.Random(0))[0][0].split("\n") for share in (0, 1)
    )
    moved = [line.removesuffix("</program><input>1, 2, 3</input>") for line in shuffled]
    assert program.split("\n")[1] + "  # 2" in shuffled
    assert shuffled != plain
    assert sorted(moved) == sorted(line.removesuffix("</program><input>1, 2, 3</input>") for line in plain)


def test_sized_proposals_have_as_many_statements_as_their_prompts_ask_for():
    drawn = documents(Mix(propose=0.5, extend=0.5, sized=1.0), random.Random(0))
    sizes = set()
    for prompt, answer in (("".join(text for text, weight in d if not weight), d[-1][0]) for d in islice(drawn, 60)):
        size = int(prompt.strip().rpartition(">")[2])
        assert answer.count(" = ") == size
        sizes.add(("<extend>" in prompt, size))
    assert sizes == {(extend, size) for extend in (False, True) for size in (1, 2, 3)}


def test_some_proposals_have_the_identity_among_their_references():
    drawn = [
        proposal("propose", lambda: draw_program(1, random.Random(0)), Mix(), random.Random(seed)) for seed in range(40)
    ]
    with_references = [prompt for (prompt, _), _ in drawn if "<input>" in prompt]
    identity = sum("Hello World" in prompt for prompt in with_references)
    assert 0 < identity < len(with_references)


@given(st.integers(0, 10**6))
def test_a_line_that_is_looked_up_stands_before_its_number_in_the_program(seed):
    (program, _), *asked = lookups(Mix(), random.Random(seed))
    for (number, _), (line, weight), (digits, none) in zip(asked[::3], asked[1::3], asked[2::3], strict=True):
        assert f"\n{line}{number}" in program
        assert (weight, none, len(digits)) == (1.0, 0.0, len(" | 000"))


def test_lines_in_a_row_begin_and_end_anywhere_and_have_a_loss_on_the_numbers_after_the_first():
    documents = [lookups(Mix(listings=(3,)), random.Random(seed)) for seed in range(200)]
    in_a_row = [pieces for pieces in documents if any(weight for _, weight in pieces[4::3])]
    assert {tuple(weight for _, weight in pieces[1::3]) for pieces in in_a_row} == {
        (0.0, *[1.0] * more) for more in range(1, 5)
    }
    first = {pieces[0][0].count("\n", 0, pieces[0][0].index(pieces[2][0])) for pieces in in_a_row}
    assert first == {1, 2, 3, 4}


def test_short_documents_are_not_padded_to_the_length_of_long_ones():
    lengths = torch.tensor([40, 10, 11, 12, 41])
    assert [(rows.tolist(), width) for rows, width in of_similar_length(lengths)] == [([1, 2, 3], 12), ([0, 4], 41)]


@pytest.fixture(scope="module")
def primed():
    """Attention of a new model to 64 rows of nine different tokens, of which the sixth comes once more."""
    model = new_model(Shape(hidden=96, layers=2, heads=4, feed_forward=96), TOKENIZER, partly_nope=True)
    model.set_attn_implementation("eager")
    chance = torch.Generator().manual_seed(0)
    tokens = torch.tensor(sorted(set(range(len(TOKENIZER))) - {TOKENIZER.pad_token_id}))
    rows = torch.stack([tokens[torch.randperm(len(tokens), generator=chance)[:9]] for _ in range(64)])
    with torch.no_grad():
        return model(torch.cat([rows, rows[:, 5:6]], dim=1), output_attentions=True).attentions


def test_a_head_of_a_new_model_looks_at_the_previous_token(primed):
    assert (primed[0][:, 0].diagonal(offset=-1, dim1=1, dim2=2) > 0.9).all()


def test_the_second_layer_of_a_new_model_looks_at_equal_tokens(primed):
    seen = primed[1][:, :, -1].mean(dim=(0, 1))
    assert seen[5] > 2 * torch.cat([seen[:5], seen[6:9]]).mean()


async def test_the_model_that_ships_executes_three_statements_almost_always():
    policy = load_model(ModelConfig(name=shipped.resolve("nursery-steps"), device="cpu"))
    generator, render = LocalGenerator(policy, GenerationConfig(), seed=0), policy.renderer(chat=False)
    tasks = load_held_out(SETS[3], (DEDUCTION,), 20)

    async def solved(task):
        prompt = render(prompts.solve_prompt(STYLE, task))
        (sample,) = await generator.sample(prompt, n=1, key=task.id, sampling=Sampling(64, temperature=0.0))
        return f"<answer>{task.data['output']}</answer>" in sample.text

    assert sum(await gather(map(solved, tasks))) >= 19
