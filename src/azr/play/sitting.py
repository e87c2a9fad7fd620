"""An interactive session at the terminal: round after round until the person quits."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.prompt import Prompt
from rich.text import Text

from azr.config import Config
from azr.domains.base import Form, Part
from azr.errors import UserError
from azr.play.game import Game, Round
from azr.play.screen import show, task_panel
from azr.play.seats import text_of
from azr.types import Kind, Role

END = "."
"""The line that ends a text of several lines."""


class Sitting:
    """Plays rounds with a person at the terminal; `form` is the domain's, `config` the game's."""

    def __init__(self, game: Game, form: Form, config: Config, console: Console) -> None:
        self._game, self._form, self._config, self._console = game, form, config, console

    async def play(self, role: Role, kind: Kind) -> None:
        """Play rounds until the person quits with `q`, Ctrl-D or Ctrl-C."""
        try:
            while True:
                self._console.rule(f"you {role}, {kind}")
                try:
                    played = await (self._propose(kind) if role == Role.PROPOSE else self._solve(kind))
                    show(played, self._config.rewards, self._game.words, self._console)
                except UserError as error:
                    self._console.print(Text(str(error), style="yellow"))
                role, kind, again = self._next(role, kind)
                if not again:
                    return
        except (EOFError, KeyboardInterrupt):
            self._console.print()

    async def _propose(self, kind: Kind) -> Round:
        parts = self._form.parts(Role.PROPOSE, kind)
        with _interruptible():
            own = self._values([part for part in parts if part.optional])
            if own:
                own |= self._values([part for part in parts if not part.optional])

        def person(prompt: str) -> str:
            if own:
                return text_of(self._form, Role.PROPOSE, kind, own)
            others = self._game.domain.sources(kind).kinds != (kind,)  # then the prompt shows what to build on
            if others or "answer" in {part.name for part in parts}:
                self._console.print(task_panel(prompt, "what the model would be asked"))
            with _interruptible():
                return text_of(self._form, Role.PROPOSE, kind, self._values([p for p in parts if not p.optional]))

        return await self._game.propose(kind, person, first=self._form.first(kind, own))

    async def _solve(self, kind: Kind) -> Round:
        def person(prompt: str) -> str:
            self._console.print(task_panel(prompt, f"the model's {kind} task"))
            self._console.print(Text("write only the answer, without tags", style="dim"))
            with _interruptible():
                return text_of(self._form, Role.SOLVE, kind, self._values(self._form.parts(Role.SOLVE, kind)))

        self._console.print(Text("the model proposes ...", style="dim"))
        return await self._game.solve(kind, person)

    def _next(self, role: Role, kind: Kind) -> tuple[Role, Kind, bool]:
        """Ask what comes next: another round, the other role, another kind, or quitting."""
        with _interruptible():
            chosen = Prompt.ask(
                "[b]Enter[/b] again, [b]o[/b]ther seat, [b]k[/b]ind, [b]q[/b]uit",
                choices=["", "o", "k", "q"],
                default="",
                show_choices=False,
                show_default=False,
                console=self._console,
            )
            if chosen == "k":
                kind = Prompt.ask("kind", choices=list(self._config.domain.kinds), default=kind, console=self._console)
        other = Role.SOLVE if role == Role.PROPOSE else Role.PROPOSE
        return other if chosen == "o" else role, kind, chosen != "q"

    def _values(self, parts: Sequence[Part]) -> dict[str, list[str]]:
        """Ask for parts; optional ones that are left empty are omitted."""
        values = {}
        for part in parts:
            texts = [self._ask(part, number) for number in range(part.count)]
            if any(texts) or not part.optional:
                values[part.name] = texts
        return values

    def _ask(self, part: Part, number: int) -> str:
        label = f"{part.name} {number + 1} of {part.count}" if part.count > 1 else part.name
        hint = " (or nothing)" if part.optional else ""
        if not part.lines:
            return self._console.input(Text(f"{label}{hint}: ", style="bold"))
        self._console.print(Text(f"{label}{hint}, then a line with only a dot; @FILE reads a file", style="bold"))
        lines: list[str] = []
        while (line := input()) != END:
            if not lines and line.startswith("@"):
                return _file(line[1:].strip())
            if not lines and not line and part.optional:
                break
            lines.append(line)
        return "\n".join(lines)


def _file(name: str) -> str:
    try:
        return Path(name).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"@{name}: cannot be read: {error}") from None


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C interrupt a prompt at once, instead of through asyncio's handler."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
