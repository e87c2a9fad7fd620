"""A plain decoder's forward pass without gradient, in a few large operations per layer.

For a small model, transformers' forward spends most of a decoding step on Python and on launching small operations.
This one computes the same function with the same weights: one product for queries, keys and values, one for gate and
up projection, keys and values written straight into the cache, and no mask where all rows have the same length. In
float32 on a CPU a kernel of azr's own computes the attention of decoding steps (`kernel.py`), or for a small model all
of several steps (`steps.py`), and prompts, padded on the right, are read by this pass too. It covers Llama, Qwen2 and
Qwen3; other architectures, adapters and quantised weights use transformers' forward. Logits equal transformers' up to
rounding (tests/rollout/test_lean.py); timings are in bench/generate.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from azr.models.load import LanguageModel
from azr.models.plain import normed, projections, rotary_tables
from azr.models.products import AVAILABLE, product
from azr.rollout.local.cache import RowCache

if TYPE_CHECKING:
    from azr.models.dense import Dense
    from azr.rollout.local.paged import PagedCache
    from azr.rollout.local.steps import Arrays, Weights

JOINED_BYTES = 512 * 2**20
"""Layer weights of up to this size are kept again, joined or in blocks. Beyond it the products take the time."""

WHOLE_BYTES = 64 * 2**20
"""Models up to this size, without embeddings, decode in `steps.py`. For larger ones the products take the time."""

_POSITIONS = 1024
_FEW_ROWS = range(8, 257)
"""Rows of a decoding step for which `azr.models.dense` is fastest (bench/products.py)."""


class _Product:
    """Linear layers of one input, joined to one where that pays.

    Args:
        layers: the linear layers.
        join: whether a second copy of their weights may be kept.
        few: whether there are decoding steps of few rows, in float32 on a CPU.
    """

    def __init__(self, layers: Sequence[nn.Linear], *, join: bool, few: bool) -> None:
        self._weights: list[Tensor] = [layer.weight for layer in layers]
        self._biases: list[Tensor | None] = [layer.bias for layer in layers]
        self.dense: Dense | None = None
        if join and few:
            from azr.models.dense import Dense  # imports numba

            self.dense = Dense(self._weights, self._biases)
        elif join and len(layers) > 1:
            self._weights, biases = [torch.cat(self._weights)], self._biases
            self._biases = [None if biases[0] is None else torch.cat(biases)]  # type: ignore[arg-type]

    def __call__(self, x_RE: Tensor) -> Tensor:
        if self.dense is not None and len(x_RE) in _FEW_ROWS:
            return self.dense(x_RE)
        products = [product(x_RE, w, b) for w, b in zip(self._weights, self._biases, strict=True)]
        return products[0] if len(products) == 1 else torch.cat(products, dim=-1)


class _Layer:
    """One layer's modules, and its joined products."""

    def __init__(self, layer: Any, *, join: bool, few: bool) -> None:
        self.attention, self.mlp = layer.self_attn, layer.mlp
        self.first_norm, self.second_norm = layer.input_layernorm, layer.post_attention_layernorm
        q, k, v, answer, gate, up, down = projections(layer)
        self.qkv, self.answer, self.gate_up, self.down = (
            _Product(layers, join=join, few=few) for layers in ((q, k, v), (answer,), (gate, up), (down,))
        )

    def for_steps(self, epsilon: float) -> list[Dense] | None:
        """The four products that `steps.decode` takes; None if it does not compute this layer."""
        norms = self.first_norm, self.second_norm
        dense = [product.dense for product in (self.qkv, self.answer, self.gate_up, self.down)]
        fit = [one for one in dense if one is not None and not one.padded]
        plain = not hasattr(self.attention, "q_norm") and self.mlp.config.hidden_act == "silu"
        same = all(norm.variance_epsilon == epsilon for norm in norms)
        return fit if plain and same and len(fit) == len(dense) else None


