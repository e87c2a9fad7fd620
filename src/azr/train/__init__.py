"""A run: its loop, its parts, what it prints, and the trackers it sends its metrics to.

`azr.train` is also the function that starts a run from Python. As soon as a module of this package is imported, the
name `train` in `azr` means the package, so the package itself can be called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azr.frames.run import Run


class _Package(ModuleType):
    def __call__(self, source: Any = "demo", settings: Any = None, *, resume: Any = None) -> Run:
        """See `azr.train.call.train`."""
        from azr.train.call import train

        return train(source, settings, resume=resume)


sys.modules[__name__].__class__ = _Package
