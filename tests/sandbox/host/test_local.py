"""The local backend as its users see it: outcomes, limits, determinism, recovery, and nothing left behind."""

import ast
import asyncio
import contextlib
import itertools
import os
import random
import signal
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azr.sandbox import Job, Limits, LocalSandbox, MemoSandbox, Mode, Policy, Reason, Sandbox, SandboxError
from azr.sandbox.guest.canonical import canonical
from tests.sandbox.test_hostile import came_of, descendants

BRIEF = Limits(wall_seconds=0.3)


async def outcomes(sandbox, program, *inputs, **changes):
    return [came_of(outcome) for outcome in await sandbox.run(Job(program, inputs or ("",), **changes))]


async def test_every_mode_gives_its_outcomes_in_order(jail):
    assert isinstance(jail, Sandbox)
    assert await outcomes(jail, "def g(x): return 6 / x", "3", "0", "y", entry="g") == [
        "2.0",
        "ZeroDivisionError",
        "bad_input",
    ]
    assert await outcomes(jail, "print(input()[::-1])", "abc", "", mode=Mode.SCRIPT) == ["cba\n", "EOFError"]
    assert await outcomes(jail, "", "{2,1}", "1+1", "1j", mode=Mode.LITERAL) == [
        "{1, 2}",
        "bad_input",
        "unsupported_value",
    ]
    assert await jail.run(Job("def f(): pass", ())) == ()


@pytest.mark.parametrize(("depth", "outcome"), [(996, "996"), (998, "998"), (999, "RecursionError")])
async def test_recursion_may_go_as_deep_as_in_a_script_of_its_own(jail, depth, outcome):
    """CPython allows 1000 frames: the module, and 999 calls of which the last is f(0)."""
    program = "def f(n): return 0 if n == 0 else 1 + f(n - 1)"
    assert await outcomes(jail, program, str(depth)) == [outcome]
    printed = await outcomes(jail, f"{program}\nprint(f({depth}))", mode=Mode.SCRIPT)
    assert printed == [outcome if "Error" in outcome else f"{outcome}\n"]


async def test_policy_is_kept(jail):
    policy = Policy(forbidden_modules=frozenset({"os"}), program_bytes=60)
    assert await outcomes(jail, "import os\ndef f(): return 1", policy=policy) == ["forbidden"]
    assert await outcomes(jail, "def f(): return 1" + " " * 60, policy=policy) == ["forbidden"]
    assert await outcomes(jail, "import re\ndef f(): return 1", policy=policy) == ["1"]


async def test_processor_time_is_limited_where_wall_time_is_not(jail):
    limits = Limits(wall_seconds=60, cpu_seconds=1)
    assert await outcomes(jail, "def f():\n while True: pass", limits=limits) == ["timeout"]


async def test_sleeping_does_not_escape_the_wall_clock(jail):
    assert await outcomes(jail, "import time\ndef f(x): time.sleep(x)", "0", "60", "0", limits=BRIEF) == [
        "None",
        "timeout",
        "timeout",
    ]


async def test_what_was_known_before_a_crash_is_kept(jail):
    program = "import os\ndef f(x): return x if x else os._exit(0)"
    assert await outcomes(jail, program, "1", "2", "0", "3") == ["1", "2", "crashed", "crashed"]


async def test_memory_counts_from_what_the_interpreter_takes(jail):
    program = "def f(n): return len(bytearray(n << 20))"
    limits = Limits(memory_bytes=64 * 2**20)
    assert await outcomes(jail, program, "48", "80", "16", limits=limits) == [str(48 << 20), "memory", str(16 << 20)]


@pytest.mark.parametrize("size", [1, 100, 60_000, 900_000])
async def test_values_up_to_the_limit_come_back_whole(jail, size):
    limits = Limits(output_bytes=size + 2)
    assert await outcomes(jail, "def f(n): return 'x' * n", str(size), str(size + 1), limits=limits) == [
        repr("x" * size),
        "output_too_large",
    ]


