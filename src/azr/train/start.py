"""What `azr train` does: resolve the configuration, build the parts of the run, and train."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azr import settings, startup
from azr.config import Config
from azr.distributed.launch import is_follower
from azr.domains import registry
from azr.errors import UserError
from azr.models import shipped
from azr.models.threads import threads
from azr.sandbox.factory import make_sandbox

if TYPE_CHECKING:
    from rich.console import Console

    from azr.learn.learner import PolicyLearner
    from azr.learn.ranks import Ranks
    from azr.models.load import LanguageModel
    from azr.rollout.base import Generator
    from azr.run.checkpoint import State
    from azr.run.directory import RunDirectory
    from azr.sandbox.base import Sandbox
    from azr.train.ranks import Leader
    from azr.train.trackers.base import Tracker
    from azr.train.training import Training, TrainingParts

STOPPED = 3
"""Exit code of a run that was stopped and can be resumed."""

RESUMABLE = (
    *("steps", "threads", "checkpoint.", "sandbox.url", "sandbox.workers", "trackers."),
    *("generation.urls", "generation.weights_folder", "learner.processes", "learner.sharding", "model.tinker."),
)
"""Keys that may change on resume; any other would make it a different run."""


def resolve(source: str | Config, assignments: Iterable[str]) -> Config:
    """The configuration of a preset or file with overrides. Another domain starts from its own defaults.

    Raises:
        UserError: see `azr.settings`.
    """
    base = source.model_dump(mode="json", exclude_none=True) if isinstance(source, Config) else settings.read(source)
    if _domain_name(settings.override({}, assignments)) not in (None, _domain_name(base)):
        base["domain"] = {}
    tree = settings.override(base, assignments)
    return settings.build(tree, registry.config_class, source="config" if isinstance(source, Config) else source)


def _domain_name(tree: settings.Tree) -> object:
    section = tree.get("domain")
    return section.get("name") if isinstance(section, dict) else None


def start_run(source: str, assignments: Sequence[str]) -> int:
    """Start a run; returns the exit code."""
    from azr.run.directory import RunDirectory

    if is_follower():
        return _follow()
    config = resolve(source, assignments)
    name = source if source in settings.presets() else Path(source).stem
    create = lambda used: RunDirectory.create(Path(used.output_dir), name, settings.dump(used))  # noqa: E731
    return carry_out(config, create, new=True)


def resume_or_fork(resume: Path | None, fork: str | None, assignments: Sequence[str]) -> int:
    """Resume a run, or start one from a checkpoint of another one; returns the exit code.

    Raises:
        UserError: both are asked for; or see `resume_run` and `azr.train.fork.Fork`.
    """
    from azr.train.fork import Fork

    if resume is not None and fork is not None:
        raise UserError("--resume continues a run and --fork starts a new one; use only one of them")
    if fork is None:
        assert resume is not None
        return resume_run(resume, assignments)
    if is_follower():
        return _follow()
    made = Fork(fork, assignments)
    return carry_out(made.config, made.create, new=True)


def resume_run(path: Path, assignments: Sequence[str]) -> int:
    """Resume a run; returns the exit code.

    Raises:
        UserError: `path` is not a run, its checkpoints were removed, or a key may not be changed.
    """
    from azr.run.checkpoint import check_resumable
    from azr.run.directory import RunDirectory

    if is_follower():
        return _follow()
    run = RunDirectory.open(path)
    check_resumable(path)
    for assignment in assignments:
        if not assignment.startswith(RESUMABLE):
            raise UserError(
                f"{assignment}: cannot change on resume; only {', '.join(RESUMABLE)} can. To go on with other settings"
                f" in a new run: azr train --fork {path} {assignment}"
            )
    tree = settings.override(run.tree(), assignments)
    config = settings.build(tree, registry.config_class, source=str(path / "config.toml"))
    return carry_out(config, lambda _: run, new=False)


def _follow() -> int:
    """Take part in a run that torchrun has started, on another rank than the first; returns the exit code."""
    from azr.train.ranks import follow_run

    return follow_run()


def carry_out(config: Config, run_directory: Callable[[Config], RunDirectory], *, new: bool) -> int:
    """Build the parts, open the run directory, and train.

    If the model cannot be loaded, no folder is created. If a new run fails before it has logged anything, its folder is
    deleted.
    """
    from rich.console import Console

    from azr.analysis.text import visible
    from azr.train.ranks import leading
    from azr.train.summary import closing_lines
    from azr.train.trackers.feed import make_trackers

    console = Console(force_jupyter=False)  # lines of text in a notebook, not a display for each

    def say(line: str) -> None:
        console.print(visible(line), soft_wrap=True, highlight=False, markup=False)

    async def go(used: Config, leader: Leader | None) -> int:
        trackers = make_trackers(used.trackers)
        async with open_parts(used, leader.ranks if leader else None) as parts:
            startup.done()
            run = run_directory(used)
            opened.append(run.path)
            say(f"run directory: {run.path}")
            if leader and config.learner.processes == "auto":
                number = used.learner.processes
                say(f"{number} processes share each step; an equal run needs learner.processes={number}")
            try:
                training, state = await _train(used, run, parts, trackers, leader, console)
            except Exception:
                if new:
                    run.discard_if_unused()
                raise
        for line in closing_lines(run.path, state, used.steps, parts.domain.show, stopped=training.stopped):
            say(line)
        return STOPPED if training.stopped else 0

    opened: list[Path] = []
    try:
        with leading(config) as (used, leader):
            return asyncio.run(go(used, leader))
    except KeyboardInterrupt:  # the second Ctrl-C; asyncio raises it out of the loop, not in `go`
        for path in opened:
            say(f"stopped at once; continue with: azr train --resume {path}")
        raise


async def _train(
    config: Config,
    run: RunDirectory,
    parts: TrainingParts,
    trackers: Mapping[str, Tracker],
    leader: Leader | None,
    console: Console,
) -> tuple[Training, State]:
    """The loop, with its screen and its trackers, from the run's last checkpoint on."""
    from azr.train.screen import make_screen
    from azr.train.trackers.feed import Feed
    from azr.train.training import Training

    screen = make_screen(config.steps, console)
    with run, screen, Feed(trackers, config, run.path, screen.say) as feed:
        training = Training(config, run, parts, screen, feed)
        if leader:
            leader.guard(training.ask_to_stop)
        return training, await training.run()


