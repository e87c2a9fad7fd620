"""Reads a benchmark's records from the publisher's file in a folder, or from the hub."""

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azr.errors import UserError
from azr.evals.problems import Benchmark, Problem
from azr.models.hub import unreachable

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Hub:
    """A data set on the Hugging Face hub."""

    path: str  # its name
    config: str | None = None  # its configuration, if it has several
    splits: Sequence[str] = ("test",)  # read one after the other, in this order
    files: Sequence[str] = ()  # its JSONL files, if it is to be read from them instead


def read(name: str, data: Path | None, files: Sequence[str], hub: Hub | None) -> list[Record]:
    """All records of a benchmark: those of the first of `files` that is in the folder `data`, or (None) the hub's.

    `hub` is None if the hub does not have the publisher's format.

    Raises:
        UserError: the file or the hub cannot be read.
    """
    if data is not None:
        for file in files:
            if (data / file).is_file():
                return read_file(data / file)
        raise UserError(f"--data {data}: no {' or '.join(files)} there, which {name} is read from")
    if hub is None:
        raise UserError(f"{name}: give --data, a folder with {' or '.join(files)}; the hub does not have this format")
    return _from_hub(name, hub)


def loader(
    name: str, files: Sequence[str], hub: Hub | None, problem: Callable[[Record], Problem]
) -> Callable[[Path | None], Benchmark]:
    """The loader of a benchmark with one problem per record; see `read` for the arguments."""

    def load(data: Path | None) -> Benchmark:
        return Benchmark(name, [problem(record) for record in read(name, data, files, hub)])

    return load


def read_file(path: Path) -> list[Record]:
    """Records of a JSONL file or a JSON array, gzipped or not.

    Raises:
        UserError: it cannot be read as either.
    """
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
        if text.lstrip().startswith("["):
            records: list[Record] = json.loads(text)
            return records
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def _from_hub(name: str, hub: Hub) -> list[Record]:
    try:
        import datasets
    except ImportError:
        raise UserError(f"{name}: the hub needs the extra: pip install 'azr[data]'; or give --data FOLDER") from None
    if (address := unreachable()) is not None:
        raise UserError(
            f"{name}: {address} cannot be reached; give --data FOLDER with its files, or set HF_HUB_OFFLINE=1 to take a"
            " copy that was downloaded before"
        )
    try:
        datasets.disable_progress_bars()
        if hub.files:
            urls = [f"hf://datasets/{hub.path}/{file}" for file in hub.files]
            return [dict(record) for record in datasets.load_dataset("json", data_files=urls, split="train")]
        parts = [datasets.load_dataset(hub.path, hub.config, split=split) for split in hub.splits]
        return [dict(record) for part in parts for record in part]
    except Exception as error:  # the library raises whatever its network stack does
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{name}: the hub has no answer ({reason}); give --data FOLDER with its files") from error
