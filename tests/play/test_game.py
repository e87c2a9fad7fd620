"""A person in one seat of self-play, a scripted model in the other, through the real domain and the real sandbox."""

import io

import pytest
from rich.console import Console

from azr.domains import registry
from azr.errors import UserError
from azr.play.game import TRIES, Game
from azr.play.screen import proposal_equation, record, show
from azr.play.seats import PlainForm, text_of
from azr.play.sitting import Sitting
from azr.selfplay.parts import Parts
from azr.settings import build
from azr.types import Role
from tests.scripted import ScriptedGenerator, plain

DOUBLE = {"program": ["def f(x):\n    return x * 2"], "input": ["21"]}
HOSTILE = "<answer>[bold]</answer></script>\x1b[31m"


def model(*answers: str, proposals=("nothing",)):
    """A model that gives these answers in turn, and makes these proposals step after step."""

    def script(key: str, prompt: str, row: int) -> str:
        step, role, _, _ = key.split("/")
        if role == "propose":
            return proposals[min(int(step), len(proposals)) - 1]
        return f"<answer>{answers[row % len(answers)]}</answer>"

    return ScriptedGenerator(script)


def game(sandbox, generator, *, domain="python", style="compact", samples=4, kinds=(), **sections):
    inputs = {"induction_inputs": 4, "induction_shown": 2, "kinds": kinds} if domain == "python" else {}
    play = {"batch_size": 1, "samples": samples, "solver_mix": "new_only", "learn": False}
    tree = {"model": {"name": "m"}, "domain": {"name": domain, "style": style, **inputs}, "selfplay": play, **sections}
    config = build(tree, registry.config_class, source="test")
    parts = Parts(
        domain=registry.make_domain(config.domain, config.sandbox),
        generator=generator,
        sandbox=sandbox,
        render=plain,
    )
    make_form = registry.plugin(domain).form
    return Game(config, parts), make_form(config.domain) if make_form else PlainForm(), config


async def propose(played, form, kind, values):
    text = text_of(form, Role.PROPOSE, kind, values)
    return await played.propose(kind, lambda told: text, first=form.first(kind, values))


async def test_a_proposal_earns_its_learnability(sandbox):
    played, form, config = game(sandbox, model("42", "41", "0", "1"))
    done = await propose(played, form, "deduction", DOUBLE)
    assert done.episode.attempts.scores == [1.0, 0.0, 0.0, 0.0]
    assert done.reward == 0.75
    assert proposal_equation(done.episode, config.rewards) == "1 - 1/4 (Eq. 4)"


async def test_a_proposal_that_nobody_solves_earns_nothing(sandbox):
    played, form, config = game(sandbox, model("0"))
    done = await propose(played, form, "deduction", DOUBLE)
    assert done.reward == 0.0
    assert "no attempt is right" in proposal_equation(done.episode, config.rewards)


async def test_the_reference_profile_and_intrinsic_rewards_are_those_of_the_configuration(sandbox):
    rewards = {"profile": "reference", "novelty": {"coefficient": 0.5}}
    played, form, config = game(sandbox, model("42"), rewards=rewards)
    done = await propose(played, form, "deduction", DOUBLE)
    novelty = done.episode.intrinsic["novelty"]
    assert done.reward == pytest.approx(-0.5 + 0.5 * novelty)
    assert f"{0.5 * novelty:+.3f} intrinsic" in proposal_equation(done.episode, config.rewards)


async def test_a_proposal_that_fails_is_refused_and_not_attempted(sandbox):
    generator = model("42")
    played, form, _ = game(sandbox, generator)
    done = await propose(played, form, "deduction", {"program": ["def f(x):\n    return x / 0"], "input": ["1"]})
    assert (done.episode.proposal.verdict.reason, done.reward) == ("error", -1.0)
    assert generator.keys == []


async def test_the_same_proposal_is_a_duplicate_the_second_time(sandbox):
    played, form, _ = game(sandbox, model("42"))
    await propose(played, form, "deduction", DOUBLE)
    assert (await propose(played, form, "deduction", DOUBLE)).episode.proposal.verdict.reason == "duplicate"


async def test_induction_is_proposed_on_ones_own_program(sandbox):
    played, form, _ = game(sandbox, model("<program>\ndef f(x):\n    return x + x\n</program>"))
    values = {**DOUBLE, "input": ["1", "2", "3", "4"], "message": ["twice"]}
    done = await propose(played, form, "induction", values)
    assert done.episode.task.data["outputs"] == ["2", "4", "6", "8"]
    assert done.episode.attempts.scores == [1.0] * 4


