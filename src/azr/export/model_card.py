"""The model card of an exported model: where it comes from, how it was trained, and what was measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from azr import __version__
from azr.analysis.held_out import gain_lines
from azr.config import Config
from azr.models import shipped
from azr.settings import dump

_CARD = """\
---
{header}
---

# {base}, trained by self-play

This model proposed reasoning tasks to itself, had them checked by execution, solved them, and learnt from both
(Absolute Zero, arXiv 2505.03335), with azr {version}: {steps} steps, domain {domain}, kinds {kinds}, algorithm
{algorithm}, seed {seed}. No human-written task or answer was used.

## Held-out accuracy
{accuracy}

## Use
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{address}")
tokenizer = AutoTokenizer.from_pretrained("{address}")
```
It was trained on prompts in the style `{style}` of azr's {domain} domain and expects them.

## Licence
{licence}

## Configuration
```toml
{config}```
"""


def write_card(folder: Path, config: Config, summary: Mapping[str, Any], repository: str | None = None) -> None:
    """Write README.md into the folder of an exported model.

    `summary` has `steps`, and as `before` and `after` values of `held_out` in metrics.jsonl; empty if not evaluated.
    `repository` is the model's name on the hub.
    """
    before, after = summary["before"], summary["after"]
    measured = "\n".join(gain_lines(before, after)) if before and after else ""
    measured = f"Temperature 0, untrained -> trained:\n\n```\n{measured}\n```" if measured else ""
    name = config.model.hosted or config.model.name
    base = Path(name).name if Path(name).is_dir() else name
    card = _CARD.format(
        header=_header(config, base, after if measured else {}),
        base=base,
        version=__version__,
        steps=summary["steps"],
        domain=config.domain.name,
        kinds=", ".join(config.domain.kinds),
        algorithm=config.algorithm.name,
        seed=config.seed,
        accuracy=measured or "Not measured in this run.",
        address=repository or "FOLDER",
        style=config.domain.style,
        licence=_licence(config, base),
        config=dump(config),
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


def _header(config: Config, base: str, after: Mapping[str, Any]) -> str:
    """The YAML header, by the hub's own code.

    A base that is not on the hub is not named, since the hub would link to somebody else's model of that name.
    """
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type="held-out",
            dataset_name=f"azr {config.domain.name}, held-out {kind}",
            metric_type="accuracy",
            metric_value=values["accuracy"],
        )
        for kind, values in after.get("kinds", {}).items()
    ]
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-generation",
        license="mit" if config.model.name in shipped.MODELS else None,
        base_model=base if _is_on_the_hub(config.model.name) else None,
        tags=["reinforcement-learning", "absolute-zero", "azr"],
        model_name=f"{base}, trained by self-play" if results else None,
        eval_results=results or None,
    )
    return str(data.to_yaml()).strip()


def _is_on_the_hub(name: str) -> bool:
    return name not in shipped.MODELS and not Path(name).is_dir()


def _licence(config: Config, base: str) -> str:
    if config.model.name in shipped.MODELS:
        return f"MIT, as azr and the `{base}` weights in it."
    return (
        f"No licence is stated, since that of `{base}` also holds for weights that were trained from it. Whoever"
        " publishes this model checks it and states it here."
    )
