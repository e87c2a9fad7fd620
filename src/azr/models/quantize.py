"""Frozen weights in 4 or 8 bits, by bitsandbytes: what a model needs in memory while an adapter learns beside it."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from transformers import BitsAndBytesConfig

from azr.errors import UserError

_BLOCK = 64
"""Weights that share one scale in NF4; a CPU computes only with rows of whole blocks."""


def options(scheme: Literal["none", "8bit", "4bit"], device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """What `from_pretrained` needs to be told; nothing where nothing is quantised.

    4-bit is NF4 with quantised scales, as in QLoRA (arXiv 2305.14314); 8-bit is LLM.int8 (arXiv 2208.07339).

    Raises:
        UserError: bitsandbytes or accelerate is missing.
    """
    if scheme == "none":
        return {}
    try:
        import accelerate  # noqa: F401
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"model.quantization = {scheme} needs the extra `quant` ({error}): pip install 'azr[quant]'"
        ) from error
    if scheme == "8bit":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True), "device_map": {"": device}}
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype, bnb_4bit_use_double_quant=True
    )
    return {"quantization_config": nf4, "device_map": {"": device}}


def is_quantized(model: Any) -> bool:
    """Whether some of its weights are."""
    return getattr(model, "is_quantized", False) is True


def prepare(model: Any, name: str) -> None:
    """Make 4-bit layers on a CPU ones that learn.

    bitsandbytes packs them anew for processors with AVX512-BF16 once they are evaluated. Packed layers pass no gradient
    on, and round what they compute to bfloat16, so that the learner would be another network than the sampler.

    Raises:
        UserError: a layer's rows are no whole blocks, which a CPU cannot compute with.
    """
    if not getattr(model, "is_loaded_in_4bit", False) or model.device.type != "cpu":
        return
    for path, module in model.named_modules():
        if _kind(module, "weight") != "Params4bit":
            continue
        if module.in_features % _BLOCK:
            raise UserError(
                f"model {name}: model.quantization = 4bit on a CPU needs layers whose width divides by {_BLOCK}, and"
                f" {path} has {module.in_features}; use a GPU, or model.quantization=none"
            )
        module.support_avx512bf16_for_cpu = False


def dequantized(layer: Any, name: str) -> Tensor:
    """A layer's parameter or buffer as plain numbers."""
    tensor: Any = getattr(layer, name)
    kind = _kind(layer, name)
    if kind not in ("Params4bit", "Int8Params"):
        plain: Tensor = tensor.detach()
        return plain
    from bitsandbytes import functional

    if kind == "Params4bit":
        plain = functional.dequantize_4bit(tensor.data, tensor.quant_state)
    else:  # the layer takes the scales over at its first forward pass
        scales = tensor.SCB if layer.state.SCB is None else layer.state.SCB
        plain = functional.int8_vectorwise_dequant(tensor.data, scales)
    return plain.detach()


def _kind(layer: Any, name: str) -> str:
    """The class of a layer's parameter, by which bitsandbytes marks what is quantised."""
    return type(getattr(layer, name, None)).__name__