async def test_induction_on_a_program_that_does_not_run_is_one_line(sandbox):
    played, form, _ = game(sandbox, model("1"))
    values = {"program": ["def f(x): return"], "input": ["(", "2", "3", "4"], "message": ["m"]}
    with pytest.raises(UserError, match="the program to build on is not a valid deduction task"):
        await propose(played, form, "induction", values)


@pytest.mark.parametrize("style", ["compact", pytest.param("chat", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["deduction", "abduction", "error", "induction"])
async def test_what_a_person_fills_in_is_read_in_every_notation(sandbox, kind, style):
    played, form, _ = game(sandbox, model("1"), style=style, kinds=(kind,))
    values = {**DOUBLE, "input": ["1", "2", "3", "4"], "message": ["twice"]} if kind == "induction" else DOUBLE
    done = await propose(played, form, kind, values)
    assert done.episode.proposal.verdict.reason == "accepted"
    answer = {"deduction": "42", "abduction": "21", "error": "NoError", "induction": DOUBLE["program"][0]}[kind]
    text = text_of(form, Role.SOLVE, kind, {"answer": [answer]})
    assert (await played.domain.verify(done.episode.task, text, sandbox)).passed


PROPOSAL = "<answer><program>\ndef f(x):\n    return x + 7\n</program><input>5</input></answer>"


@pytest.mark.parametrize(("answer", "reason", "reward"), [("12", "correct", 1.0), ("13", "wrong", -0.5)])
async def test_the_answer_of_a_person_is_judged_as_the_models_would_be(sandbox, answer, reason, reward):
    played, form, _ = game(sandbox, model("unused", proposals=("no", "answer", PROPOSAL)))
    told = []

    def person(words: str) -> str:
        told.append(words)
        return text_of(form, Role.SOLVE, "deduction", {"answer": [answer]})

    done = await played.solve("deduction", person)
    assert done.refused == {"no_answer": 2}
    assert (done.episode.attempts.verdicts[0].reason, done.reward) == (reason, reward)
    assert len(told) == 1
    assert "f(5)" in told[0]
    assert "12" not in told[0]  # the gold answer


async def test_a_model_that_proposes_nothing_valid_is_given_up(sandbox):
    played, _, _ = game(sandbox, model("1"))
    with pytest.raises(
        UserError, match=rf"none of the model's {TRIES} deduction proposals was valid .*{TRIES} no_answer"
    ):
        await played.solve("deduction", lambda told: pytest.fail("must not be asked"))


async def test_a_domain_without_a_form_is_played_by_bare_answers(sandbox):
    played, form, _ = game(sandbox, model("5", "4"), domain="primes")
    done = await propose(played, form, "deduction", {"answer": ["x = 3, p = 7"]})
    assert done.episode.attempts.scores == [1.0, 0.0, 1.0, 0.0]


async def test_the_record_of_a_round_tells_all_of_it(sandbox):
    played, form, config = game(sandbox, model("42", "41"))
    done = await propose(played, form, "deduction", DOUBLE)
    told = record(done, "m", config.rewards, played.domain)
    assert (told["mode"], told["kind"], told["solve_rate"], told["reward"]) == ("propose", "deduction", 0.5, 0.5)
    assert told["task"]["answer"] == "<answer>42</answer>"
    assert [attempt["verdict"]["passed"] for attempt in told["attempts"]] == [True, False, True, False]


async def test_what_the_model_wrote_is_shown_as_text_whatever_is_in_it(sandbox):
    def script(key: str, prompt: str, row: int) -> str:
        return HOSTILE

    played, form, config = game(sandbox, ScriptedGenerator(script))
    done = await propose(played, form, "deduction", DOUBLE)
    console = Console(width=100, record=True, file=io.StringIO(), force_terminal=True)
    show(done, config.rewards, played.words, console)
    page = console.export_text()
    assert "<answer>[bold]</answer></script>" in page
    assert "\x1b" not in page


async def test_an_evening_of_two_rounds(sandbox, monkeypatch):
    played, form, config = game(sandbox, model("42", proposals=("", PROPOSAL)))
    said = iter(["def f(x):", "    return x * 2", ".", "21", "o", "12", "q"])
    monkeypatch.setattr("builtins.input", lambda *_: next(said))
    console = Console(width=100, record=True, file=io.StringIO())
    await Sitting(played, form, config, console).play(Role.PROPOSE, "deduction")
    page = console.export_text()
    assert "reward of the proposal  +0.000   1 - 4/4 (Eq. 4)" in page
    assert "reward of your answer  +1.000   right (Eq. 5)" in page


async def test_ctrl_d_ends_the_evening(sandbox, monkeypatch):
    def end(*_):
        raise EOFError

    played, form, config = game(sandbox, model("42"))
    monkeypatch.setattr("builtins.input", end)
    console = Console(file=io.StringIO())
    await Sitting(played, form, config, console).play(Role.PROPOSE, "deduction")
