"""`azr export RUN --dataset FOLDER`: tasks and rollouts as Parquet files with a card, in the hub's layout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from azr.domains import registry
from azr.errors import UserError
from azr.export.dataset_card import Tally, write_dataset_card
from azr.export.model import new_folder
from azr.export.rows import PARTS, Column, Row, Rows
from azr.run.directory import EVENTS, SEED, RunDirectory, read_jsonl
from azr.run.log import TOKENS, Log
from azr.selfplay.buffer import task_from_json

if TYPE_CHECKING:
    from datasets import Features

ROW_GROUP = 2000
"""Rows per row group, which readers load into memory as a whole."""
FILE = "train-00000-of-00001.parquet"


def export_dataset(run: Path, to: Path, repository: str | None = None) -> dict[str, int]:
    """Write the tasks and rollouts of a run, which may still be training, to a new folder.

    The card names the `repository` on the hub, if there is one.

    Returns:
        number of rows by part, "tasks" and "rollouts".

    Raises:
        UserError: the run does not exist or is empty, the folder exists, or the extra `data` is missing.
    """
    features = {name: _features(columns) for name, columns in PARTS.items()}
    config = RunDirectory.open(run).config()
    seeds = map(task_from_json, read_jsonl(run / SEED) if (run / SEED).is_file() else ())
    rows = Rows(registry.make_domain(config.domain, config.sandbox), config.seed, seeds)
    tally = Tally()
    with new_folder(to) as folder:
        writers = {name: _Writer(folder / name, features[name]) for name in PARTS}
        for step in rows.steps(event for _, event in Log(run / EVENTS, skip=TOKENS).new()):
            tally.add(step)
            writers["tasks"].add(step.tasks)
            writers["rollouts"].add(step.rollouts.values())
        sizes = {name: writer.close() for name, writer in writers.items()}
        if not any(sizes.values()):
            raise UserError(f"{run}: no tasks or rollouts yet, so there is nothing to export")
        write_dataset_card(folder, config, features, sizes, tally, repository or "FOLDER_OR_NAME")
    return sizes


def _features(columns: Mapping[str, Column]) -> Features:
    try:
        from datasets import Features, Value
    except ImportError as error:
        raise UserError(f"--dataset needs the extra `data` ({error}): pip install 'azr[data]'") from error
    features = {}
    for name, column in columns.items():
        value = Value(column.type.strip("[]"))
        features[name] = [value] if column.type.startswith("[") else value
    return Features(features)


class _Writer:
    """Writes rows to a Parquet file in row groups."""

    def __init__(self, folder: Path, features: Features) -> None:
        import pyarrow.parquet

        folder.mkdir()
        self._schema = features.arrow_schema
        self._file = pyarrow.parquet.ParquetWriter(folder / FILE, self._schema)
        self._rows: list[Row] = []
        self._count = 0

    def add(self, rows: Iterable[Row]) -> None:
        self._rows += rows
        if len(self._rows) >= ROW_GROUP:
            self._flush()

    def close(self) -> int:
        """Write the rest; returns the file's number of rows."""
        self._flush()
        self._file.close()
        return self._count

    def _flush(self) -> None:
        import pyarrow

        self._file.write_table(pyarrow.Table.from_pylist(self._rows, schema=self._schema))
        self._count += len(self._rows)
        self._rows = []
