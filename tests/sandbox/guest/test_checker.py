"""Programs that are checked beforehand give what they give when a child does it all; and who attacks the checker."""

import asyncio
import json
import marshal
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azr.sandbox import Job, Limits, Mode, Policy
from azr.sandbox.guest.checker import prepare, serve
from azr.sandbox.guest.wire import HEADER, NONCE_BYTES, pack_job
from azr.sandbox.guest.worker import outcomes as records_of
from azr.sandbox.guest.worker import second_order
from azr.sandbox.host.exchange import Stop
from tests.sandbox.host.test_local import EXPRESSIONS, NAMES, outcomes
from tests.sandbox.test_hostile import came_of

pytestmark = pytest.mark.filterwarnings("ignore::SyntaxWarning")


def request(program, *inputs, **changes):
    return {
        "program": program,
        "inputs": inputs,
        "entry": "f",
        "mode": "call",
        "forbidden_modules": ("os",),
        "program_bytes": 5000,
        "output_bytes": 1000,
        "depth": 8,
    } | changes


@pytest.mark.parametrize(
    ("program", "text", "letter"),
    [
        ("def f(x): return x", "1", b"L"),
        ("from collections import Counter\nimport math, re", "1", b"L"),
        ("import decimal", "1", b"F"),
        ("import collections.abc, importlib.util", "1", b"F"),
        ("def f(x): return __import__(x)", "'re'", b"F"),
        ("def f(x): return {1, 2}", "{3: 4}", b"L"),
        ("def f(x): return x in {1, 2}", "1", b"W"),
        ("def f(x): return (lambda: {1, 2, 3})()", "1", b"W"),
        ("def f(x):\n for y in {8, 0}: print(y)", "1", b"W"),
        ("x = [y for y in {8, 0}]", "1", b"W"),
        ("def f(x): return list(x)", "{8, 0}", b"W"),
        ("def f(x): return list(x)", "[(1, {'a': frozenset({8, 0})})]", b"W"),
        ("def f(:", "1", b"O"),
        ("import os", "1", b"O"),
        ("-" * 4000 + "1", "1", b"O"),
    ],
)
def test_what_a_checker_leaves_to_whom(program, text, letter):
    try:
        answer = prepare(request(program, text))
    except (RecursionError, MemoryError):
        answer = b"W"
    assert answer[:1] == letter or (program[0] == "-" and answer[:1] == b"W")


def test_a_program_that_is_refused_is_refused_for_each_input():
    one = prepare(request("import os", "1"))
    assert prepare(request("import os", "1", "2")) == one + one[1:]


@settings(max_examples=150)
@given(lines=st.lists(st.tuples(NAMES, EXPRESSIONS), min_size=1, max_size=4), result=EXPRESSIONS, second=st.booleans())
def test_a_program_made_ready_gives_what_its_text_gives(lines, result, second):
    body = "".join(f"    {name} = {expression}\n" for name, expression in lines)
    program = f"def f(a, b, c):\n{body}    return {result}\n"
    if "**" in program:  # powers of powers may take any time and space
        return
    whole = request(program, "3, 'xyz', [1, 2]", "1.5, b=-0.0, c={'k': (True,)}", "1", "g()")
    answer = prepare(whole)
    if answer[:1] == b"L":
        found = list(records_of(whole | {"ready": answer[1:], "second": second}))
        order = second_order(4) if second else range(4)
        assert found == [list(records_of(whole))[number] for number in order]


@settings(max_examples=40)
@given(lines=st.lists(st.tuples(NAMES, EXPRESSIONS), min_size=1, max_size=4), result=EXPRESSIONS)
async def test_random_programs_give_the_same_in_lean_and_full_zygotes(jail, lines, result):
    body = "".join(f"    {name} = {expression}\n" for name, expression in lines)
    # Before Python 3.12 the hash of None is an address.
    program = f"def f(a, b, c):\n{body}    return {result}, hash('a'), b is None or hash(b)\n"
    if "**" not in program:
        await same_in_both(jail, program, "3, 'xyz', [1, 2]")


@pytest.mark.parametrize(
    "program",
    [
        "def f(): return 'a\u20ac'.encode('cp1252'), b'\\xa4'.decode('iso8859_15')",
        "def f(): return '\u3042'.encode('euc_jp')",
        "def f(): return eval('__imp' + 'ort__(\"decimal\")').Decimal(1) / 3 == 0",
        "def f(): return getattr(__builtins__, '__imp' + 'ort__')('nowhere')",
        "import collections\ndef f(): return collections.abc.Sized.__name__, collections.OrderedDict(a=1)['a']",
        "import copy, re, string\ndef f(): return copy.deepcopy([re.sub('a', 'b', string.ascii_letters)])",
        "def f(n=0): return f(n + 1)",
        "def f(): raise UnicodeError",
    ],
)
async def test_programs_that_import_unseen_give_the_same_in_lean_and_full_zygotes(jail, program):
    await same_in_both(jail, program, "")