async def test_more_inputs_than_a_pipe_holds_are_run_in_several_children(jail):
    inputs = tuple(str(n) for n in range(150))
    found = await outcomes(jail, "def f(n): return str(n) * 4000", *inputs)
    assert found == [repr(text * 4000) if len(text) * 4000 + 2 <= 16384 else "output_too_large" for text in inputs]


@pytest.mark.parametrize("more", [1, 2])
async def test_no_input_is_alone_in_a_process_so_a_counter_is_never_deterministic(jail, more):
    program = "count = 0\ndef f():\n global count\n count += 1\n return count"
    limits = Limits(output_bytes=200_000)
    alone = await outcomes(jail, program, *[""] * 30, limits=limits)
    most = alone[1:].index("1") + 1  # how many inputs one process had
    assert 2 < most < 10
    found = await outcomes(jail, program, *[""] * (most + more), limits=limits, determinism=True)
    assert found == ["nondeterministic"] * (most + more)


async def test_memory_that_runs_out_while_a_program_is_compiled_is_no_syntax_error(jail):
    program = "def f(): return 1\n" + "with a: b\n" * 100_000
    limits = Limits(memory_bytes=64 * 2**20)
    assert await outcomes(jail, program, "", limits=limits, policy=Policy(program_bytes=2**21)) == ["memory"]


async def test_a_program_that_is_nested_too_deeply_is_a_syntax_error(jail):
    assert await outcomes(jail, "def f(): return " + "-" * 20_000 + "1", "") == ["syntax"]


async def test_processes_of_one_job_share_its_processor_time(jail):
    program = "import time\ndef f(n):\n while time.process_time() < n % 2 * 0.7: pass\n return n"
    limits = Limits(wall_seconds=60, cpu_seconds=2, output_bytes=900_000)  # each input has a process of its own
    inputs = [str(n) for n in range(12)]
    found = await outcomes(jail, program, *inputs, limits=limits)
    assert found[:4] == inputs[:4]
    assert found[8:] == ["timeout"] * 4
    first = found.index("timeout")
    assert found == inputs[:first] + ["timeout"] * (12 - first)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("while True: pass", "more than 3 s of processor time"),
        ("os._exit(7)", "the process ended itself with status 7"),
    ],
)
async def test_the_end_of_one_process_is_the_end_of_its_job(jail, body, detail):
    program = f"import os, time\ndef f(n):\n if n == 2:\n  {body}\n while time.process_time() < 1.2: pass\n return n"
    limits = Limits(wall_seconds=60, cpu_seconds=3, output_bytes=900_000)
    one, *others = await jail.run(Job(program, ("1", "2", "3", "4"), limits=limits))
    assert one.value == "1"
    assert [other.detail for other in others] == [detail] * 3


async def test_an_output_limit_beyond_a_pipe_is_refused_with_one_line(jail):
    with pytest.raises(SandboxError, match="output_bytes"):
        await jail.run(Job("def f(): pass", limits=Limits(output_bytes=2**21)))


async def test_large_programs_and_inputs_pass_through_the_pipe(jail):
    policy = Policy(program_bytes=2**20)
    program = "def f(x): return len(x)\n" + "# filler\n" * 50_000
    found = await asyncio.gather(
        *(outcomes(jail, program, repr("y" * 300_000 + str(n)), policy=policy) for n in range(6))
    )
    assert found == [["300001"]] * 6


@pytest.mark.parametrize(
    "program",
    [
        "def f(): return hash('text')",
        "def f(): return list({'a', 'b', 'c', 'd', 'e', 'f'})",
        "def f(): return id(object())",
        "import random\ndef f(): return random.random()",
        "import os\ndef f(): return os.getpid()",
        "import os\ndef f(): return os.urandom(4)",
        "import random\ndef f(): return random.SystemRandom().random()",
        "import threading\ndef f(): return threading.get_native_id()",
        "import threading\ndef f(): return threading.get_ident()",
        "import time\ndef f(): return time.time_ns()",
        "import time\ndef f(): return time.perf_counter_ns()",
        "class A: pass\ndef f(): return repr(A())",
        "def f(): raise type('E' + str(hash('x')), (Exception,), {})",
        "import uuid\ndef f(): return str(uuid.uuid4())",
    ],
)
async def test_two_processes_disagree_about_what_is_not_determined(jail, program):
    assert await outcomes(jail, program, determinism=True) == ["nondeterministic"]


