"""The card of an exported dataset: YAML for the hub and `datasets`, and text for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from azr import __version__
from azr.config import Config
from azr.export.rows import PARTS, StepRows
from azr.settings import dump
from azr.types import Role

if TYPE_CHECKING:
    from datasets import Features

_CARD = """\
---
{header}
---

# What {model} set itself: {steps} steps of self-play

One model proposed reasoning tasks, a sandbox checked them and gave the true answers, the same model attempted them, and
it learnt from both (Absolute Zero, arXiv 2505.03335). This dataset is the record of that: every task that came of a
proposal, and every rollout with its verdict, reward and advantage. azr {version} wrote it from the run's events.

| | |
| --- | --- |
| model | `{model}` |
| domain | {domain}: {kinds} |
| algorithm | {algorithm} |
| seed | {seed} |
| steps | {steps} |

**Programs and answers were written by a language model, and nobody has read them all. Run none outside a sandbox.**
Tasks that were held out to measure the model are not in here. No licence is stated: whoever publishes the dataset
chooses one, and checks what the model's own licence says of its output.

## Statistics

{statistics}

Most frequent verdicts of proposals: {reasons}.

## Use

```python
from datasets import load_dataset

tasks = load_dataset("{address}", "tasks", split="train")
rollouts = load_dataset("{address}", "rollouts", split="train")
```

{columns}
## Configuration

```toml
{config}```
"""


@dataclass(slots=True)
class Tally:
    """Statistics of the rows, collected step by step."""

    steps: int = 0
    """The last step."""
    counts: Counter[tuple[str, str, bool]] = field(default_factory=Counter)
    """Rollouts by role, kind, and whether they passed."""
    tasks: Counter[str] = field(default_factory=Counter)
    """Tasks by kind."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Reasons of the verdicts on proposals."""

    def add(self, rows: StepRows) -> None:
        """Count a step."""
        self.tasks.update(task["kind"] for task in rows.tasks)
        for row in rows.rollouts.values():
            self.steps = max(self.steps, row["step"])
            if row["score"] is not None:
                self.counts[row["role"], row["kind"], row["score"] >= 1] += 1
                if row["role"] == Role.PROPOSE:
                    self.reasons[row["reason"]] += 1


def write_dataset_card(
    folder: Path,
    config: Config,
    features: Mapping[str, Features],
    sizes: Mapping[str, int],
    tally: Tally,
    address: str,
) -> None:
    """Write README.md into the folder of a dataset, whose files are complete.

    `features` and `sizes` are by part; `address` is what people give to `load_dataset`.
    """
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in tally.reasons.most_common(8))
    card = _CARD.format(
        header=_header(folder, config, features, sizes),
        model=Path(config.model.name).name,
        version=__version__,
        domain=config.domain.name,
        kinds=", ".join(config.domain.kinds),
        algorithm=config.algorithm.name,
        seed=config.seed,
        steps=tally.steps,
        statistics="\n".join(_statistics(tally)),
        reasons=reasons or "none yet",
        columns="\n".join(_columns()),
        config=dump(config),
        address=address,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


def _header(folder: Path, config: Config, features: Mapping[str, Features], sizes: Mapping[str, int]) -> str:
    """The YAML header, from the libraries' own code for datasets that are pushed to the hub."""
    from datasets import DatasetInfo, SplitDict, SplitInfo
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCardData

    infos, configs = DatasetInfosDict(), MetadataConfigs()
    for name, count in sizes.items():
        size = sum(file.stat().st_size for file in (folder / name).iterdir())
        split = SplitDict({"train": SplitInfo("train", num_bytes=size, num_examples=count)})
        infos[name] = DatasetInfo(features=features[name], splits=split, download_size=size, dataset_size=size)
        configs[name] = {"data_files": [{"split": "train", "path": f"{name}/*.parquet"}]}
    data = DatasetCardData(
        pretty_name=f"Self-play of {Path(config.model.name).name}",
        tags=["azr", "absolute-zero", "self-play", "reinforcement-learning", "synthetic"],
        task_categories=["text-generation"],
        size_categories=[_size(sum(sizes.values()))],
    )
    infos.to_dataset_card_data(data)
    configs.to_dataset_card_data(data)
    return str(data.to_yaml()).strip()


def _size(rows: int) -> str:
    """The hub's size category for a number of rows."""
    categories = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M")
    return categories[min(max(len(str(rows)) - 3, 0), 5)]


def _statistics(tally: Tally) -> Iterator[str]:
    yield "| kind | tasks | proposals | accepted | attempts | solved |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for kind in dict.fromkeys([*tally.tasks, *(kind for _, kind, _ in tally.counts)]):
        cells = [f"{tally.tasks[kind]:,}"]
        for role in (Role.PROPOSE, Role.SOLVE):
            passed, failed = tally.counts[role, kind, True], tally.counts[role, kind, False]
            whole = passed + failed
            cells += [f"{whole:,}", f"{passed / whole:.1%}" if whole else "-"]
        yield f"| {kind} | {' | '.join(cells)} |"


def _columns() -> Iterator[str]:
    for part, columns in PARTS.items():
        yield f"### `{part}`\n\n| column | type | meaning |\n| --- | --- | --- |"
        yield from (f"| `{name}` | {column.type} | {column.meaning} |" for name, column in columns.items())
        yield ""
