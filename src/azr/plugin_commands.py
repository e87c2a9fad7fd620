"""The commands `azr domains`, `azr domains new`, `azr domains try` and `azr plugins`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from azr.errors import UserError


class DomainGroup(TyperGroup):
    """`azr domains NAME` shows a domain, unless NAME is a command of the group."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the hidden command `show` in front of a domain's name."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["show", *args]
        return super().parse_args(ctx, args)


domains_app = typer.Typer(cls=DomainGroup, invoke_without_command=True)
plugin_app = typer.Typer()


@domains_app.callback()
def domains(context: typer.Context) -> None:
    """List the installed domains; `azr domains NAME` shows the settings of one."""
    from azr.domains import registry

    if context.invoked_subcommand is None:
        _print(*registry.listing())


@domains_app.command(hidden=True)
def show(name: str) -> None:
    """Show the settings of a domain."""
    from azr.domains import registry

    _print(registry.about(name), [])


@domains_app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the domain: lower-case letters, digits, -.")],
    to: Annotated[Path | None, typer.Option(help="Folder to make.", show_default="azr-NAME")] = None,
) -> None:
    """Write a package with a small working domain, its configuration and its tests, to start from."""
    from azr.domains.new import write

    folder = write(name, to or Path(f"azr-{name}"))
    print(f"{folder}: a domain that adds numbers; change it to yours")
    print(f"next: pip install -e {folder} && azr domains try {name} && python -m pytest {folder}")


@domains_app.command("try")
def try_out(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of an installed domain.")],
    words: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", show_default=False)] = None,
    tasks: Annotated[int, typer.Option(min=1, help="Tasks per kind to judge answers of.")] = 20,
) -> None:
    """Print the prompts of every style, and judge gold and random answers; exit code 1 if a gold answer is refused."""
    from azr.domains.trial import run

    raise typer.Exit(0 if run(name, words or [], tasks) else 1)


@plugin_app.command()
def plugins() -> None:
    """List algorithms, domains, rewards and sandboxes: those of azr and those of installed packages."""
    from azr.algorithms import registry
    from azr.plugins import NOUNS, names

    lines = [f"{'algorithm':<10} {name:<16} {one.equation}" for name, one in registry.ALGORITHMS.items()]
    errors = list[UserError]()
    abouts = _abouts()
    for group, noun in NOUNS.items():
        for name in names(group):
            try:
                lines.append(f"{noun:<10} {name:<16} {abouts[group](name)}".rstrip())
            except UserError as error:
                errors.append(error)
    _print(lines, errors)


def _abouts() -> dict[str, Callable[[str], str]]:
    """For each group, what describes a plug-in in one line."""
    from azr import intrinsic
    from azr.algorithms import registry as algorithms
    from azr.domains import registry as domains
    from azr.plugins import summary
    from azr.sandbox import factory

    def reward(name: str) -> str:
        term = intrinsic.load(name)
        return f"{'proposer' if isinstance(term, intrinsic.ProposerReward) else 'solver'}: {summary(term)}"

    return {
        algorithms.GROUP: lambda name: algorithms.plugin(name).equation,
        domains.GROUP: lambda name: domains.plugin(name).description,
        intrinsic.GROUP: reward,
        factory.GROUP: lambda name: (factory.load(name).__doc__ or "").strip().partition("\n")[0],
    }


def _print(lines: list[str], errors: list[UserError]) -> None:
    """Print lines, then raise the first error, so that a broken plug-in hides none of the others."""
    print("\n".join(lines))
    if errors:
        raise errors[0]
