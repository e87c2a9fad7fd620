"""`azr play MODEL`: a person proposes and the model attempts it, or the model proposes and the person answers."""

import asyncio
import json
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from azr import settings
from azr.config import Config
from azr.domains import registry
from azr.domains.base import Form
from azr.errors import UserError
from azr.evals.contestants import locate
from azr.play.game import Game
from azr.play.screen import record, show, task_panel
from azr.play.seats import PlainForm, text_of
from azr.play.sitting import Sitting
from azr.run.checkpoint import Checkpoints, read_buffer
from azr.run.directory import CONFIG, MODEL, RunDirectory
from azr.train.start import open_parts
from azr.types import Kind, Role

ANY_MODEL: dict[str, Any] = {
    "domain": {"name": "python"},
    "generation": {"max_prompt_tokens": 2048, "max_propose_tokens": 1024, "max_solve_tokens": 1024},
}
"""For a model without a run or preset: lengths that fit most contexts and do not take too long."""


@dataclass(frozen=True, slots=True)
class Request:
    """The command line."""

    model: str  # to play with
    mode: str = "propose"  # the person's role, "propose" or "solve"
    kind: str | None = None  # of the tasks; None for the domain's first
    samples: int = 8  # attempts at each proposal [n]
    seed: int | None = None  # random seed; None for the configuration's with `once`, and for a new one without
    once: bool = False  # play one round with the given parts, without asking
    as_json: bool = False  # print the round as JSON
    parts: Mapping[str, Sequence[str]] = field(default_factory=dict)  # the person's text, by the name of the part
    assignments: Sequence[str] = ()  # overrides, KEY.SUB=VALUE


def play(request: Request) -> None:
    """Play interactively, or one round with `once`.

    Raises:
        UserError: the request or the model is wrong, or stdin is not a terminal and `once` is not set.
    """
    if request.mode not in tuple(Role):
        raise UserError(f"--mode {request.mode}: no such mode; use {' or '.join(Role)}")
    if not request.once and not sys.stdin.isatty():
        raise UserError("azr play: standard input is not a terminal; use --once and pass the answers as options")
    seed = request.seed if request.seed is not None or request.once else random.randrange(2**31)
    config = settle(request.model, request.assignments, samples=request.samples, seed=seed)
    kinds = config.domain.kinds
    kind = request.kind or kinds[0]
    if kind not in kinds:
        raise UserError(f"--kind {kind}: no such kind; the {config.domain.name} domain has {', '.join(kinds)}")
    make_form = registry.plugin(config.domain.name).form
    form: Form = make_form(config.domain) if make_form else PlainForm()
    if request.once:
        _check_parts(request, form, kind)
    asyncio.run(_play(request, config, form, kind))


def settle(model: str, assignments: Sequence[str], *, samples: int, seed: int | None) -> Config:
    """Build the configuration of a game.

    The settings are those of the model's run or preset, else `ANY_MODEL`, then the overrides, KEY.SUB=VALUE; `samples`
    is the number of attempts at each proposal of the person [n], and `seed` None keeps the configuration's.

    Raises:
        UserError: there is no such model or run, or an override is wrong.
    """
    tree = settings.override(_tree(model, run_of(model)), assignments)
    forced = {"batch_size": 1, "samples": samples, "solver_mix": "new_only", "learn_from_samples": True}
    tree["selfplay"] = {**tree.get("selfplay", {}), **forced, "train_proposer": True, "learn": False}
    if seed is not None:
        tree["seed"] = seed
    return settings.build(tree, registry.config_class, source=model)


def run_of(model: str) -> Path | None:
    """The run that a model belongs to, if `model` is a run's folder or the model inside one; else None."""
    path = Path(model)
    if (path / CONFIG).is_file():
        return path
    inside = path.name == MODEL and (path.parent / CONFIG).is_file()
    return path.parent if inside else None


def buffer_of(run: Path | None) -> list[str] | None:
    """Lines of the task buffers in a run's newest checkpoint; None without a run or checkpoint."""
    checkpoint = Checkpoints(run, keep=1).newest() if run is not None else None
    return read_buffer(checkpoint) if checkpoint is not None else None


def _tree(model: str, run: Path | None) -> settings.Tree:
    if run is None:
        presets = map(settings.read, settings.presets())
        tree = next((preset for preset in presets if preset["model"]["name"] == model), ANY_MODEL)
        return {**tree, "model": {**tree.get("model", {}), "name": model}}
    tree = RunDirectory.open(run).tree()
    if tree["selfplay"].get("learn", True):  # else nothing was trained, and the model is the one in the configuration
        tree["model"] |= {"name": locate(str(run)), "quantization": "none"}
        tree["model"].pop("lora", None)  # merged into the exported weights
    return tree


def program_text(path: Path) -> str:
    """Read a program from a file, or from standard input for "-".

    Raises:
        UserError: it cannot be read.
    """
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--program {path}: cannot be read: {error}") from None


async def _play(request: Request, config: Config, form: Form, kind: Kind) -> None:
    console = Console(highlight=False)
    if not request.as_json:
        console.print(Text(f"loading {request.model} ...", style="dim"))
    async with open_parts(config) as parts:
        game = Game(config, parts, buffer_of(run_of(request.model)))
        if request.once:
            await _once(request, config, form, game, kind, console)
        else:
            await Sitting(game, form, config, console).play(Role(request.mode), kind)


async def _once(request: Request, config: Config, form: Form, game: Game, kind: Kind, console: Console) -> None:
    """Play one round with the parts from the command line, or an answer from standard input."""
    role, values = Role(request.mode), request.parts
    asked = ""

    def person(prompt: str) -> str:
        nonlocal asked
        asked = prompt
        if role == Role.SOLVE and not request.as_json:
            console.print(task_panel(prompt, "the model's task"))
        return text_of(form, role, kind, values or {"answer": [sys.stdin.read().strip()]})

    if role == Role.PROPOSE:
        played = await game.propose(kind, person, first=form.first(kind, values))
    else:
        played = await game.solve(kind, person)
    if request.as_json:
        print(json.dumps({"asked": asked, **record(played, request.model, config.rewards, game.domain)}))
    else:
        show(played, config.rewards, game.words, console)


def _check_parts(request: Request, form: Form, kind: Kind) -> None:
    """Check the parts before a model is loaded: none unknown, none missing."""
    if not request.parts or "answer" in request.parts:
        return
    options = {f"--{part.name}": part.optional for part in form.parts(Role(request.mode), kind)}
    given = [f"--{name}" for name in request.parts]
    if unknown := next((name for name in given if name not in options), None):
        raise UserError(f"{unknown}: unknown for {request.mode} {kind}; use {', '.join(options)}, or --answer alone")
    if missing := [name for name, optional in options.items() if not optional and name not in given]:
        raise UserError(f"{request.mode} {kind}: missing {', '.join(missing)}")