async def same_in_both(jail, program, text):
    in_full = f"{program}\ndef _(): import json\n"
    assert prepare(request(program, text, program_bytes=9999))[:1] == b"L"
    assert prepare(request(in_full, text, program_bytes=9999))[:1] == b"F"
    assert await outcomes(jail, program, text) == await outcomes(jail, in_full, text)


def test_modules_of_a_lean_zygote_have_all_that_they_have_in_a_full_one():
    code = (
        "import json, sys; from azr.sandbox.guest.preload import LEAN, warm_up; out = sys.stdout; warm_up(sys.argv[1], 1);"
        "out.write(json.dumps({name: sorted(vars(sys.modules[name])) for name in sorted(LEAN)}))"
    )
    source = str(Path(__file__).parents[3] / "src")
    lean, full = (
        json.loads(subprocess.check_output([sys.executable, "-s", "-c", code, kind], env={"PYTHONPATH": source}))
        for kind in ("lean", "full")
    )
    for name, names in full.items():
        assert set(names) - set(lean[name]) <= {"__warningregistry__"}, name


# --- the process -------------------------------------------------------------------------------------------------

NONCE = bytes(range(NONCE_BYTES))


@dataclass
class Served:
    """A checker in a process of its own, and no jail."""

    pid: int
    jobs: int
    results: int

    def ask(self, asked):
        os.write(self.jobs, NONCE + pack_job(asked))
        status, length, cpu_seconds = HEADER.unpack(self._read(HEADER.size))
        assert (status, cpu_seconds) == (0, 0)
        nonce, answer = self._read(NONCE_BYTES), self._read(length - NONCE_BYTES)
        assert nonce == NONCE
        return answer

    def _read(self, wanted):
        data = b""
        while len(data) < wanted:
            more = os.read(self.results, wanted - len(data))
            assert more, "the checker died"
            data += more
        return data


@pytest.fixture
def served():
    jobs, results = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(jobs[1])
            serve(jobs[0], results[1], ADDRESS_SPACE)
        finally:
            os._exit(0)
    os.close(jobs[0])
    os.close(results[1])
    yield Served(pid, jobs[1], results[0])
    os.close(jobs[1])
    assert os.waitpid(pid, 0)[1] == 0  # it ends with its jobs
    os.close(results[0])


ADDRESS_SPACE = 2**34
LIMITS = {"memory_bytes": 1, "cpu_seconds": 1, "wall_seconds": 1.0}


def test_a_checker_answers_one_after_the_other(served):
    assert served.ask(request("import os", "1", **LIMITS))[:1] == b"O"
    answer = served.ask(request("def f(x): return x", "[1]", **LIMITS))
    assert answer[:1] == b"L"
    code, inputs = marshal.loads(answer[1:])
    assert (code.co_name, inputs) == ("<module>", [([[1]], {})])


@pytest.mark.parametrize("program", ["x" + ".x" * 16_000, "x = '" + "a" * 2**20 + "'"])
def test_a_checker_leaves_what_is_too_deep_or_too_large_to_a_child_and_lives_on(served, program):
    assert served.ask(request(program, program_bytes=2**21, **LIMITS)) == b"W"
    assert served.ask(request("", "[1]", mode="literal", **LIMITS))[:1] == b"O"


def test_a_checkers_memory_is_limited(served):
    served.ask(request("", "1", mode="literal", **LIMITS))
    lines = Path(f"/proc/{served.pid}/limits").read_text().splitlines()
    (limit,) = [line.split()[3] for line in lines if line.startswith("Max address space")]
    assert int(limit) == ADDRESS_SPACE + 2**28


async def test_a_checker_holds_two_pipes_and_nothing_else_that_leads_anywhere(jail):
    await outcomes(jail, "def f(): return 1")
    links = open_files(jail._home._fleets["checker", 1]._zygotes[0]._channels.process.pid)
    assert sorted(number for number, link in links.items() if link.startswith("pipe:")) == [3, 4]
    # The folder of the standard library stays open where an ordinary user cannot walk its path.
    assert {link for link in links.values() if not link.startswith("pipe:")} <= {
        "/dev/null",
        os.path.dirname(os.__file__),
    }


def open_files(guard):
    """Give where each descriptor of a guard's one child leads."""
    (child,) = Path(f"/proc/{guard}/task/{guard}/children").read_text().split()
    return {int(link.name): os.readlink(link) for link in Path(f"/proc/{child}/fd").iterdir()}


MANY = "()," * 340_000
"""An input that takes more memory to read than a checker has."""


@pytest.mark.slow
async def test_what_a_checker_has_no_memory_for_is_right_in_a_child_that_has_it(jail):
    ample = Limits(memory_bytes=2**31, wall_seconds=120, cpu_seconds=120)
    assert await outcomes(jail, "def f(*x): return len(x)", MANY, limits=ample) == ["340000"]
    assert await outcomes(jail, "", f"[{MANY}]", mode=Mode.LITERAL, limits=ample) == ["output_too_large"]