@asynccontextmanager
async def open_parts(config: Config, ranks: Ranks | None = None) -> AsyncIterator[TrainingParts]:
    """The parts of a run. On exit, the sandbox and the connections to servers are closed.

    Args:
        config: of the run.
        ranks: that learn together; None: this process alone.

    Raises:
        UserError: see `make_parts`.
    """
    from azr.train.training import TrainingParts

    sandbox = make_sandbox(**config.sandbox.choice)
    try:
        if config.model.hosted:
            from azr.train.hosted import hosted_parts

            async with hosted_parts(config, sandbox) as parts:
                yield parts
            return
        if config.model.served is None:
            async with AsyncExitStack() as stack:
                parts = make_parts(config, sandbox, ranks)
                if isinstance(parts.generator, AbstractAsyncContextManager):
                    await stack.enter_async_context(parts.generator)
                yield parts
            return
        from azr.rollout.endpoint import EndpointGenerator

        domain = registry.make_domain(config.domain, config.sandbox)
        async with EndpointGenerator(config.model, chat=config.domain.style == "chat", seed=config.seed) as generator:
            yield TrainingParts(domain, generator, sandbox, generator.render, learner=None, export=None)
    finally:
        await sandbox.close()


def load_policy(config: Config, *, processes: int = 1) -> LanguageModel:
    """Load the model of a run, and set the number of threads that torch computes with.

    Args:
        config: of the run.
        processes: that share this machine's cores.

    Raises:
        UserError: the model cannot be loaded.
    """
    import torch

    from azr.models.load import load_model

    policy = load_model(config.model.model_copy(update={"name": shipped.resolve(config.model.name)}))
    torch.set_num_threads(config.threads or max(1, threads(policy.model.num_parameters()) // processes))
    return policy


def make_parts(config: Config, sandbox: Sandbox, ranks: Ranks | None = None) -> TrainingParts:
    """Load the model, and build domain, generator and, with `selfplay.learn`, the learner.

    Raises:
        UserError: the model cannot be loaded, or its context is too short for the configured lengths.
    """
    from azr.export.model_card import write_card
    from azr.train.training import TrainingParts

    policy = load_policy(config, processes=ranks.local_size if ranks else 1)
    check_lengths(config, policy.context_length)

    def export(folder: Path, summary: Any) -> None:
        policy.export(folder)
        write_card(folder, config, summary)

    return TrainingParts(
        domain=registry.make_domain(config.domain, config.sandbox),
        generator=make_generator(config, policy, ranks),
        learner=make_learner(config, policy, ranks) if config.selfplay.learn else None,
        sandbox=sandbox,
        render=policy.renderer(chat=config.domain.style == "chat"),
        export=export if config.selfplay.learn else None,
    )


def make_generator(config: Config, policy: LanguageModel, ranks: Ranks | None = None) -> Generator:
    """The generator of a run whose model is in this process. Ranks that hold the whole model share its rows."""
    from azr.rollout.local.generator import LocalGenerator

    if config.generation.urls:
        from azr.train.serving import make_vllm_generator

        return make_vllm_generator(config, policy)
    peers = ranks if ranks is not None and shares_rollouts(config, ranks) else None
    return LocalGenerator(policy, config.generation, seed=config.seed, ranks=peers)


def shares_rollouts(config: Config, ranks: Ranks) -> bool:
    """Whether all ranks sample: if each holds the whole model, and no server samples instead."""
    return ranks.size > 1 and not ranks.sharded and not config.generation.urls


def make_learner(config: Config, policy: LanguageModel, ranks: Ranks | None = None) -> PolicyLearner:
    """The learner of a run."""
    from azr.learn.learner import PolicyLearner

    return PolicyLearner(
        policy,
        config.learner,
        config.algorithm,
        temperature=config.generation.temperature,
        total_steps=config.steps,
        seed=config.seed,
        ranks=ranks,
    )


def check_lengths(config: Config, context: int | None) -> None:
    """Refuse lengths that the model's context does not hold.

    Raises:
        UserError: the longest prompt and the longest answer come to more tokens than `context`; None is no limit.
    """
    generation = config.generation
    longest = generation.max_prompt_tokens + max(generation.max_propose_tokens, generation.max_solve_tokens)
    if context is not None and longest > context:
        raise UserError(
            f"model {config.model.name} holds {context} tokens, but generation.max_prompt_tokens and the longest answer"
            f" come to {longest}; lower generation.max_prompt_tokens, max_propose_tokens or max_solve_tokens"
        )
