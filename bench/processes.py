"""What processes use, read from /proc: for the benchmarks that watch more than the clock."""

from __future__ import annotations

import os
import resource
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def children(processes: set[int]) -> set[int]:
    """Give the processes whose parent is one of these."""
    numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return {number for number in numbers if (fields := _stat(number)) and int(fields[1]) in processes}


def family() -> list[int]:
    """Give this process and all that stem from it."""
    found = {os.getpid()}
    while more := children(found) - found:
        found |= more
    return sorted(found)


def resident_megabytes(processes: list[int]) -> float:
    """Give the memory of processes, shared pages counted once for each that shares them."""
    total = 0
    for process in processes:
        try:
            total += int(Path(f"/proc/{process}/statm").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total * os.sysconf("SC_PAGESIZE") / 2**20


def processor_seconds(processes: list[int]) -> float:
    """Give the processor time of processes and of all whom they have buried; unlike the clock's, it is theirs alone."""
    fields = [fields for process in processes if (fields := _stat(process))]
    return sum(int(ticks) for process in fields for ticks in process[11:15]) / _TICKS


def own_processor_seconds() -> float:
    """Give the processor time of this process, finer than /proc has it, and without its children's."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _stat(process: int) -> list[str]:
    """Give the fields of /proc/PID/stat from the third on; none for a process that has gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
