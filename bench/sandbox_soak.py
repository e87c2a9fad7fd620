"""A long run of the sandbox: does memory, the number of descriptors or the speed drift?

    python bench/sandbox_soak.py                        # 20,000 programs
    python bench/sandbox_soak.py --programs 1000000     # the whole

One program in a thousand kills itself, one in five thousand has to be killed by the clock. Prints one line for each
tenth; resident memory and processor time are of this process and of all that it started. On a machine that others use
too, the time that a program takes on the processor says more about drift than programs per second.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections import Counter

from processes import family, processor_seconds, resident_megabytes
from sandbox import programs

from azr.sandbox import Job, Limits, LocalSandbox

_AT_ONCE = 200
_LIMITS = Limits(wall_seconds=2.0)


def job(number: int, source: str, inputs: tuple[str, ...]) -> Job:
    if number % 5000 == 4999:
        source, inputs = "import time\ndef f(): time.sleep(60)", ("",)
    elif number % 1000 == 999:
        source, inputs = "import os\ndef f(): os._exit(1)", ("",)
    return Job(source, inputs[:1], determinism=number % 10 == 0, limits=_LIMITS)


async def soak(count: int) -> None:
    pool = programs(2000)
    sandbox = LocalSandbox()
    reasons: Counter[str] = Counter()
    await sandbox.run(Job("def f(): return 1", determinism=True))
    columns = "programs", "per second", "CPU µs each", "this MB", "all MB", "descriptors", "processes"
    print("".join(f"{column:>13}" for column in columns))
    done = 0
    while done < count:
        tenth = min(count - done, max(1, count // 10))
        start, spent = time.perf_counter(), processor_seconds(family())
        numbers = iter(range(done, done + tenth))

        async def run_some(numbers: object = numbers) -> None:
            for number in numbers:  # type: ignore[attr-defined]  # shared by all, so that each number is run once
                for outcome in await sandbox.run(job(number, *pool[number % len(pool)])):
                    reasons[outcome.reason or "value"] += 1

        await asyncio.gather(*(run_some() for _ in range(_AT_ONCE)))
        done += tenth
        speed, everyone = tenth / (time.perf_counter() - start), family()
        cost = (processor_seconds(everyone) - spent) / tenth * 1e6
        memory = f"{resident_megabytes([os.getpid()]):13.1f}{resident_megabytes(everyone):13.1f}"
        counts = f"{len(os.listdir('/proc/self/fd')):13}{len(everyone):13}"
        print(f"{done:13}{speed:13.0f}{cost:13.0f}{memory}{counts}", flush=True)
    await sandbox.close()
    print(", ".join(f"{reason} {number}" for reason, number in reasons.most_common()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--programs", type=int, default=20_000)
    asyncio.run(soak(parser.parse_args().programs))
