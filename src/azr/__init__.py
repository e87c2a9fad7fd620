"""azr: the Absolute Zero Reasoner that people can run (arXiv 2505.03335).

`Run`, `evaluate` and `train` are imported when they are first used, so that `import azr` is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azr.frames.evaluate import evaluate as evaluate
    from azr.frames.run import Run as Run
    from azr.train.call import train as train

__version__ = "0.1.0"
__all__ = ["Run", "evaluate", "train"]


def __getattr__(name: str) -> Any:
    if name == "train":
        return import_module("azr.train")  # the package can be called
    if name in ("Run", "evaluate"):
        return getattr(import_module(f"azr.frames.{name.lower()}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
