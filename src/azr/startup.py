"""A process of azr's own starts without garbage collection.

Importing torch and transformers makes half a million objects that stay. Python's collector went through them again and
again, for a quarter of the time from `azr train demo` to its first token (bench/startup.py). A program that uses azr as
a library keeps its collector as it is.
"""

import gc

_starting = False


def begin() -> None:
    """Collect no garbage until `done`. For a process that has made no objects worth collecting yet."""
    global _starting
    _starting = True
    gc.disable()


def done() -> None:
    """Collect garbage from now on, but never go through the objects that are there; does nothing without `begin`."""
    global _starting
    if _starting:
        _starting = False
        gc.freeze()
        gc.enable()
