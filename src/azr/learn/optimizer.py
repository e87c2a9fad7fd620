"""AdamW on float32 weights, whatever the model computes in, and the learning rate over time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from azr.errors import UserError

if TYPE_CHECKING:
    from azr.config import LearnerConfig


def learning_rate(config: LearnerConfig, update: int, total: int) -> float:
    """The learning rate of an update: linear warm-up, then constant, falling to 0 at the end, or ever slower.

    Args:
        config: rate, warm-up and schedule.
        update: how many updates came before.
        total: how many there will be in all.
    """
    if update < config.warmup_steps:
        return config.lr * (update + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "inverse_sqrt":
        full = max(config.hold_steps, config.warmup_steps)  # so that the rate never jumps where the warm-up ends
        return config.lr * min(1.0, math.sqrt(full / (update + 1)))
    progress = min(1.0, (update - config.warmup_steps) / max(1, total - config.warmup_steps))
    share = 1 - progress if config.schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
    return config.lr * share


class Optimizer:
    """AdamW whose steps are never lost to rounding.

    At the paper's learning rate of 1e-6, a step is smaller than the spacing of bfloat16 numbers and would vanish.
    Weights of lower precision therefore have a float32 master copy here, which takes the steps, and which gradients
    are added up in. With `offload` every weight has such a copy, in the CPU's memory, and the moments lie there too.

    Raises:
        UserError: 8-bit moments are asked for, and bitsandbytes is missing.
    """

    def __init__(self, parameters: list[Tensor], config: LearnerConfig) -> None:
        self._parameters = parameters
        self._masters = [_master(parameter, offload=config.offload) for parameter in parameters]
        self._config = config
        self._adam = _adam(self._masters, config)

    def collect(self) -> None:
        """Take over the gradient of a micro-batch; to be called after each backward pass."""
        for parameter, master in zip(self._parameters, self._masters, strict=True):
            if parameter is not master and parameter.grad is not None:
                gradient = parameter.grad.to(master.device, torch.float32)
                master.grad = gradient if master.grad is None else master.grad + gradient
                parameter.grad = None

    def clip(self) -> float:
        """Scale the gradient down to the largest norm allowed; the norm before that is returned."""
        return float(torch.nn.utils.clip_grad_norm_(self._masters, self._config.grad_clip))

    def step(self, rate: float) -> None:
        """Move the weights and forget the gradient."""
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()
        self.clear()
        with torch.no_grad():
            for parameter, master in zip(self._parameters, self._masters, strict=True):
                if parameter is not master:
                    parameter.copy_(master)

    def lost(self) -> bool:
        """Whether the weights are beyond bounds (see `beyond_bounds`)."""
        return beyond_bounds(self._masters)

    def clear(self) -> None:
        """Forget the gradient."""
        for tensor in (*self._parameters, *self._masters):
            tensor.grad = None

    def state(self) -> dict[str, Any]:
        """Everything but the weights themselves; master copies included."""
        pairs = zip(self._parameters, self._masters, strict=True)
        return {"adam": self._adam.state_dict(), "masters": [None if p is m else m for p, m in pairs]}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave; the model's weights are to be restored before."""
        self._adam.load_state_dict(state["adam"])
        with torch.no_grad():
            for master, saved in zip(self._masters, state["masters"], strict=True):
                if saved is not None:
                    master.copy_(saved)


def beyond_bounds(weights: Iterable[Tensor]) -> bool:
    """Whether the norm of weights is no finite number: one is infinite, is none, or has no square in their precision.

    A model in such a state may still give finite losses, with a gradient of zero, to the end of a run.
    """
    return not math.isfinite(torch.nn.utils.get_total_norm(list(weights)))


def _master(parameter: Tensor, *, offload: bool) -> Tensor:
    """The float32 tensor that takes a weight's steps: the weight itself where that will do."""
    if offload:
        return parameter.detach().to("cpu", torch.float32, copy=True)
    return parameter if parameter.dtype == torch.float32 else parameter.detach().float()


def _adam(masters: list[Tensor], config: LearnerConfig) -> torch.optim.Optimizer:
    if config.optimizer != "adamw-8bit":
        return torch.optim.AdamW(
            masters,
            lr=config.lr,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=True if config.optimizer == "adamw-fused" else None,
        )
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise UserError(
            f"learner.optimizer = adamw-8bit needs the extra `quant` ({error}): pip install 'azr[quant]'"
        ) from error
    eight: torch.optim.Optimizer = AdamW8bit(
        masters, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay
    )
    return eight
