"""The guest's modules as one source text, for interpreters without azr: containers, remote servers, `-S`."""

import base64
import json
import zlib
from functools import cache
from importlib import resources

_MODULES = ("canonical", "process", "running", "wire", "bpf", "threads", "script", "worker", "child", "forkserver")
"""Of `azr.sandbox.guest`, in the order of their imports: each imports the standard library and those before it."""

_LOADER = """\
import base64, json, sys, types, zlib
sys.path[:] = [path for path in sys.path if path]
for name, source in json.loads(zlib.decompress(base64.b85decode('{packed}'))).items():
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, 'exec'), module.__dict__)
"""

RUN_ONE = "sys.modules['azr.sandbox.guest.child'].main()"  # entry: run the one job on standard input
SERVE = "sys.modules['azr.sandbox.guest.forkserver'].serve(sys.modules['azr.sandbox.guest.child'].run_job)"
"""Entry: fork a child for every job on standard input."""


@cache
def program(entry: str) -> str:
    """Return Python source that loads the far side's modules from itself, then runs `entry`: `RUN_ONE` or `SERVE`."""
    guest = resources.files("azr.sandbox.guest")
    sources = {f"azr.sandbox.guest.{name}": guest.joinpath(f"{name}.py").read_text("utf-8") for name in _MODULES}
    packed = base64.b85encode(zlib.compress(json.dumps(sources).encode(), 9)).decode("ascii")
    return _LOADER.format(packed=packed) + entry + "\n"
