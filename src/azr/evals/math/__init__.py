"""Mathematics through lm-eval: its own tasks, and three tasks in its format in this folder."""

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from azr.errors import UserError
from azr.evals.harness import Settings
from azr.models.hub import unreachable

TASKS = {
    "aime24": "aime24",
    "aime25": "aime25",
    "amc23": "azr_amc23",
    "math500": "hendrycks_math500",
    "minerva": "azr_minerva",
    "olympiadbench": "azr_olympiadbench",
}
"""lm-eval's names, by the names on the command line."""


def run(
    source: str, task: str, settings: Settings, *, device: str, include: Path | None = None
) -> list[dict[str, Any]]:
    """Run a model on a task of lm-eval; returns its samples as the records of `azr.evals.harness`.

    `task` is lm-eval's name, and `include` a folder with further tasks. `settings.seconds` has no effect, and
    `settings.template` only decides whether the chat template is used, as lm-eval's tasks have their own prompts.

    Raises:
        UserError: lm-eval is missing, or the task's dataset or the model cannot be loaded.
    """
    results = [_evaluate(source, task, settings, settings.seed + at, device, include) for at in range(settings.samples)]
    return [_record(passes) for passes in zip(*results, strict=True)]


def _evaluate(
    source: str, task: str, settings: Settings, seed: int, device: str, include: Path | None
) -> list[dict[str, Any]]:
    """One sample per problem, in the order of the data set."""
    evaluator, manager = _lm_eval(include)
    if task not in manager.all_tasks:
        raise UserError(f"lm-eval has no task {task}")
    drawing: dict[str, Any] = {"do_sample": settings.temperature > 0}
    if settings.temperature > 0:
        drawing |= {"temperature": settings.temperature, "top_p": settings.top_p}
    seeds = ("random_seed", "numpy_random_seed", "torch_random_seed", "fewshot_random_seed")
    if include is None and (address := unreachable()) is not None:  # tasks in a folder may have their data there
        raise UserError(
            f"{task}: {address} cannot be reached, where lm-eval reads its data; set HF_HUB_OFFLINE=1 to use a"
            " downloaded copy"
        )
    try:
        found = evaluator.simple_evaluate(
            model="hf",
            model_args={"pretrained": source, "dtype": "auto"},
            tasks=[task],
            limit=settings.limit,
            device=device,
            batch_size=16,
            gen_kwargs={**drawing, "max_gen_toks": settings.max_tokens},
            apply_chat_template=settings.template == "chat",
            task_manager=manager,
            bootstrap_iters=0,
            **dict.fromkeys(seeds, seed),
        )
    except Exception as error:  # lm-eval and datasets raise whatever their network stacks do
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{task} on {source}: {reason} (lm-eval reads its data from the hub)") from error
    samples: list[dict[str, Any]] = found["samples"][task]
    return sorted(samples, key=lambda sample: sample["doc_id"])


def _lm_eval(include: Path | None) -> tuple[Any, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from huggingface_hub.utils import logging as hub_logging
            from lm_eval import evaluator
            from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise UserError(f"mathematics needs the extra ({error.name} is missing): pip install 'azr[math]'") from None
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    hub_logging.set_verbosity_error()
    folders = [str(resources.files("azr.evals.math")), *([str(include)] if include else [])]
    return evaluator, TaskManager(include_path=folders)


def _record(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    prompt = samples[0]["arguments"][0][0]
    return {
        "id": str(samples[0]["doc_id"]),
        "group": "",
        "prompt": prompt if isinstance(prompt, str) else json.dumps(prompt),
        "samples": [
            {
                "completion": sample["resps"][0][0],
                "tokens": None,
                "finished": True,
                "score": float(bool(sample["exact_match"])),
                "reason": "correct" if sample["exact_match"] else "wrong",
                "detail": "" if sample["exact_match"] else f"expected {sample['target']}"[:200],
            }
            for sample in samples
        ],
    }