@pytest.mark.parametrize("imports", ["", "import decimal\n", "s = {8, 0, 16}\n"])  # lean, full, all left to the child
async def test_inputs_in_another_order_show_state_that_is_kept_between_them(jail, imports):
    program = imports + "seen = []\ndef f(x):\n seen.append(x)\n return len(seen)"
    for inputs in (["1", "2"], ["1", "2", "3"], ["1"] * 5, ["1"] * 6):
        assert await outcomes(jail, program, *inputs, determinism=True) == ["nondeterministic"] * len(inputs)
    assert await outcomes(jail, "def f(x): return x", "1", "2", "3", determinism=True) == ["1", "2", "3"]


async def test_process_ids_of_a_pair_differ_however_many_programs_ran_before_in_either_process(jail):
    program = "import os\ndef f(): return os.getpid()"
    for others in (0, 1, 2, 5):
        await asyncio.gather(*(outcomes(jail, program) for _ in range(others)))
        pairs = await asyncio.gather(*(outcomes(jail, program, determinism=True) for _ in range(5)))
        assert pairs == [["nondeterministic"]] * 5


@pytest.mark.parametrize("call", ["os.uname().nodename", "platform.node()", "platform.uname().node"])
async def test_a_program_does_not_get_the_name_of_the_host(jail, call):
    assert await outcomes(jail, f"import os, platform\ndef f(): return {call}") == ["'sandbox'"]
    in_c = "import ctypes\ndef f(): return ctypes.CDLL(None).uname(ctypes.create_string_buffer(400))"
    assert await outcomes(jail, in_c) == ["-1"]


async def test_a_random_number_from_a_seed_is_determined(jail):
    program = "import random\ndef f(s):\n random.seed(s)\n return random.randint(0, 10**9)"
    expected = str(random.Random(3).randint(0, 10**9))
    assert await outcomes(jail, program, "3", determinism=True) == [expected]


async def test_a_death_in_either_process_counts_for_both(jail):
    program = "import os\ndef f(x): return x if x else os._exit(0)"
    assert await outcomes(jail, program, "1", "0", "2", determinism=True) == ["crashed"] * 3


async def test_single_runs_of_the_same_program_agree_though_they_draw_at_random(jail):
    program = "import random\ndef f(): return random.random(), hash('a')"
    assert len({str(await outcomes(jail, program)) for _ in range(5)}) == 1


NAMES = st.sampled_from(["a", "b", "c"])
LEAVES = (
    st.integers(-9, 9).map(str) | st.sampled_from(["1.5", "True", "None", "'xy'", "[1, 2]", "{'k': 3}", "()"]) | NAMES
)
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from("+ - * / // % ** < == in and or".split()), inner)
        | st.builds("{}[{}]".format, inner, inner)
        | st.builds(
            "{}({})".format, st.sampled_from(["len", "sorted", "int", "str", "set", "abs", "list", "float"]), inner
        )
        | st.builds("[{} for c in {}]".format, inner, inner)
    ),
    max_leaves=6,
)


@settings(max_examples=60)
@given(lines=st.lists(st.tuples(NAMES, EXPRESSIONS), min_size=1, max_size=5), result=EXPRESSIONS)
async def test_random_programs_give_what_cpython_gives(jail, lines, result):
    body = "".join(f"    {name} = {expression}\n" for name, expression in lines)
    program = f"def f(a, b, c):\n{body}    return {result}\n"
    namespace: dict = {}
    try:
        with warnings.catch_warnings(action="ignore"):  # such as "int is not subscriptable", an error under pytest
            exec(program, namespace)
        expected = canonical(namespace["f"](3, "xyz", [1, 2]), output_bytes=16384, depth=32)
    except Exception as error:
        expected = type(error).__name__
    if "**" not in program:  # powers of powers may take any time and space
        found = await outcomes(jail, program, "3, 'xyz', [1, 2]")
        assert found == [
            expected.replace("UnsupportedError", "unsupported_value").replace("TooLargeError", "output_too_large")
        ]


