"""Frozen weights in 4 or 8 bits with bitsandbytes, to save memory while an adapter learns."""

from typing import Any, Literal

import torch
from torch import Tensor
from transformers import BitsAndBytesConfig

from azr.errors import UserError

_BLOCK = 64
"""Weights per scale in NF4; on a CPU, bitsandbytes needs rows that are multiples of it."""


def options(scheme: Literal["none", "8bit", "4bit"], device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Arguments of `from_pretrained`; empty without quantisation.

    4-bit is NF4 with quantised scales, as in QLoRA (arXiv 2305.14314); 8-bit is LLM.int8 (arXiv 2208.07339).

    Raises:
        UserError: bitsandbytes or accelerate is not installed.
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
    """Whether some of the model's weights are quantised."""
    return getattr(model, "is_quantized", False) is True


def prepare(model: Any, name: str) -> None:
    """Prepare 4-bit layers on a CPU for training.

    On processors with AVX512-BF16, bitsandbytes repacks these layers at the first evaluation. Packed layers pass no
    gradient and round to bfloat16, so the learner would compute something else than the sampler.

    Raises:
        UserError: a layer's width is not a multiple of the block size, which a CPU needs.
    """
    if not getattr(model, "is_loaded_in_4bit", False) or model.device.type != "cpu":
        return
    for path, module in model.named_modules():
        if _kind(module, "weight") != "Params4bit":
            continue
        if module.in_features % _BLOCK:
            raise UserError(
                f"model {name}: model.quantization = 4bit on a CPU needs layers whose width is a multiple of {_BLOCK},"
                f" and {path} has {module.in_features}; use a GPU, or model.quantization=none"
            )
        module.support_avx512bf16_for_cpu = False


def dequantized(layer: Any, name: str) -> Tensor:
    """A layer's parameter or buffer, dequantised."""
    tensor: Any = getattr(layer, name)
    kind = _kind(layer, name)
    if kind not in ("Params4bit", "Int8Params"):
        plain: Tensor = tensor.detach()
        return plain
    from bitsandbytes import functional

    if kind == "Params4bit":
        plain = functional.dequantize_4bit(tensor.data, tensor.quant_state)
    else:  # the layer moves the scales to its state in the first forward pass
        scales = tensor.SCB if layer.state.SCB is None else layer.state.SCB
        plain = functional.int8_vectorwise_dequant(tensor.data, scales)
    return plain.detach()


def _kind(layer: Any, name: str) -> str:
    """Class name of a layer's parameter, which tells how bitsandbytes quantised it."""
    return type(getattr(layer, name, None)).__name__
