"""AdamW on float32 weights, whatever precision the model computes in, and the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from azr.errors import UserError

if TYPE_CHECKING:
    from azr.config import LearnerConfig


Norm: TypeAlias = Callable[[Sequence[Tensor]], Tensor]
"""The 2-norm of several tensors together."""


def whole_norm(tensors: Sequence[Tensor]) -> Tensor:
    """The 2-norm of tensors that are all in this process."""
    return torch.nn.utils.get_total_norm(list(tensors))


def learning_rate(config: LearnerConfig, update: int, total: int) -> float:
    """The learning rate of an update: linear warm-up, then `config.schedule`.

    Args:
        config: rate, warm-up and schedule.
        update: number of updates before this one.
        total: number of updates in the whole run.
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
    Weights of lower precision therefore have a float32 master copy here, which takes the steps and accumulates the
    gradients. With `offload` every weight has such a copy, in CPU memory together with the moments. If the weights are
    sharded (DTensors), masters, gradients and moments are those of this rank's part.

    Args:
        parameters: the weights that learn.
        config: learning rate, moments, clipping.
        norm: of all weights or gradients together, given those of this process.

    Raises:
        UserError: 8-bit moments are asked for, and bitsandbytes is missing.
    """

    def __init__(self, parameters: list[Tensor], config: LearnerConfig, norm: Norm = whole_norm) -> None:
        self.parameters, self._norm = parameters, norm
        self._masters = [_master(parameter, offload=config.offload) for parameter in parameters]
        self._config = config
        self._adam = _adam(self._masters, config)

    def collect(self) -> None:
        """Take over the gradient of a micro-batch; to be called after each backward pass."""
        for parameter, master in zip(self.parameters, self._masters, strict=True):
            if parameter is not master and parameter.grad is not None:
                gradient = local(parameter.grad).to(master.device, torch.float32)
                master.grad = gradient if master.grad is None else master.grad + gradient
                parameter.grad = None

    def reduce(self, total: Callable[[Sequence[Tensor | None]], Sequence[Tensor | None]]) -> None:
        """Replace the gradients by their totals over all ranks."""
        for master, gradient in zip(self._masters, total([m.grad for m in self._masters]), strict=True):
            master.grad = gradient

    def clip(self) -> float:
        """Scale the gradient down to the largest norm allowed; returns the norm before that."""
        norm = self._norm([master.grad for master in self._masters if master.grad is not None])
        torch.nn.utils.clip_grads_with_norm_(self._masters, self._config.grad_clip, norm)
        return float(norm)

    def step(self, rate: float) -> None:
        """Move the weights and forget the gradient."""
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()
        self.clear()
        self._write_back()

    def lost(self) -> bool:
        """Whether the norm of the weights is not finite: one of them is infinite or NaN, or its square overflows.

        A model in such a state may still give finite losses, with a gradient of zero, to the end of a run.
        """
        return not math.isfinite(self._norm(self._masters))

    def clear(self) -> None:
        """Forget the gradient."""
        for tensor in (*self.parameters, *self._masters):
            tensor.grad = None

    def state(self) -> dict[str, Any]:
        """Everything but the weights themselves; master copies included."""
        pairs = zip(self.parameters, self._masters, strict=True)
        return {"adam": self._adam.state_dict(), "masters": [None if p is m else m for p, m in pairs]}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned except settings, after the model's weights.

        Its tensors may be those of the unsharded weights.
        """
        moments = {
            i: {key: own_part(value, self.parameters[i]) for key, value in tensors.items()}
            for i, tensors in state["adam"]["state"].items()
        }
        pairs = zip(self._adam.state_dict()["param_groups"], state["adam"]["param_groups"], strict=True)
        groups = [own | {"params": saved["params"]} for own, saved in pairs]
        self._adam.load_state_dict({"state": moments, "param_groups": groups})
        with torch.no_grad():
            for parameter, master, saved in zip(self.parameters, self._masters, state["masters"], strict=True):
                if parameter is not master:
                    master.copy_(local(parameter) if saved is None else own_part(saved, parameter))
        self._write_back()

    def _write_back(self) -> None:
        with torch.no_grad():
            for parameter, master in zip(self.parameters, self._masters, strict=True):
                if parameter is not master:
                    local(parameter).copy_(master)


def local(tensor: Any) -> Tensor:
    """This rank's part of a sharded tensor (a DTensor), without a copy; any other tensor as it is."""
    part: Tensor = tensor.detach().to_local() if hasattr(tensor, "to_local") else tensor
    return part


def own_part(saved: Tensor, parameter: Any) -> Tensor:
    """The part of a saved tensor that belongs to this rank's part of a parameter."""
    if not hasattr(parameter, "to_local") or saved.shape != parameter.shape:
        return saved  # not sharded, this rank's part already, or a number such as Adam's count of steps
    mesh = parameter.device_mesh
    chunks = saved.chunk(mesh.size(), dim=0)  # as `fully_shard` divides it
    return chunks[mesh.get_local_rank()] if mesh.get_local_rank() < len(chunks) else saved[:0]


def _master(parameter: Tensor, *, offload: bool) -> Tensor:
    """The float32 tensor that takes a weight's steps: the weight itself if it can."""
    own = local(parameter)
    if offload:
        return own.detach().to("cpu", torch.float32, copy=True)
    return own if own.dtype == torch.float32 else own.detach().float()


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
