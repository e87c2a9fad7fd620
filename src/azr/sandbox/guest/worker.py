"""The code beside the program, inside the child or the container: check it, run it, and write its values as text.

It makes nothing safe by itself: the jail around the process does. It never sees an answer key, so all that a program
can forge is what it could have returned.
"""

from __future__ import annotations

import ast
import builtins
import marshal
import re
import types
from _sitebuiltins import Quitter
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from azr.sandbox.guest.canonical import (
    NotLiteralError,
    TooLargeError,
    UnsupportedError,
    call_arguments,
    canonical,
    literal,
)
from azr.sandbox.guest.running import (
    TO_CALL,
    TO_MODULE,
    Record,
    describe,
    failure,
    frames_below,
    run_module,
    success,
    tried,
)
from azr.sandbox.guest.script import outcomes as script_outcomes

for _name in ("exit", "quit"):  # left out by -S, and there in every other interpreter
    if not hasattr(builtins, _name):
        setattr(builtins, _name, Quitter(_name, "Ctrl-D (i.e. EOF)"))


def outcomes(request: dict[str, Any]) -> Iterator[Record]:
    """Run one program on its inputs.

    Args:
        request: `program`, `inputs`, `entry`, `mode`, `forbidden_modules`, `program_bytes`, `output_bytes`, `depth` and
            `memory_bytes`, each as in `azr.sandbox.base`; or what `wire.unpack_job` makes of a checker's work.

    Yields:
        one record per input, in order and as soon as it is known, so that a later death of the process does not lose
        it. Whatever else the program does is a record.
    """
    if "ready" in request:
        code, inputs = marshal.loads(request["ready"])
        if request["second"] and len(inputs) > 1:
            inputs = [inputs[number] for number in second_order(len(inputs))]
        return _run(code, inputs, request)
    if request["mode"] == "literal":
        return (_literal_outcome(text, request) for text in request["inputs"])
    code = _compiled(request)
    if isinstance(code, dict):
        return iter([code] * len(request["inputs"]))
    return _run(code, arguments(request), request)


