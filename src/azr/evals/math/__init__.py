"""Mathematics through lm-eval: its own tasks, and three more in its own format in this folder."""

from __future__ import annotations

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
"""Names on the command line, and lm-eval's."""

METRIC = "exact_match"


def run(
    source: str,
    task: str,
    settings: Settings,
    *,
    device: str,
    include: Path | None = None,
) -> list[dict[str, Any]]:
    """Put a task of lm-eval to a model and give its samples as the records of `azr.evals.harness`.

    Args:
        source: folder or hub name of the model.
        task: lm-eval's name for it.
        settings: all but `seconds` is obeyed; `template` decides only whether the model's chat template is used, as
            lm-eval's tasks bring their own prompts.
        device: torch's name for it.
        include: folder with further tasks.

    Raises:
        UserError: lm-eval is missing, or the task's dataset or the model cannot be loaded.
    """
    results = [_evaluate(source, task, settings, settings.seed + at, device, include) for at in range(settings.samples)]
    return [_record(passes) for passes in zip(*results, strict=True)]


def _evaluate(
    source: str, task: str, settings: Settings, seed: int, device: str, include: Path | None
) -> list[dict[str, Any]]:
    """All samples of one pass, in the order of the data set."""
    evaluator, manager = _lm_eval(include)
    if task not in manager.all_tasks:
        raise UserError(f"lm-eval has no task {task}")
    arguments = {"pretrained": source, "dtype": "auto"}
    sampled = {"do_sample": True, "temperature": settings.temperature, "top_p": settings.top_p}
    drawing = sampled if settings.temperature > 0 else {"do_sample": False}
    if include is None and (address := unreachable()) is not None:  # tasks of a folder may have their data there
        raise UserError(
            f"{task}: {address} cannot be reached, where lm-eval reads its data; set HF_HUB_OFFLINE=1 to take a copy"
            " that was downloaded before"
        )
    try:
        found = evaluator.simple_evaluate(
            model="hf",
            model_args=arguments,
            tasks=[task],
            limit=settings.limit,
            device=device,
            batch_size=16,
            gen_kwargs={**drawing, "max_gen_toks": settings.max_tokens},
            apply_chat_template=settings.template == "chat",
            task_manager=manager,
            bootstrap_iters=0,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
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
    """One problem, answered once in each pass."""
    first = samples[0]
    prompt = first["arguments"][0][0]
    return {
        "id": str(first["doc_id"]),
        "group": "",
        "prompt": prompt if isinstance(prompt, str) else json.dumps(prompt),
        "samples": [_sample(sample) for sample in samples],
    }


def _sample(sample: Mapping[str, Any]) -> dict[str, Any]:
    right = bool(sample[METRIC])
    return {
        "completion": sample["resps"][0][0],
        "tokens": None,
        "finished": True,
        "score": float(right),
        "reason": "correct" if right else "wrong",
        "detail": "" if right else f"expected {sample['target']}"[:200],
    }
