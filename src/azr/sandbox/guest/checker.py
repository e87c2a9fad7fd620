"""The checker: a jailed process that parses and compiles programs for other processes and runs none of them.

Parsing a program costs a child more than running it, mostly because the parser writes to pages, which are then copied.
This process stays, so its pages are its own. The host passes its marshalled results to children without reading them.

A child does all the work if its result might differ: for programs close to the compiler's limits, inputs that need more
memory than this process has, and sets, whose order marshalling can change; likewise if a job kills the checker or keeps
it busy. The child then works under the limits of its job.
"""

from __future__ import annotations

import gc
import marshal
import resource
import types
import warnings
from collections.abc import Iterator
from typing import Any

from azr.sandbox.guest.preload import LEAN
from azr.sandbox.guest.process import read_exactly, write_all
from azr.sandbox.guest.running import describe, failure
from azr.sandbox.guest.wire import FINAL, FULL, HEADER, LENGTH, NONCE_BYTES, WHOLE, pack_outcome, unpack_job
from azr.sandbox.guest.wire import LEAN as FOR_LEAN
from azr.sandbox.guest.worker import REFUSALS, arguments, checked, imported_modules, may_import, outcomes, plain_imports

_LARGEST = 2**20
"""The longest answer. A child handles a program that becomes larger when compiled, under the limits of its job."""

MEMORY_BYTES = 256 * 2**20
_GARBAGE = 50_000
"""New objects between two collections: a syntax tree has thousands and no cycles, so looking there is time lost."""

_REQUESTS = 10_000  # after this many the process ends and is replaced, so that leftovers in memory do not accumulate


def serve(jobs: int, results: int, address_space: int) -> None:
    """Answer requests from one descriptor, in the format of jobs, on the other, framed like a child's outcomes.

    `address_space` is that of this process so far, in bytes.
    """
    memory = address_space + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    warnings.simplefilter("ignore")  # a SyntaxWarning would have it look for the program's file
    gc.freeze()
    gc.set_threshold(_GARBAGE)
    for _ in range(_REQUESTS):
        header = read_exactly(jobs, NONCE_BYTES + LENGTH.size)
        if not header:
            return
        body = read_exactly(jobs, LENGTH.unpack_from(header, NONCE_BYTES)[0])
        try:
            answer = prepare(unpack_job(body))
        except (MemoryError, RecursionError, OverflowError, ValueError):
            answer = WHOLE
        frame = header[:NONCE_BYTES] + (answer if len(answer) <= _LARGEST else WHOLE)
        write_all(results, HEADER.pack(0, len(frame), 0.0) + frame)


def prepare(request: dict[str, Any]) -> bytes:
    """Do the part of a request that does not run the program; return one of the letters of `wire.py` and its content.

    Raises:
        MemoryError: too much for this process, as are RecursionError and ValueError; a child does all the work.
    """
    if request["mode"] == "literal":
        records = list(outcomes(request))
        return WHOLE if any(map(_lacks_memory, records)) else FINAL + b"".join(map(pack_outcome, records))
    try:
        code = checked(request)
    except REFUSALS as error:
        code = failure("syntax", describe(error))
    if isinstance(code, dict):
        return FINAL + pack_outcome(code) * len(request["inputs"])
    inputs = arguments(request)
    program = request["program"]
    imports = may_import(program)
    if any(map(_lacks_memory, inputs)) or any(map(_holds_set, _constants(code))) or any(map(_holds_set, inputs)):
        return WHOLE
    lean = not imports or LEAN.issuperset(plain_imports(program) or imported_modules(program))
    return (FOR_LEAN if lean else FULL) + marshal.dumps((code, inputs))


def _lacks_memory(made: object) -> bool:
    """Whether this process had too little memory for an input; a child has as much as its job."""
    return type(made) is dict and made["reason"] == "memory"


# --- sets --------------------------------------------------------------------------------------------------------
#
# Marshalling sorts a set's elements. Where hashes collide, a set has the order of insertion, so `list({8, 0, 16})`
# would change: the compiler makes a frozenset constant of a display of three or more constants. What survives depends
# on hash seeds, of which the zygotes have two, and on the interpreter's version. So no set is ever marshalled. Few
# programs have one: 2 of the 1,938 of HumanEval, MBPP and CRUXEval.


def _constants(code: types.CodeType) -> Iterator[object]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _constants(constant)
        else:
            yield constant


def _holds_set(value: object) -> bool:
    kind = type(value)
    if kind is list or kind is tuple:
        return any(map(_holds_set, value))  # type: ignore[call-overload]
    if kind is dict:
        return any(map(_holds_set, value)) or any(map(_holds_set, value.values()))  # type: ignore[attr-defined,call-overload]
    return kind is frozenset or kind is set
