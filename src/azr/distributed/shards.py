"""Ranks that each hold a part of the model, its gradient and the optimizer's state: FSDP2 (`fully_shard`).

Each layer's weights are gathered just before they are needed and dropped right after. So every rank takes part in
every forward and backward pass of the others, whether or not it has rollouts left.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from azr.distributed.group import Membership, Replicas, runs_out_of_memory
from azr.errors import UserError
from azr.learn.base import TrainSample
from azr.learn.budget import free_memory
from azr.learn.logprobs import Scorer, Scores
from azr.learn.optimizer import local, own_part

_PROBE = TrainSample(np.zeros(1, np.int32), np.zeros(1, np.int32), np.zeros(1, np.float32))
"""The shortest rollout that there is."""


class Shards(Replicas):
    """Ranks with FSDP2. Rank 0 also holds the model whole, to sample from it and to save it.

    Args:
        membership: of this process.

    Raises:
        UserError: torch is too old.
    """

    sharded = True

    def __init__(self, membership: Membership) -> None:
        super().__init__(membership)
        if not hasattr(FSDPModule, "reset_iter_state"):
            raise UserError(
                f"learner.sharding = sharded needs torch 2.13 or later, and this is {torch.__version__}; upgrade torch,"
                " or set learner.sharding=replicated"
            )
        self._mesh = DeviceMesh.from_group(membership.data, self._device().type)
        self._traffic = _Traffic()
        self._roots: list[Any] = []

    def own(self, model: Any) -> Any:
        """On rank 0 a copy, which is sharded, while the model stays whole."""
        return copy.deepcopy(model) if self.rank == 0 else model

    def shard(self, scorer: Scorer) -> Scorer:
        """Shard a scorer's model, layer by layer."""
        model = scorer.model
        module = _Root(scorer)
        # Gradients are summed in float32 even if weights are bfloat16.
        settings: dict[str, Any] = {"mesh": self._mesh, "mp_policy": MixedPrecisionPolicy(reduce_dtype=torch.float32)}
        for layer in _layers(model):
            fully_shard(layer, **settings)
        fully_shard(module, **settings)
        gathering: Any = _AllGather(self._traffic)
        scattering: Any = _ReduceScatter(self._traffic)
        for part in module.modules():
            if isinstance(part, FSDPModule):
                part.set_gradient_divide_factor(1.0)  # the loss has its weights already: gradients are added up
                part.set_force_sum_reduction_for_comms(True)
                part.set_custom_all_gather(gathering)
                part.set_custom_reduce_scatter(scattering)
        sharded = ShardedScorer(scorer, module)
        with torch.no_grad():
            sharded.score([[_PROBE]])  # FSDP sets itself up in the first pass
        self._roots.append(module)
        self._start()
        return sharded

    def each(
        self, works: Sequence[Callable[[], None] | None], idle: Callable[[], object], check: Callable[[], None]
    ) -> None:
        """Do each micro-batch's work together with the other ranks; see `Ranks.each`."""
        for work in works:
            self.check(check)
            self._together(work or idle, idle)

    def _together(self, work: Callable[[], object], idle: Callable[[], object]) -> None:
        """Do one micro-batch's work, and find out whether memory ran out anywhere.

        If memory runs out here in the middle of a pass, the others still wait for this rank's part of their transfers.
        So it goes through the pass again with a single row, leaving out the transfers that it has already made.
        """
        self._start()
        failed = runs_out_of_memory(work)
        if failed:
            made = self._traffic.count
            free_memory()
            self._start(made)
            idle()
        self.agree(failed)

    def reduce_policy(self, gradients: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """The gradients as they are: FSDP has summed them in the backward pass."""
        return gradients

    def norm(self, tensors: Sequence[Tensor]) -> Tensor:
        """The 2-norm over the parts of all ranks."""
        square = torch.zeros(1, device=self._device())
        if tensors:
            square += super().norm(tensors).to(self._device()).square()
        dist.all_reduce(square, group=self._data)
        return square.sqrt()[0].to(tensors[0].device if tensors else "cpu")

    def publish(self, trained: Any, whole: Any) -> None:
        """Gather the weights that learn, one at a time, into rank 0's whole model."""
        self._start()
        into = dict(whole.named_parameters()) if self.rank == 0 else {}
        with torch.no_grad():
            for name, parameter in trained.named_parameters():
                if parameter.requires_grad:
                    gathered = parameter.detach().full_tensor()
                    if self.rank == 0:
                        into[name].copy_(gathered)

    def receive(self, trained: Any, whole: Any) -> None:
        """Send rank 0's weights to all ranks, each of which keeps its part."""
        self._start()
        source = dict(whole.named_parameters()) if self.rank == 0 else {}
        with torch.no_grad():
            for name, parameter in trained.named_parameters():
                if not parameter.requires_grad:
                    continue
                sent = source[name].detach().to(self._device()) if self.rank == 0 else parameter.new_empty(0)
                if self.rank:
                    sent = torch.empty(parameter.shape, dtype=parameter.dtype, device=self._device())
                dist.broadcast(sent, src=0, group=self._data)
                local(parameter).copy_(own_part(sent, parameter))

    def _start(self, made: int = 0) -> None:
        """Begin a pass with every weight sharded, so that it makes the same transfers on every rank."""
        for root in self._roots:
            root.reset_iter_state()
        self._traffic.count, self._traffic.made = 0, made


class ShardedScorer(Scorer):
    """A scorer whose model is sharded: everything goes through the root module, which gathers the weights.

    Args:
        scorer: of the model.
        root: the sharded root module.
    """

    def __init__(self, scorer: Scorer, root: nn.Module) -> None:
        self._scorer, self._root = scorer, root
        self.sharing = scorer.sharing

    @property
    def model(self) -> Any:
        """What it scores with."""
        return self._scorer.model

    @property
    def split(self) -> bool:
        """Whether the output layer is applied apart from the body."""
        return self._scorer.split

    def score(self, rows: Sequence[Sequence[TrainSample]], *, entropy_gradient: bool = False) -> Scores:
        """Scores of every completion token; see `Scorer.score`."""
        return Scores(*self._root("score", rows, entropy_gradient=entropy_gradient))

    def states(self, rows: Sequence[Sequence[TrainSample]]) -> Tensor:
        """Hidden states [N, H]; see `Scorer.states`."""
        (states_NH,) = self._root("states", rows)
        found: Tensor = states_NH
        return found


class _Root(nn.Module):
    """The module that FSDP sees as a whole. `Scorer` calls a model's body and head apart, which FSDP cannot see."""

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.model = scorer.model
        self._scorer = scorer

    def forward(self, method: str, rows: Sequence[Sequence[TrainSample]], **options: Any) -> tuple[Tensor | None, ...]:
        """Call a method of the scorer. Outputs are copied: FSDP attaches its hooks to them and refuses views."""
        found = getattr(self._scorer, method)(rows, **options)
        tensors = found if isinstance(found, tuple) else (found,)
        return tuple(None if tensor is None else tensor.clone() for tensor in tensors)


def _layers(model: Any) -> list[nn.Module]:
    """The model's layers: the modules of its longest list."""
    lists = [module for module in model.get_decoder().modules() if isinstance(module, nn.ModuleList)]
    return list(max(lists, key=len, default=[]))


class _Traffic:
    """The transfers of a pass.

    Attributes:
        count: begun so far.
        made: how many of the first ones were made before, and are not made again.
    """

    def __init__(self) -> None:
        self.count, self.made = 0, 0

    def next(self) -> bool:
        """Count a transfer; whether it is to be made."""
        self.count += 1
        return self.count > self.made


class _Transfer:
    def __init__(self, traffic: _Traffic) -> None:
        self._traffic = traffic

    def allocate(self, size: Sequence[int | Any], *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Memory for a transfer."""
        return torch.empty(*size, dtype=dtype, device=device)


class _AllGather(_Transfer):
    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, group: Any, async_op: bool = False) -> Any:
        if not self._traffic.next():
            output_tensor.zero_()
            return None
        return dist.all_gather_single(output_tensor, input_tensor, group=group, async_op=async_op)


class _ReduceScatter(_Transfer):
    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, group: Any, op: Any, async_op: bool = False) -> Any:
        if not self._traffic.next():
            output_tensor.zero_()
            return None
        return dist.reduce_scatter_single(
            output=output_tensor, input=input_tensor, group=group, op=op, async_op=async_op
        )
