"""The far side of the sandbox as one text, for interpreters that have no azr: containers, remote servers, `-S`."""

from __future__ import annotations

import base64
import json
import zlib
from functools import cache
from importlib import resources

_MODULES = (
    *(
        "azr.sandbox.guest.canonical",
        "azr.sandbox.guest.running",
        "azr.sandbox.guest.wire",
        "azr.sandbox.guest.bpf",
        "azr.sandbox.guest.threads",
    ),
    *(
        "azr.sandbox.guest.script",
        "azr.sandbox.guest.worker",
        "azr.sandbox.guest.child",
        "azr.sandbox.guest.forkserver",
    ),
)
"""In the order of their imports; each imports the standard library and those before it."""

_LOADER = """\
import base64, json, sys, types, zlib
sys.path[:] = [path for path in sys.path if path]
for name, source in json.loads(zlib.decompress(base64.b85decode('{packed}'))).items():
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, 'exec'), module.__dict__)
"""

RUN_ONE = "sys.modules['azr.sandbox.guest.child'].main()"
"""Entry: run the one job that standard input holds."""

SERVE = "sys.modules['azr.sandbox.guest.forkserver'].serve(sys.modules['azr.sandbox.guest.child'].run_job)"
"""Entry: fork a child for every job that standard input holds."""


@cache
def program(entry: str) -> str:
    """Give Python source that loads the far side's modules from itself, then does `entry`.

    Args:
        entry: `RUN_ONE` or `SERVE`.
    """
    sources = {name: _source(name) for name in _MODULES}
    packed = base64.b85encode(zlib.compress(json.dumps(sources).encode(), 9)).decode("ascii")
    return _LOADER.format(packed=packed) + entry + "\n"


def _source(module: str) -> str:
    package, _, name = module.rpartition(".")
    return resources.files(package).joinpath(f"{name}.py").read_text("utf-8")