def second_order(count: int) -> list[int]:
    """Return the order of inputs in the second process of a determinism pair, by their numbers in the first.

    It is backwards, and the middle one of an odd number, which would keep its place, comes first. So no input has as
    many before it as in the first process, unless there is only one.
    """
    backwards = list(range(count))[::-1]
    if count % 2:
        backwards.insert(0, backwards.pop(count // 2))
    return backwards


def _run(code: types.CodeType, inputs: list[Any], request: dict[str, Any]) -> Iterator[Record]:
    """Run a program that passed the checks on the `arguments` of its inputs."""
    if request["mode"] == "script":
        return script_outcomes(code, inputs, request)
    return _call_outcomes(code, inputs, request)


# --- before the program runs -------------------------------------------------------------------------------------


def _compiled(request: dict[str, Any]) -> types.CodeType | Record:
    """Compile the program, or say why it may not run."""
    try:
        return checked(request)
    except MemoryError as error:
        # CPython also raises this for a program that is nested too deeply for its parser.
        if utf8_bytes(request["program"]) * _COMPILER_BYTES > request["memory_bytes"]:
            return failure("memory", "MemoryError while the program was compiled")
        return failure("syntax", describe(error))
    except (*REFUSALS, RecursionError) as error:  # RecursionError: nested too deeply for the compiler
        return failure("syntax", describe(error))


_COMPILER_BYTES = 4096
"""More memory than compiling takes per byte of a program. The most measured was 710, for many short statements."""


REFUSALS = (SyntaxError, ValueError, OverflowError)
"""What the compiler raises for text that is not a program. ValueError: null bytes."""


def checked(request: dict[str, Any]) -> types.CodeType | Record:
    """Compile the program and check it against the policy; return a record if it violates the policy.

    Raises:
        SyntaxError: it is not a program; so do the other `REFUSALS`, RecursionError and MemoryError.
    """
    program: str = request["program"]
    too_long = excess(program, request["program_bytes"])
    if too_long:
        return failure("forbidden", too_long)
    code = compile(program, "<program>", "exec", dont_inherit=True)
    # A program that cannot import needs no tree: parsing it a second time costs as much as running it.
    if request["forbidden_modules"] and may_import(program):
        forbidden = frozenset(request["forbidden_modules"])
        suspects = plain_imports(program)
        if suspects is None or any(name.partition(".")[0] in forbidden for name in suspects):
            for name in imported_modules(program):
                if name.partition(".")[0] in forbidden:
                    return failure("forbidden", f"the program imports {name}"[:200])
    return code


def excess(program: str, program_bytes: int) -> str:
    """Say that a program is too long; empty if it is not."""
    size = utf8_bytes(program)
    return f"the program has {size} bytes, {program_bytes} are allowed" if size > program_bytes else ""


def utf8_bytes(text: str) -> int:
    """Count the bytes of a text in UTF-8; a lone surrogate has three."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def may_import(program: str) -> bool:
    """Whether a program may import: it has the word, or characters that Python may normalise to it."""
    return "import" in program or not program.isascii()


def plain_imports(program: str) -> list[str] | None:
    """Find the modules that a program imports without parsing it, if every import has a line of its own.

    Returns:
        all of their names, and perhaps some that only stand in a string; None if it takes a syntax tree to tell.
    """
    if not program.isascii():
        return None
    found = _IMPORT_LINE.findall(program)
    if len(found) != program.count("import"):
        return None
    return [name for origin, names in found for name in (origin or names).replace(" ", "").split(",")]


_IMPORT_LINE = re.compile(
    r"^[ \t]*(?:from +([\w.]+) +import\b|import +([\w.]+(?: *, *[\w.]+)*) *(?:#.*)?$)", re.MULTILINE
)
"""A line that imports modules by their full names."""


@lru_cache(maxsize=1)  # asked twice for one program by a checker, once by a child
def imported_modules(program: str) -> tuple[str, ...]:
    """Find the modules that a program imports in any form; "" stands for a name that is computed."""
    tree = ast.parse(program)
    # Of all imports only calls can stand within an expression, and most of a tree is expressions.
    calls = not program.isascii() or any(name in program for name in _IMPORTERS)
    return tuple(name for node in (ast.walk if calls else _statements)(tree) for name in _imports_of(node))


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for field in ("body", "orelse", "handlers", "finalbody", "cases"):
            waiting += getattr(node, field, ())


def _imports_of(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Call):
        names: list[Any] = []
        match node:
            case ast.Import(names=aliases):
                names = [alias.name for alias in aliases]
            case ast.ImportFrom(module=module, level=0):
                names = [module]
            case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called)) if called in _IMPORTERS:
                given = node.args[:1] + [keyword.value for keyword in node.keywords if keyword.arg == "name"]
                names = [argument.value if isinstance(argument, ast.Constant) else "" for argument in given]
        yield from (name for name in names if isinstance(name, str))


_IMPORTERS = frozenset({"__import__", "import_module"})


_NO_ROOM = "MemoryError while the input was read"

# --- running -----------------------------------------------------------------------------------------------------


def _literal_outcome(text: str, request: dict[str, Any]) -> Record:
    try:
        value = literal(text, depth=request["depth"])
    except NotLiteralError as error:
        return failure("bad_input", describe(error))
    except UnsupportedError as error:
        return failure("unsupported_value", describe(error))
    except MemoryError:
        return failure("memory", _NO_ROOM)
    return _value_outcome(value, request)


def _call_outcomes(code: types.CodeType, calls: list[Any], request: dict[str, Any]) -> Iterator[Record]:
    """Run the program once, then call its entry for each input."""
    module = types.ModuleType("program")
    broken: Record | None = None
    below = frames_below()
    if tuple in map(type, calls):
        broken, _ = tried(below + TO_MODULE, run_module, (code, module))
        if broken is None and not callable(module.__dict__.get(request["entry"])):
            broken = failure("no_entry", f"the program defines no function {request['entry']}"[:200])
    for call in calls:
        if isinstance(call, dict):
            yield call
        elif broken is not None:
            yield broken
        else:
            yield _call_outcome(module.__dict__[request["entry"]], call, request, below)


def arguments(request: dict[str, Any]) -> list[Any]:
    """Read the inputs: the arguments of each call, or the record of an invalid input; a script's stay text."""
    if request["mode"] == "script":
        return list(request["inputs"])
    return [_arguments(text, request["depth"]) for text in request["inputs"]]


def _arguments(text: str, depth: int) -> tuple[list[object], dict[str, object]] | Record:
    try:
        return call_arguments(text, depth=depth)
    except (NotLiteralError, UnsupportedError) as error:
        return failure("bad_input", describe(error))
    except MemoryError:
        return failure("memory", _NO_ROOM)


def _call_outcome(
    function: Callable[..., object], call: tuple[list[object], dict[str, object]], request: dict[str, Any], below: int
) -> Record:
    failed, value = tried(below + TO_CALL, function, *call)
    return failed or _value_outcome(value, request)


def _value_outcome(value: object, request: dict[str, Any]) -> Record:
    try:
        return success(canonical(value, output_bytes=request["output_bytes"], depth=request["depth"]))
    except UnsupportedError as error:
        return failure("unsupported_value", describe(error))
    except TooLargeError:
        return failure("output_too_large", f"the value's text has more than {request['output_bytes']} bytes")
    except MemoryError:
        return failure("memory", "MemoryError while the value was written")
