"""Script mode: what a script is given, how it may end, and what its supervisor makes of that."""

from __future__ import annotations

import pytest

from azr.sandbox import Job, Limits, Mode, Sandbox
from tests.sandbox.test_hostile import came_of

LIMITS = Limits(wall_seconds=30, cpu_seconds=10, output_bytes=1000)


async def run(
    box: Sandbox, program: str, *inputs: str, limits: Limits = LIMITS, determinism: bool = False
) -> list[str]:
    job = Job(program, inputs or ("",), mode=Mode.SCRIPT, limits=limits, determinism=determinism)
    return [came_of(outcome) for outcome in await box.run(job)]


async def test_the_input_is_read_and_what_is_printed_is_the_value(box: Sandbox) -> None:
    assert await run(box, "print(int(input()) + 1)", "41", "x", "1\n2") == ["42\n", "ValueError", "2\n"]
    assert await run(box, "import sys\nsys.stdout.write(sys.stdin.read())", "aé\n b") == ["aé\n b"]


async def test_a_script_is_main_and_each_input_has_a_process_of_its_own(box: Sandbox) -> None:
    program = "try: n += 1\nexcept NameError: n = 1\nprint(n, __name__)\nimport builtins; builtins.n = 7"
    assert await run(box, program, "", "") == ["1 __main__\n"] * 2


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [
        ("sys.exit()", "1\n"),
        ("sys.exit(0)", "1\n"),
        ("exit(0)", "1\n"),
        ("os._exit(0)", ""),
        ("sys.exit(2)", "SystemExit"),
        ("sys.exit('no')", "SystemExit"),
        ("quit(1)", "SystemExit"),
        ("raise OSError", "OSError"),
        ("raise MemoryError", "memory"),
        ("os._exit(3)", "crashed"),
        ("os._exit(1)", "crashed"),
        ("os.abort()", "crashed"),
        ("sys.stdout.close()", "1\n"),
        ("sys.stdout = None", "1\n"),
        ("atexit.register(lambda: 1 / 0)", "1\n"),
        ("atexit.register(os._exit, 3)", "crashed"),
        ("threading.Thread(target=lambda: 1 / 0).start()", "1\n"),
        ("threading.Thread(target=lambda: (time.sleep(0.2), print(2))).start()", "1\n2\n"),
        ("threading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "1\n"),
    ],
)
async def test_how_a_script_ends(box: Sandbox, ending: str, outcome: str) -> None:
    assert await run(box, f"import atexit, os, sys, threading, time\nprint(1)\n{ending}") == [outcome]


async def test_the_error_is_described_as_in_a_call(box: Sandbox) -> None:
    job = Job("raise ValueError('a\\n\\x00b' + 'c' * 999)", ("",), mode=Mode.SCRIPT)
    (outcome,) = await box.run(job)
    assert outcome.detail == "a \\x00b" + "c" * 193


async def test_what_was_printed_before_an_error_is_no_value(box: Sandbox) -> None:
    assert await run(box, "print(1, flush=True)\n1 / 0") == ["ZeroDivisionError"]


async def test_a_crash_on_one_input_leaves_the_others(box: Sandbox) -> None:
    program = "import os\nif input() == '2': os.abort()\nprint('fine')"
    assert await run(box, program, "1", "2", "3") == ["fine\n", "crashed", "fine\n"]


async def test_a_crash_leaves_inputs_that_another_supervisor_gets(box: Sandbox) -> None:
    program = "import os\nif input() == '1': os.abort()\nprint('fine')"
    limits = Limits(wall_seconds=30, cpu_seconds=10, output_bytes=900_000)  # one at a time fits a pipe
    assert await run(box, program, "1", "2", "1", limits=limits) == ["crashed", "fine\n", "crashed"]


async def test_output_may_be_as_long_as_the_limit_and_no_longer(box: Sandbox) -> None:
    assert await run(box, "print('x' * int(input()))", "999", "1000", "100000") == [
        "x" * 999 + "\n",
        "output_too_large",
        "output_too_large",
    ]


async def test_too_much_output_is_no_value_even_if_the_script_carries_on(box: Sandbox) -> None:
    program = "while True:\n    try:\n        print('x' * 100)\n    except BaseException:\n        break\nprint('fine')"
    assert await run(box, program) == ["output_too_large"]


