"""The file of completions: resuming never loses what an earlier call wrote."""

from __future__ import annotations

import json
import resource
from contextlib import contextmanager

import pytest

from azr.errors import UserError
from azr.evals.harness import resume

HEADER = {"benchmark": "mbpp", "model": "m"}
RECORDS = [{"id": str(n), "samples": ["…" * n]} for n in range(5)]


@pytest.fixture
def path(tmp_path):
    """A file with five records."""
    path = tmp_path / "completions" / "m.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(line) + "\n" for line in [HEADER, *RECORDS]))
    return path


@contextmanager
def full_disk():
    """Limit the size of files to 0, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_new_file_gets_its_header(tmp_path):
    assert resume(tmp_path / "new" / "m.jsonl", HEADER) == []
    assert json.loads((tmp_path / "new" / "m.jsonl").read_text()) == HEADER


@pytest.mark.parametrize(("window", "total", "kept"), [(1, 5, 5), (2, 9, 4), (2, 5, 5), (8, 9, 0)])
def test_whole_windows_are_kept_byte_for_byte(path, window, total, kept):
    before = path.read_bytes()
    assert resume(path, HEADER, window=window, total=total) == RECORDS[:kept]
    assert path.read_bytes() == b"".join(before.splitlines(keepends=True)[: kept + 1])


def test_an_incomplete_last_line_is_removed(path):
    before = path.read_bytes()
    path.write_bytes(before[:-3])
    assert resume(path, HEADER, total=9) == RECORDS[:4]
    assert before.startswith(path.read_bytes())


def test_an_incomplete_header_is_written_again(path):
    path.write_bytes(path.read_bytes()[:9])
    assert resume(path, HEADER, total=9) == []
    assert json.loads(path.read_text()) == HEADER


@pytest.mark.parametrize("cut", [None, -3])
def test_a_full_disk_loses_nothing_that_was_written(path, cut):
    path.write_bytes(path.read_bytes()[:cut])
    with full_disk():
        found = resume(path, HEADER, total=9)
    assert found == (RECORDS if cut is None else RECORDS[:4])
    assert len(path.read_text().splitlines()) == 1 + len(found)


def test_a_file_with_another_header_is_left_as_it_is(path):
    before = path.read_bytes()
    with pytest.raises(UserError, match="made with model = m, now it is n"):
        resume(path, HEADER | {"model": "n"})
    assert path.read_bytes() == before