@settings(max_examples=40)
@given(written=st.binary(max_size=60), then=st.sampled_from(["return 1", "os._exit(0)", "os.abort()", "os.read(0, 1)"]))
async def test_any_bytes_from_a_child_are_an_outcome(jail, written, then):
    (outcome,) = await jail.run(Job(f"import os\ndef f():\n os.write(6, {written!r})\n {then}"))
    assert outcome.ok or outcome.reason in (Reason.TAMPERED, Reason.CRASHED, Reason.ERROR, Reason.MEMORY)
    assert await outcomes(jail, "def f(): return 5") == ["5"]


async def test_thousands_of_jobs_at_once_each_get_their_own_outcome_and_descriptors_stay_few(jail):
    before = len(os.listdir("/proc/self/fd"))
    jobs = [outcomes(jail, f"def f(x): return x * {n}", "3") for n in range(1500)]
    most = 0

    async def watch():
        nonlocal most
        while True:
            most = max(most, len(os.listdir("/proc/self/fd")))
            await asyncio.sleep(0.02)

    watcher = asyncio.create_task(watch())
    assert await asyncio.gather(*jobs) == [[str(3 * n)] for n in range(1500)]
    watcher.cancel()
    assert most <= before + 2


async def test_jobs_behind_one_that_is_killed_run_again(jail):
    sleeper = outcomes(jail, "import time\ndef f(): time.sleep(60)", limits=BRIEF)
    others = [outcomes(jail, "def f(x): return x", str(n)) for n in range(20)]
    assert await asyncio.gather(sleeper, *others) == [["timeout"], *([str(n)] for n in range(20))]


async def test_zygotes_killed_from_outside_are_replaced_and_their_jobs_run_again(jail):
    async def murder():
        for _ in range(3):
            await asyncio.sleep(0.4)
            zygotes = [zygote for fleet in jail._home._fleets.values() for zygote in fleet._zygotes]
            guards = [zygote._channels.process.pid for zygote in zygotes]
            for process in [*guards, *itertools.chain(*map(descendants, guards))]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    jobs = [outcomes(jail, "import time\ndef f(x):\n time.sleep(0.02)\n return x", str(n)) for n in range(60)]
    *found, _ = await asyncio.gather(*jobs, murder())
    assert found == [[str(n)] for n in range(60)]


async def test_a_caller_who_gives_up_leaves_the_sandbox_usable(jail):
    tasks = [asyncio.create_task(outcomes(jail, "import time\ndef f(): time.sleep(0.05)")) for _ in range(9)]
    await asyncio.sleep(0.02)
    for task in tasks:
        task.cancel()
    assert await outcomes(jail, "def f(): return 5") == ["5"]


class Counting:
    """Counts what it is asked, and answers in the manner of the real one."""

    def __init__(self, sandbox):
        self.sandbox, self.asked = sandbox, 0

    async def run(self, job):
        self.asked += 1
        return await self.sandbox.run(job)

    async def close(self):
        await self.sandbox.close()


async def test_a_job_that_is_remembered_is_not_run_again():
    counting = Counting(LocalSandbox(workers=1))
    memo = MemoSandbox(counting, entries=2)
    jobs = [Job(f"def f(): return {n}") for n in range(3)]
    for n in (0, 1, 0, 2, 0, 1):  # 1 is forgotten when 2 comes, as 0 was asked for later
        assert await memo.run(jobs[n]) == (await memo.run(jobs[n]))
    assert counting.asked == 4
    assert memo.misses == 4
    await memo.close()


async def test_outcomes_that_may_be_the_machines_are_not_remembered():
    counting = Counting(LocalSandbox(workers=1))
    memo = MemoSandbox(counting)
    job = Job("import time\ndef f(): time.sleep(60)", limits=BRIEF)
    await memo.run(job)
    await memo.run(job)
    assert counting.asked == 2
    await memo.close()


def test_canonical_values_are_literals_for_the_trusted_side_too():
    assert ast.literal_eval(canonical({"a": [1.5, None]}, output_bytes=99, depth=3)) == {"a": [1.5, None]}