async def test_an_input_that_a_child_has_no_memory_for_is_not_called_a_bad_one(jail):
    scarce = Limits(memory_bytes=64 * 2**20, wall_seconds=120, cpu_seconds=120)
    assert await outcomes(jail, "def f(*x): return len(x)", MANY, "1", limits=scarce) == ["memory", "1"]
    assert await outcomes(jail, "", f"[{MANY}]", mode=Mode.LITERAL, limits=scarce) == ["memory"]


# --- attacks on the checker, which others share ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("-" * 30_000 + "1", {"syntax", "no_entry", "crashed"}),
        ("(" * 15_000 + ")" * 15_000, {"syntax"}),
        ("x = " + "[" * 90 + "]" * 90 + "\ndef f(): return 1", {"1"}),
        ("def f(): return 1\n" + "x = (" + "1," * 12_000 + ")", {"1"}),
        ("f = " + "lambda: " * 3_000 + "1", {"syntax", "crashed", "unsupported_value"}),
        ("def f(): return 10**10**10", {"timeout", "memory"}),
        ("x = 'a' * 10**9\ndef f(): return 1", {"memory"}),
        ("x" + ".x" * 16_000, {"syntax", "crashed", "NameError"}),
    ],
)
async def test_a_text_made_to_hurt_the_checker_hurts_only_its_own_job(jail, program, expected):
    limits = Limits(wall_seconds=2, cpu_seconds=2)
    hurt = outcomes(jail, program, limits=limits)
    others = [outcomes(jail, "def f(x): return x", str(n)) for n in range(9)]
    found, *rest = await asyncio.gather(hurt, *others)
    assert set(found) <= expected
    assert rest == [[str(n)] for n in range(9)]


async def test_a_literal_that_takes_long_to_read_is_ended_by_its_jobs_clock(jail):
    assert await outcomes(jail, "", SLOW, mode=Mode.LITERAL, limits=Limits(wall_seconds=0.5)) == ["timeout"]
    assert await outcomes(jail, "", "[1]", mode=Mode.LITERAL) == ["[1]"]


@pytest.mark.slow
async def test_a_literal_that_takes_long_to_read_is_soon_left_to_a_child_with_limits_of_its_own(jail):
    limits = Limits(wall_seconds=10_000, cpu_seconds=1)
    async with asyncio.timeout(SLOW_SECONDS):
        assert await outcomes(jail, "", SLOW, mode=Mode.LITERAL, limits=limits) == ["timeout"]


async def test_what_a_checker_died_of_is_not_asked_of_another(jail):
    await outcomes(jail, "", "[1]", mode=Mode.LITERAL)
    checkers = jail._home._fleets["checker", 1]
    run = checkers.submit(pack_job(request("", SLOW, mode="literal", **LIMITS)), wall_seconds=60.0, cpu_seconds=60)
    await asyncio.sleep(0.2)
    os.kill(checkers._zygotes[0]._channels.process.pid, signal.SIGTERM)
    async with asyncio.timeout(SLOW_SECONDS):
        assert (await run).stop is Stop.LOST


SLOW, SLOW_SECONDS = "9" * 10_000_000, 240
"""Digits, and fewer seconds than it takes to read them as a number."""


async def test_a_checker_that_is_killed_is_replaced_and_its_jobs_are_done(jail):
    async def murder():
        for _ in range(3):
            await asyncio.sleep(0.05)
            for checker in jail._home._fleets["checker", 1]._zygotes:
                if checker._stands:  # one that is killed again and again before it stands is given up
                    os.kill(checker._channels.process.pid, signal.SIGTERM)

    jobs = [outcomes(jail, "def f(x): return x", str(n)) for n in range(200)]
    *found, _ = await asyncio.gather(*jobs, murder())
    assert found == [[str(n)] for n in range(200)]


async def test_checkers_that_have_answered_enough_are_replaced_unnoticed(jail):
    async def literal(n):
        return (await jail.run(Job("", (str(n),), mode=Mode.LITERAL)))[0].value

    first = jail._home._fleets["checker", 1]._zygotes[0]._channels.process.pid
    assert await asyncio.gather(*map(literal, range(10_100))) == [str(n) for n in range(10_100)]
    assert jail._home._fleets["checker", 1]._zygotes[0]._channels.process.pid != first


async def test_a_forged_wish_for_the_full_zygote_gains_nothing(jail):
    program = "def f(x):\n for c in object.__subclasses__():\n  if c.__name__ == '_wrap_close':\n"
    program += "   c.__init__.__globals__['_exit'](4)\n return x"
    assert await outcomes(jail, program, "7", "8") == ["crashed", "crashed"]


async def test_the_policy_holds_for_programs_that_are_checked(jail):
    policy = Policy(forbidden_modules=frozenset({"os"}))
    (outcome,) = await jail.run(Job("def f():\n if 0:\n  import os\n return 1", policy=policy))
    assert came_of(outcome) == "forbidden"
