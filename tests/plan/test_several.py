"""What `azr plan --gpus` proposes: it fits, it is the fastest, and its commands are valid."""

import shlex

import pytest

from azr import cli, serve
from azr.errors import UserError
from azr.plan.cards import CARDS
from azr.plan.layouts import layouts
from azr.plan.memory import shape_of
from azr.plan.several import commands, plan_machine
from azr.plan.shapes import published
from azr.train.start import resolve

H100 = CARDS["h100-80gb"]
SEVEN = shape_of(published("Qwen/Qwen2.5-7B"))


def said_of(source, words=(), gpu="h100-80gb", gpus=8):
    """The lines, and whether the run fits."""
    lines, told = plan_machine(source, list(words), gpu, gpus), []
    while True:
        try:
            told.append(next(lines))
        except StopIteration as end:
            return told, end.value


def typed(lines):
    return [shlex.split(line) for line in lines[lines.index("type:") + 1 :]]


@pytest.fixture(scope="module")
def ways():
    """All layouts of the paper's 7B model on eight GPUs."""
    resolved = lambda words: resolve("paper", words)  # noqa: E731
    return list(layouts(resolved, SEVEN, H100, gpus=8, room=int(H100.memory * 0.9), width=2))


@pytest.mark.parametrize(
    ("source", "words", "gpu", "gpus"),
    [
        ("paper", (), "h100-80gb", 8),
        ("paper", ("model.name=Qwen/Qwen2.5-Coder-3B", "generation.urls=http://a:1", "steps=3"), "a100-80gb", 4),
        ("qwen2.5-coder-3b-lora-24gb", (), "rtx-4090-24gb", 2),
    ],
)
def test_azr_accepts_what_it_says_to_type(monkeypatch, source, words, gpu, gpus):
    lines, fits = said_of(source, words, gpu, gpus)
    assert fits
    asked = []
    monkeypatch.setattr(serve, "serve", asked.append)
    monkeypatch.setattr("azr.train.start.start_run", lambda source, words: asked.append(resolve(source, words)) or 0)
    for _, *arguments in typed(lines):
        cli.app(arguments, standalone_mode=False)
    *servers, config = asked
    used = [gpu for request in servers for gpu in serve.numbers(request.gpus)]
    assert sorted([*range(config.learner.processes), *used]) == list(range(gpus))
    assert len(config.generation.urls) == len(servers)
    for request, url in zip(servers, config.generation.urls, strict=True):
        assert url == f"http://{request.host}:{request.port}"
        assert serve.command(request)
    for word in words:
        key, _, value = word.partition("=")
        assert key == "generation.urls" or word in typed(lines)[-1], (key, value)


def test_the_fastest_layout_that_fits_is_proposed(ways):
    room = int(H100.memory * 0.9)
    best = min((way for way in ways if way.short(room) <= 0), key=lambda way: way.step)
    lines, _ = said_of("paper")
    assert [shlex.join(words) for words in typed(lines)] == list(commands(best, "paper", [], 8))


def test_no_layout_uses_more_gpus_than_there_are(ways):
    used = {way.ranks + way.copies * way.tensor_parallel for way in ways}
    assert max(used) == 8
    assert {way.ranks for way in ways} == set(range(1, 9))


def test_each_copy_gets_as_many_rows_as_one_server_would(ways):
    for way in ways:
        assert way.config.generation.max_rows == 256 * max(1, way.copies)


def test_ranks_that_hold_the_whole_model_share_the_sampling_and_need_memory_for_it():
    def without_servers(gpus, sharded):
        found = layouts(lambda words: resolve("paper", words), SEVEN, H100, gpus=gpus, room=H100.memory, width=2)
        return next(way for way in found if (way.ranks, way.sharded) == (gpus, sharded))

    alone, replicated, sharded = without_servers(1, False), without_servers(4, False), without_servers(4, True)
    assert replicated.seconds["sampling"] < alone.seconds["sampling"] / 2
    assert sharded.seconds["sampling"] == alone.seconds["sampling"]
    assert [memory.cache > 0 for memory in replicated.memory] == [True, True]
    assert [memory.cache > 0 for memory in sharded.memory] == [True, False]


def test_servers_bring_their_importance_weights_into_the_plan(ways):
    assert {way.config.algorithm.importance_cap for way in ways if way.copies} == {2.0}


def test_what_does_not_fit_is_one_line_with_what_would():
    lines, fits = said_of("paper", gpus=2)
    assert not fits
    (line,) = lines[1:]
    assert line.startswith("does not fit 2 x h100-80gb: ")
    more, changes = line.partition("it would fit with ")[2].split(" or with ")
    assert said_of("paper", gpus=int(more.removeprefix("--gpus ")))[1]
    assert said_of("paper", changes.split(), gpus=2)[1]


def test_nothing_is_proposed_where_nothing_helps():
    lines, fits = said_of("paper", ["generation.max_prompt_tokens=10000000"], "t4-16gb", 8)
    assert not fits
    assert lines[-1].endswith("no setting helps")


def test_the_learners_gpus_hold_what_the_plan_for_one_holds_if_there_is_one(ways):
    alone = next(way for way in ways if way.ranks == 1 and way.copies == 7)
    assert alone.memory[0].cache == 0
    assert alone.words == ("generation.urls=http://127.0.0.1:8000", "generation.max_rows=1792")


@pytest.mark.parametrize(
    ("gpu", "gpus", "why"),
    [
        (None, 8, "name the card too"),
        ("h100-80gb", 16, "one machine of up to 8 GPUs; for several machines see docs/many-gpus.md"),
        ("h100-80gb", 0, "up to 8 GPUs"),
        ("a1000", 2, "unknown card"),
    ],
)
def test_a_machine_that_cannot_be_planned_for_is_refused(gpu, gpus, why):
    with pytest.raises(UserError, match=why):
        said_of("paper", gpu=gpu, gpus=gpus)


def test_a_run_that_learns_nothing_has_one_rank():
    lines, _ = said_of("paper", ["selfplay.learn=false"], gpus=4)
    assert "learner.processes" not in lines[-1]


def test_offloading_gives_a_layout_without_a_time():
    lines, fits = said_of("paper-coder-3b", ["learner.offload=true"], gpus=4)
    assert fits
    assert [line for line in lines if "learner.offload depends on the host" in line]