async def test_output_that_is_no_text_is_not_supported(box: Sandbox) -> None:
    assert await run(box, "import sys\nsys.stdout.buffer.write(b'\\xff')") == ["unsupported_value"]


async def test_processor_time_counts_for_all_inputs_together(box: Sandbox) -> None:
    program = "import time\nwhile time.process_time() < 0.7: pass\nprint('done')"
    found = await run(box, program, *[""] * 8, limits=Limits(wall_seconds=60, cpu_seconds=2))
    assert found[:2] == ["done\n"] * 2
    assert found[4:] == ["timeout"] * 4


async def test_the_clock_holds_for_all_inputs_together(box: Sandbox) -> None:
    program = "import time\ntime.sleep(float(input()))\nprint('up')"
    limits = Limits(wall_seconds=3, cpu_seconds=10)
    assert await run(box, program, "0", "60", "0", limits=limits) == ["up\n", "timeout", "timeout"]


async def test_the_memory_limit_holds(box: Sandbox) -> None:
    limits = Limits(wall_seconds=30, cpu_seconds=10, memory_bytes=128 * 2**20)
    assert await run(box, "print(len(bytearray(int(input()) << 20)))", "64", "256", limits=limits) == [
        f"{64 << 20}\n",
        "memory",
    ]


async def test_two_runs_of_a_script_disagree_about_what_is_not_determined(box: Sandbox) -> None:
    assert await run(box, "print(hash('text'))", determinism=True) == ["nondeterministic"]
    assert await run(box, "print(input())", "1", "2", determinism=True) == ["1\n", "2\n"]


async def test_a_script_finds_an_interpreter_with_arguments_of_its_own(box: Sandbox) -> None:
    assert await run(box, "import sys\nprint(sys.argv, __file__, sys.stdin.isatty())") == [
        "['main.py'] main.py False\n"
    ]


async def test_what_a_script_writes_into_its_input_no_later_one_sees(box: Sandbox) -> None:
    program = "import os\nos.write(0, b'forged')\nos.lseek(0, 0, 0)\nprint(os.read(0, 99))"
    assert await run(box, program, "one", "the second") == ["b'forged'\n", "b'forgedcond'\n"]


MODULES = """
abc argparse array ast asyncio atexit base64 binascii bisect builtins calendar cmath codecs collections collections.abc
concurrent.futures contextlib contextvars copy csv ctypes dataclasses datetime decimal difflib dis email.utils enum
errno fcntl fileinput fractions functools gc getopt getpass glob graphlib hashlib heapq hmac html http.client importlib
inspect io itertools json keyword linecache locale logging logging.handlers math mmap multiprocessing numbers operator optparse os os.path pathlib pdb pickle platform pprint profile pstats queue
random re resource sched secrets select selectors shelve shlex shutil signal socket socketserver statistics stat string
struct subprocess symtable sys sysconfig tempfile textwrap threading time timeit token tokenize traceback types typing
unicodedata unittest urllib.parse urllib.request uuid warnings weakref xml.sax.saxutils zlib
zoneinfo
""".split()
IMPORTS = f"""
import importlib
missing = []
for name in {MODULES!r}:
    try:
        importlib.import_module(name)
    except BaseException as error:
        missing.append((name, repr(error)))
"""


async def test_a_script_can_import_what_contestants_import(box: Sandbox) -> None:
    limits = Limits(wall_seconds=60, cpu_seconds=30)
    assert await run(box, IMPORTS + "print(missing)", limits=limits) == ["[]\n"]


async def test_a_function_can_import_what_contestants_import(box: Sandbox) -> None:
    limits = Limits(wall_seconds=60, cpu_seconds=30)
    (outcome,) = await box.run(Job(IMPORTS + "def f(): return missing", limits=limits))
    assert outcome.value == "[]"


@pytest.mark.parametrize("name", ["exit", "quit"])
async def test_a_call_that_exits_is_an_error(box: Sandbox, name: str) -> None:
    (outcome,) = await box.run(Job(f"def f(): {name}()"))
    assert outcome.error == "SystemExit"
