"""What the processes of the local backend do before the first program: import modules and rehearse."""

from __future__ import annotations

import importlib
import marshal
import os
import signal
import sys
from typing import Any

from azr.sandbox.guest.wire import LENGTH, NEEDS_FULL, pack_job, pack_outcome, unpack_job
from azr.sandbox.guest.worker import arguments, checked, outcomes

PRELOADED = (
    "abc array bisect calendar cmath collections.abc contextlib copy csv ctypes dataclasses datetime decimal enum"
    " fractions functools hashlib heapq inspect io itertools json math numbers operator pickle pprint queue random re"
    " statistics string struct textwrap threading time traceback types typing unicodedata uuid zlib"
    " _codecs_cn _codecs_hk _codecs_iso2022 _codecs_jp _codecs_kr _codecs_tw _multibytecodec"
    " _contextvars _opcode _posixsubprocess _socket binascii"
)
"""Imported once for all children of a full zygote. A C module that is not here cannot be loaded later: no new page is
executable. The last line has C modules that modules in Python need, such as base64."""

LEAN = frozenset(
    "bisect cmath collections collections.abc copy functools heapq itertools math operator re string typing".split()
)
"""Imported once for all children of a lean zygote: small modules that programs import often."""

_PROGRAMS = (
    ("""
def f(n: int):
    total = 1
    for i in range(n):
        if i % 3 == 0:
            total += i * 2
        else:
            total = (total * 5 - i) % 1000
    return total
""", "19"),
    ("""
def f(numbers, least=0):
    places = {}
    for place, number in enumerate(numbers):
        places.setdefault(number % 4, []).append(place)
    found = sorted(places.items(), key=lambda item: (-len(item[1]), item[0]))
    return [[key, sum(value), min(value)] for key, value in found if key > least][:3]
""", "[3, 1, 4, 1, 5, 9, 2, 6], least=-1"),
    ("""
import re
from collections import Counter
def f(text):
    counts = Counter(re.findall("[a-z]+", text.lower()))
    words = {word: "".join(chr(ord(letter) + count) for letter in word) for word, count in counts.items()}
    return {"words": sorted(words.values()), "longest": max(map(len, words)), "shown": f"{text!r}"}
""", "'Some words, some more'"),
    ("""
class Account:
    def __init__(self, amount):
        self.amount = amount
        self.log = []
    def take(self, amount):
        if amount > self.amount:
            raise ValueError(f"no {amount}")
        self.amount -= amount
        self.log.append((amount, self.amount))
def f(amounts, start):
    account = Account(start)
    for amount in amounts:
        try:
            account.take(amount)
        except ValueError as error:
            account.log.append((str(error), 1.5, {True, None}))
    return account.log, amounts[99]
""", "[3, 50, 2], 20"),
)  # fmt: skip
"""Typical programs, each with an input."""

_RUN = {
    "entry": "f",
    "mode": "call",
    "forbidden_modules": ("os",),
    "program_bytes": 10_000,
    "output_bytes": 10_000,
    "depth": 9,
    "memory_bytes": 2**28,
    "cpu_seconds": 9,
    "wall_seconds": 9.0,
}
_REHEARSALS = 20  # enough for the interpreter to treat the code as hot, and to finish rewriting it


def warm_up(kind: str, seed: int) -> None:
    """Import what programs use, and hide all traces of the host; the arguments are those of `zygote.main`."""
    os.environ.clear()
    os.umask(0o077)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The hooks of `random` and `threading` only cost time: each child has one thread and repeatable random numbers.
    os.register_at_fork = lambda **hooks: None
    sys.modules["_hashlib"] = None  # type: ignore[assignment]  # OpenSSL: many more pages to copy at each fork
    full = kind in ("full", "script")
    for name in PRELOADED.split() if full else sorted(LEAN):
        importlib.import_module(name)
    if full:
        sys.modules["random"].seed(seed)
    sys.path[:] = [os.path.dirname(os.__file__)]


def find_library_at(place: str) -> None:
    """Have imports, and tracebacks that show source, find the standard library at another path.

    Packages that are imported already keep the path of their modules (`encodings` of its codecs), and loaders the path
    of their source.
    """
    library = os.path.dirname(os.__file__)
    sys.path[:] = [place]
    for module in list(sys.modules.values()):
        paths = getattr(module, "__path__", None)
        if isinstance(paths, list):
            paths[:] = [path.replace(library, place, 1) if path.startswith(library) else path for path in paths]
        loader = getattr(module, "__loader__", None)
        path = getattr(loader, "path", None)
        if isinstance(path, str) and path.startswith(library):
            loader.path = path.replace(library, place, 1)  # type: ignore[union-attr]


def rehearse() -> None:
    """Run jobs of our own, so that whatever is created at first use is created once, and not in every child."""
    whole = [{**_RUN, "program": program, "inputs": (text, "g(1)")} for program, text in _PROGRAMS]
    ready = []
    for program, text in _PROGRAMS:
        request: dict[str, Any] = {**_RUN, "program": program, "inputs": (text,)}
        ready.append({**_RUN, "ready": marshal.dumps((checked(request), arguments(request))), "second": False})
    for job in map(pack_job, whole + ready * _REHEARSALS):
        for record in outcomes(unpack_job(job[LENGTH.size :])):
            pack_outcome(record)
    sys.modules.pop("program", None)


class Absent:
    """The only finder of a lean zygote: a program that asks for a missing module ends, and runs again in a full one."""

    leave = staticmethod(os._exit)

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> None:
        """End the process with `NEEDS_FULL`."""
        cls.leave(NEEDS_FULL)
