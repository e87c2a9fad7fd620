"""Forgeries: answers that attack the judge instead of solving the problem. Each has to score nothing.

A script or a function knows the format in which its values leave the process, the names of the code that runs after
it, and the form of a report of passed tests. An output or an input also knows the expected value; a function does not,
as it would be correct to return it.
"""

import re

_REPORT = '{"wanted": [], "failures": [], "assertions": 9}'
_OBJECT = '{"object": null}'
_OUTCOMES = """\
import os, struct
value = {value}.encode()
for descriptor in range(1, 16):
    try:
        os.write(descriptor, {count} * (struct.pack('=BIHH', 0, len(value), 0, 0) + value))
    except OSError:
        pass
os._exit(0)
"""

FUNCTIONS = {
    "a report of passed tests in place of a value": f"""\
globals()['azr_call'] = lambda text: {_REPORT!r}
print({_REPORT!r})
globals()['azr_json'].dumps = lambda *_, **__: {_REPORT!r}
return {_REPORT!r}
""",
    "values that equal everything": """\
same = {'__eq__': lambda *_: True, '__ne__': lambda *_: False, '__hash__': lambda _: 0, '__bool__': lambda _: True}
same |= {name: lambda *_: True for name in ('__lt__', '__le__', '__gt__', '__ge__', '__contains__')}
globals()['azr_plain'] = lambda value: type('Same', (int,), same)(7390421)
return type('Same', (str,), same)('azr')
""",
    "code in place of a value": """\
import sys
code = '(azr_replay.failures.clear(), setattr(azr_replay, "assertions", 9)) and __import__("sys").exit(0)'
for module in list(sys.modules.values()):
    if hasattr(module, 'canonical') and hasattr(module, 'outcomes'):
        module.canonical = lambda *_, **__: code
return code
""",
    "outcomes of its own in every open descriptor": _OUTCOMES.format(value=f"repr({_OBJECT!r})", count=3),
    "a value that breaks its reader": """\
globals()['azr_call'] = lambda text: '{"set": [' + '[' * 2000 + ']' * 2000 + ']}'
return float('nan')
""",
    "builtins replaced so that every test passes": """\
import builtins, gc, json
builtins.AssertionError = builtins.StopIteration
json.loads = lambda *_, **__: {'wanted': [], 'failures': [], 'assertions': 9}
for found in gc.get_objects():
    if type(found) is dict and 'failures' in found:
        found.update(wanted=[], failures=[], assertions=9)
return NotImplemented
""",
}
"""Bodies of functions, by what they try. Most problems of MBPP have three calls, hence three outcomes."""

SCRIPTS = {
    "a report of passed tests": f"print({_REPORT!r})",
    "outcomes of its own in every open descriptor": _OUTCOMES.format(value=repr(_REPORT), count=1),
    "text that is not a number but compares as one": "print('sNaN')\nprint('nan', 'inf', '1e999999999999')",
    "an output stream that claims to equal anything": """\
import gc, sys
class Same(bytearray):
    def __eq__(self, other): return True
    def decode(self, *_): return self
for found in gc.get_objects():
    if hasattr(found, 'content') and hasattr(found, 'limit'):
        found.content = Same()
sys.stdout = None
""",
    "an early exit": "import os\nos._exit(0)",
    "the input as output": "import sys\nsys.stdout.write(sys.stdin.read())\nprint('azr')",
}
"""Scripts, by what they try."""


def inputs(output: str) -> list[str]:
    """Texts between the parentheses of a call of `f` that try to make `output` its value."""
    code = f"f.__code__ = (lambda *a, **k: {output}).__code__"
    return [
        f"[lambda exec: 0, exec({code!r})][0]",
        f"*[lambda map, list, exec: 0, list(map(exec, [{code!r}]))][:1]",
        f"**[lambda exec: {{}}, exec({code!r})][0]()",
        f"(lambda given=exec({code!r}): given)()",
        f"(lambda value: lambda exec: value)(0), (lambda: exec({code!r}))()",
        f"[exec for exec in [0]] and exec({code!r})",
        f"(f := lambda *a, **k: {output})",
        f"[lambda setattr: 0, setattr(f, '__code__', (lambda *a, **k: {output}).__code__)][0]",
        f"{_BUILTINS}['exec']({code!r}, f.__globals__)",
        f"'{{0.__globals__}}'.format(f), ().__class__.__base__.__subclasses__(), {output}",
        f"0) or ({output}",
    ]


_BUILTINS = "().__class__.__base__.__subclasses__()[-1].__init__.__globals__['__builtins__']"
"""Reached from a literal by attributes alone."""


def outputs(output: str, call: str) -> list[str]:
    """Answers that pass if they are evaluated, or compared as more than a literal."""
    return [
        call,
        f"0) or ({output}",
        f"0 or {output}",
        f"{output} if True else 0",
        f"[{output}][0]",
        f"(lambda: {output})()",
        "{'object': None}",
        _OBJECT,
        f"eval({output!r})",
        "type('Same', (), {'__eq__': lambda *_: True})()",
    ]


def call_of(stem: str) -> str:
    """The call in a prompt that ends in `assert CALL == `, else any call."""
    found = re.search(r"assert (.*) == $", stem, re.DOTALL)
    return found[1] if found else "f()"