class LeanModel:
    """Logits of the next token, after prompts and of rows in flight.

    Args:
        policy: a model that `is_plain` accepts.
    """

    def __init__(self, policy: LanguageModel) -> None:
        self._model = policy.model
        attention = self._model.model.layers[0].self_attn
        self._key_heads = self._model.config.num_key_value_heads
        self._head_width, self._scale = attention.head_dim, attention.scaling
        self._seen: list[tuple[int, int]] = []
        self._layers: list[_Layer] = []
        self._whole: Weights | None = None
        self._cos_PD = self._sin_PD = torch.empty(0)
        self._normed: Callable[[Any, Tensor], Tensor] = normed
        if self.shares_prompts:
            from azr.rollout.local import kernel  # imports numba

            self._normed = kernel.normed

    @property
    def shares_prompts(self) -> bool:
        """Whether it takes a `PagedCache`."""
        model = self._model
        return bool(model.device.type == "cpu" and model.dtype == torch.float32)

    def refresh(self) -> None:
        """Join the weights again if they have changed since the last call."""
        layers, head = self._model.model.layers, self._model.lm_head
        seen = [(weight.data_ptr(), weight._version) for weight in self._model.parameters()]
        if seen == self._seen:
            return
        size, of_head = (sum(weight.nbytes for weight in part.parameters()) for part in (layers, head))
        join = size <= JOINED_BYTES
        small = self.shares_prompts and size + of_head <= WHOLE_BYTES
        few = self.shares_prompts and (AVAILABLE or small)
        self._layers = [_Layer(layer, join=join, few=few) for layer in layers]
        self._whole = self._for_steps() if small else None
        self._seen = seen
        self._cos_PD, self._sin_PD = rotary_tables(self._model, max(len(self._cos_PD), _POSITIONS))

    def read(
        self, ids_PL: NDArray[np.int64], lengths_P: NDArray[np.int64]
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Read prompts for a `PagedCache`.

        Args:
            ids_PL: prompts, padded on the right with any tokens.
            lengths_P: their numbers of tokens.

        Returns:
            logits after each prompt, [P, V]; and keys and values of each layer, [P, K, L, D] each.
        """
        prompts, width = ids_PL.shape
        if width > len(self._cos_PD):
            self._cos_PD, self._sin_PD = rotary_tables(self._model, 2 * width)
        cos_P1D, sin_P1D = (table[:width, None].repeat(prompts, 1, 1) for table in (self._cos_PD, self._sin_PD))
        ends_P = torch.from_numpy(np.arange(prompts) * width + lengths_P - 1)
        body, keys, seen = self._model.model, self._key_heads, list[tuple[Tensor, Tensor]]()
        groups = self._model.config.num_attention_heads // keys
        x_TE = body.embed_tokens(torch.from_numpy(ids_PL).flatten())
        for layer in self._layers:
            joined_THD = self._projected(layer, x_TE)
            turned_THD = _rotated(joined_THD[:, :-keys], cos_P1D, sin_P1D)
            parts = turned_THD[:, :-keys], turned_THD[:, -keys:], joined_THD[:, -keys:]
            q_PHLD, k_PKLD, v_PKLD = (part.view(prompts, width, -1, self._head_width).transpose(1, 2) for part in parts)
            seen.append((k_PKLD, v_PKLD))
            if groups > 1:
                k_PKLD, v_PKLD = (part.repeat_interleave(groups, dim=1) for part in (k_PKLD, v_PKLD))
            said_PHLD = functional.scaled_dot_product_attention(
                q_PHLD, k_PKLD, v_PKLD, is_causal=True, scale=self._scale
            )
            said_TE = said_PHLD.transpose(1, 2).flatten(2).flatten(0, 1)
            if layer is self._layers[-1]:
                said_TE, x_TE = said_TE[ends_P], x_TE[ends_P]
            x_TE = self._answered(layer, x_TE, said_TE)
        return self._model.lm_head(self._normed(body.norm, x_TE)), seen

    def step(self, newest_R: NDArray[np.int64], cached_R: NDArray[np.int64], cache: RowCache | PagedCache) -> Tensor:
        """Logits after one more token per row, [R, V]; its keys and values go into the cache's next column.

        Args:
            newest_R: the tokens.
            cached_R: number of tokens that the cache holds of each row, which is the position of the new one.
            cache: the rows in flight; `cache.advance` then counts the new column.
        """
        if (last := int(cached_R.max())) >= len(self._cos_PD):
            self._cos_PD, self._sin_PD = rotary_tables(self._model, 2 * last)
        body, device = self._model.model, self._cos_PD.device
        x_RE = body.embed_tokens(torch.from_numpy(newest_R).to(device))
        attend = self._attention(cache, cached_R, x_RE)
        for number, layer in enumerate(self._layers):
            x_RE = self._answered(layer, x_RE, attend(number, self._projected(layer, x_RE)))
        logits_RV: Tensor = self._model.lm_head(self._normed(body.norm, x_RE))
        return logits_RV

    @property
    def takes_steps(self) -> bool:
        """Whether `steps` can be used: with a small Llama or Qwen2, in float32 on a CPU."""
        return self._whole is not None

    def steps(self, count: int, cache: PagedCache, slots: Arrays, eos: NDArray[np.int64]) -> None:
        """Draw up to `count` tokens per row, without a nucleus.

        Args:
            count: as many as `slots` have room for.
            cache: the rows in flight. It counts the new tokens itself.
            slots: see `steps.decode`.
            eos: tokens that end a row.
        """
        assert self._whole is not None
        longest = cache.longest + count
        if longest > len(self._cos_PD):
            self._cos_PD, self._sin_PD = rotary_tables(self._model, 2 * longest)
        cache.decode(count, self._whole, self._cos_PD, self._sin_PD, slots, eos, scale=self._scale)

    def _for_steps(self) -> Weights | None:
        """The weights that `steps` uses; None if it does not compute this model."""
        epsilon = self._model.model.norm.variance_epsilon
        dense = [found for layer in self._layers if (found := layer.for_steps(epsilon)) is not None]
        if len(dense) < len(self._layers):
            return None
        from azr.rollout.local.steps import Weights  # imports numba

        return Weights.of(self._model, dense)

    def _attention(
        self, cache: RowCache | PagedCache, cached_R: NDArray[np.int64], like: Tensor
    ) -> Callable[[int, Tensor], Tensor]:
        """Attention in a layer, [R, H * D], given its number and the joined queries, keys and values."""
        if not isinstance(cache, RowCache):
            cache.begin()
            return partial(cache.attend, cos_PD=self._cos_PD, sin_PD=self._sin_PD, scale=self._scale)
        positions_R = torch.from_numpy(cached_R).to(like.device)
        cos_R1D, sin_R1D = self._cos_PD[positions_R, None], self._sin_PD[positions_R, None]
        hidden_R11C = cache.hidden()
        mask = None if hidden_R11C is None else hidden_R11C.to(like)
        keys = self._key_heads

        def attend(number: int, joined_RHD: Tensor) -> Tensor:
            qk_RHD, v_RKD = joined_RHD[:, :-keys], joined_RHD[:, -keys:]
            qk_RHD = _rotated(qk_RHD, cos_R1D, sin_R1D)
            q_RHD, k_RKD = qk_RHD[:, :-keys], qk_RHD[:, -keys:]
            # A query head is one of the G rows of its key head's group, so that nothing is repeated.
            q_RKGD = q_RHD.reshape(len(q_RHD), keys, -1, self._head_width)
            k_RKCD, v_RKCD = cache.layers[number].update(k_RKD[:, :, None], v_RKD[:, :, None])
            said_RKGD = functional.scaled_dot_product_attention(
                q_RKGD, k_RKCD, v_RKCD, attn_mask=mask, scale=self._scale
            )
            return said_RKGD.flatten(1)

        return attend

    def _projected(self, layer: _Layer, x_RE: Tensor) -> Tensor:
        """Queries, keys and values, not yet rotated, [R, H + K + K, D]."""
        joined_RHD = layer.qkv(self._normed(layer.first_norm, x_RE)).view(len(x_RE), -1, self._head_width)
        if not hasattr(layer.attention, "q_norm"):
            return joined_RHD
        keys = self._key_heads  # Qwen3
        q_RHD = normed(layer.attention.q_norm, joined_RHD[:, : -2 * keys])
        k_RKD = normed(layer.attention.k_norm, joined_RHD[:, -2 * keys : -keys])
        return torch.cat((q_RHD, k_RKD, joined_RHD[:, -keys:]), dim=1)

    def _answered(self, layer: _Layer, x_RE: Tensor, said_RE: Tensor) -> Tensor:
        """What the layer passes on, given what its attention says, [R, E]."""
        x_RE = x_RE + layer.answer(said_RE)
        gate_RF, up_RF = layer.gate_up(self._normed(layer.second_norm, x_RE)).chunk(2, dim=-1)
        return x_RE + layer.down(layer.mlp.act_fn(gate_RF) * up_RF)


def _rotated(x_RHD: Tensor, cos_R1D: Tensor, sin_R1D: Tensor) -> Tensor:
    """Queries or keys, rotated by their positions; the sines' first half is negated."""
    half = x_RHD.shape[-1] // 2
    turned_RHD = torch.cat((x_RHD[..., half:], x_RHD[..., :half]), dim=-1)
    return torch.addcmul(x_RHD * cos_R1D, turned_RHD, sin_R1D)
