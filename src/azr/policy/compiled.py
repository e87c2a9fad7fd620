"""A decoding step through `torch.compile`: on a GPU, replayed as a CUDA graph instead of launched kernel by kernel.

The code is compiled once, for any number of rows and columns; `azr.policy.static` keeps the shapes few, and CUDA graphs
are recorded for each of them when it is first met (mode "reduce-overhead", `torch/_inductor/cudagraph_trees.py`).
Prompts are still read, and tokens drawn, outside of it. On a CPU the same code is compiled and nothing recorded.

Whatever would make the step fall back to slower ways is an error here: a graph break (`fullgraph`), too many
compilations, a CUDA graph that is not recorded.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch._dynamo
import torch._inductor.config
from numpy.typing import NDArray
from torch import Tensor
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException
from torch._inductor import cudagraph_trees
from torch._inductor.exc import InductorError

from azr.errors import UserError
from azr.policy.forward import Forward
from azr.policy.load import LanguageModel
from azr.policy.static import StaticCache

_COMPILATIONS = 64
"""Most for one process before it is an error: one a model, and one for each shape where an architecture insists."""

_HOMES = 32
"""Places of the key-value buffers before recorded graphs are dropped: torch keeps those of old addresses for ever."""

_Step = Callable[[Forward, Tensor, StaticCache], Tensor]


class CompiledStep:
    """One token more for every row of a `StaticCache`: `azr.policy.forward.ExactStep` in few shapes, compiled.

    Raises:
        UserError: transformers does not hold the architecture for compilable.
    """

    def __init__(self, policy: LanguageModel, forward: Forward) -> None:
        base = policy.model.get_base_model() if hasattr(policy.model, "get_base_model") else policy.model
        if not getattr(base, "_can_compile_fullgraph", False):
            raise UserError(f"{_setting(policy)}: transformers cannot compile {type(base).__name__}; {_REMEDY}")
        self._policy, self._forward = policy, forward
        self._run = compiled(_step)
        self._homes: set[tuple[int, ...]] = set()
        self.reset()

    def reset(self) -> None:
        """Forget every row."""
        self.cache = StaticCache(self._policy.device)

    def __call__(self, newest_R: NDArray[np.int64], cached_R: NDArray[np.int64]) -> Tensor:
        """Logits after each row's newest token, [R, V], which last until the next call.

        `cached_R` tokens of each row are in the cache.

        Raises:
            UserError: the step cannot be compiled or recorded.
        """
        rows, cache = len(newest_R), self.cache
        given = np.full((2, cache.slots), cache.end, np.int64)  # padding sees its own column alone: no row of NaNs
        given[0, rows:] = 0
        given[:, :rows] = newest_R, cache.end - cached_R
        given_2R = torch.from_numpy(given).to(self._policy.device)
        torch._dynamo.maybe_mark_dynamic(given_2R, 1)
        self._bound(cache.home)
        _adopt_thread()
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        try:
            logits_RV = self._run(self._forward, given_2R, cache)
        except (TorchDynamoException, FailOnRecompileLimitHit, InductorError) as error:
            raise UserError(f"{_setting(self._policy)}: {_reason(error)}; {_REMEDY}") from error
        cache.advance()
        return logits_RV[:rows]

    def _bound(self, home: tuple[int, ...]) -> None:
        """Compile and record anew when the buffers have moved too often.

        A graph is recorded for addresses. torch records another one when they change, and keeps both. After a few
        phases CUDA's allocator mostly hands out the same blocks again, which nothing guarantees.
        """
        self._homes.add(home)
        if len(self._homes) > _HOMES:
            torch.compiler.reset()
            self._homes = {home}


_REMEDY = "set generation.compile = false"


def _setting(policy: LanguageModel) -> str:
    return f"generation.compile = true, model {policy.name}"


def _reason(error: Exception) -> str:
    if isinstance(error, FailOnRecompileLimitHit):
        return f"more than {_COMPILATIONS} compilations, of which one should do for a model"
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _step(forward: Forward, given_2R: Tensor, cache: StaticCache) -> Tensor:
    """What is compiled. All that changes between two steps is in tensors: numbers would be compiled in."""
    newest_R, first_R = given_2R.unbind()
    columns_C = torch.arange(cache.layers[0].keys.shape[2], device=given_2R.device)
    mask_RC = columns_C >= first_R[:, None]  # that the future is hidden is left to the model's own causal mask
    return forward(newest_R[:, None], mask_RC, (cache.end_1 - first_R)[:, None], cache)


def compiled(step: _Step) -> _Step:
    """The step, compiled where it is first called, and never run in another way without an error."""
    run: Any = torch.compile(step, mode="reduce-overhead", fullgraph=True)
    run = torch._dynamo.config.patch(recompile_limit=_COMPILATIONS)(run)
    graphs = {"triton.cudagraph_or_error": True, "triton.cudagraph_dynamic_shape_warn_limit": None}
    strict: _Step = torch._inductor.config.patch(graphs)(run)
    return strict


def _adopt_thread() -> None:
    """Let this thread record CUDA graphs.

    Before 2.13, torch knows its trees of graphs only in the thread that happened to import them, and fails with a bare
    assertion in others (pytorch issue 123177); later ones do as is done here.
    """
    local = cudagraph_trees.local
    if not hasattr(local, "tree_manager_containers"):
        local.tree_manager_containers = {}
        local.tree_manager_locks = defaultdict(threading.Lock)
        for name in ("tree_manager_containers", "tree_manager_locks"):
            torch._C._stash_obj_in_tls(name, getattr(local, name))
