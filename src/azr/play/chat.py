"""`azr chat MODEL`: an interactive conversation with a model, or one answer to what comes in by a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from azr.analysis.text import visible
from azr.config import Config
from azr.domains import registry
from azr.errors import UserError
from azr.play.command import settle
from azr.rollout.base import Sampling

if TYPE_CHECKING:
    from azr.play.talk import Talk

COMMANDS = {
    "/reset": "forget the conversation",
    "/system TEXT": "set the system message, and begin again",
    "/quit": "leave, as Ctrl-D does",
}
KEYS = "Ctrl-C stops an answer. A line that ends in \\ goes on in the next."


@dataclass(frozen=True, slots=True)
class Request:
    """The command line."""

    model: str
    sampling: Sampling
    system: str = ""
    raw: bool = False  # continue the text, even if the model has a chat template
    seed: int | None = None  # None: another one each time
    assignments: Sequence[str] = ()  # overrides, KEY.SUB=VALUE


def chat(request: Request) -> None:
    """Talk on the terminal until /quit or Ctrl-D; without a terminal, answer standard input once.

    Raises:
        UserError: there is no such model or run, it cannot be loaded, or it has no chat template for a system message.
    """
    config = settle(request.model, request.assignments, samples=1, seed=None)
    if config.model.served is not None:
        raise UserError(
            f"{request.model}: azr chat loads the model on this machine; to ask a server, use its own client"
        )
    once = None if sys.stdin.isatty() else sys.stdin.read()
    if once is not None and not once.strip():
        raise UserError("azr chat: standard input is empty; pipe a message into it, or start it on a terminal")
    talk = _load(request, config)
    if once is not None:
        _say(talk, once if talk.raw else once.strip())
        return
    print("\n".join(_welcome(request.model, talk, config)))
    _converse(talk)


def _load(request: Request, config: Config) -> Talk:
    import torch

    from azr.play.talk import Talk
    from azr.train.start import load_policy

    policy = load_policy(config)
    raw = request.raw or policy.tokenizer.chat_template is None
    if raw and request.system:
        raise UserError(
            f"--system: {request.model} continues text without a chat template, so it has no system message"
        )
    if request.seed is None:
        torch.seed()
    else:
        torch.manual_seed(request.seed)
    return Talk(policy, request.sampling, raw, request.system)


def _welcome(model: str, talk: Talk, config: Config) -> list[str]:
    commands = [f"{name} ({what})" for name, what in COMMANDS.items() if not (talk.raw and name != "/quit")]
    lines = [f"{model}: {', '.join(commands)}. {KEYS}"]
    if not talk.raw:
        return lines
    lines += ["No chat template is used: the model continues the text that you type, and forgets it afterwards."]
    seeds = registry.make_domain(config.domain, config.sandbox)
    example = next(iter(seeds.seeds()), None)
    if example is not None:
        prompt = visible(seeds.solve_prompt(example)).splitlines()
        lines += ["It was trained on prompts such as this one; azr play asks it whole tasks:"]
        lines += [f"    {line}" for line in prompt]
    return lines


def _converse(talk: Talk) -> None:
    with suppress(ImportError):
        import readline  # noqa: F401 -- gives input() a history and the arrow keys
    while True:
        try:
            text = _typed()
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print("\n(Ctrl-D leaves)")
            continue
        if text.startswith("/"):
            if not _command(talk, text.strip()):
                return
        elif text.strip():
            try:
                _say(talk, text)
            except UserError as error:
                print(error)


def _typed() -> str:
    """What the user types, over several lines if they end in a backslash."""
    lines = [input("> ")]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        lines.append(input(". "))
    return "\n".join(lines)


def _command(talk: Talk, text: str) -> bool:
    """Carry out a command; returns false if the user leaves."""
    name, _, rest = text.partition(" ")
    if name == "/quit":
        return False
    if name in ("/reset", "/system") and not talk.raw:
        if name == "/system":
            talk.system = rest.strip()
        talk.reset()
        print("(a new conversation)")
    else:
        known = "/quit" if talk.raw else ", ".join(COMMANDS)
        print(f"{name}: no such command here; there is {known}")
    return True


def _say(talk: Talk, text: str) -> None:
    """Print the answer while it is written; Ctrl-C ends it."""
    with closing(talk.answer(text)) as pieces:  # type: ignore[type-var]
        try:
            for piece in pieces:
                print(visible(piece), end="", flush=True)
        except KeyboardInterrupt:
            print(" [stopped]", end="")
    print()
