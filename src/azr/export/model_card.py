"""The model card of an exported model: where it comes from, how it was trained, and what was measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from azr import __version__
from azr.analysis.held_out import gain_lines
from azr.config import Config
from azr.settings import dump

_CARD = """\
---
library_name: transformers
pipeline_tag: text-generation
base_model: {base}
tags:
- reinforcement-learning
- absolute-zero
- azr
---

# {base}, trained by self-play

This model proposed reasoning tasks to itself, had them checked by execution, solved them, and learnt from both
(Absolute Zero, arXiv 2505.03335), with azr {version}: {steps} steps, domain {domain}, kinds {kinds}. No human-written
task or answer was used.

## Held-out accuracy
{accuracy}

## Use
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
```
It was trained on prompts in the style `{style}` of azr's {domain} domain and expects them.

## Configuration
```toml
{config}```
"""


def write_card(folder: Path, config: Config, summary: Mapping[str, Any]) -> None:
    """Write README.md into the folder of an exported model.

    `summary` has `steps`, and as `before` and `after` values of `held_out` in metrics.jsonl; empty if not evaluated.
    """
    before, after = summary["before"], summary["after"]
    measured = "\n".join(gain_lines(before, after)) if before and after else ""
    measured = f"Temperature 0, untrained -> trained:\n\n```\n{measured}\n```" if measured else ""
    name = config.model.hosted or config.model.name
    card = _CARD.format(
        base=Path(name).name if Path(name).is_dir() else name,  # the hub finds a model by its owner's name too
        version=__version__,
        steps=summary["steps"],
        domain=config.domain.name,
        kinds=", ".join(config.domain.kinds),
        accuracy=measured or "Not measured in this run.",
        style=config.domain.style,
        config=dump(config),
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
