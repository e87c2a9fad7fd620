"""LoRA with peft: small trainable matrices beside frozen weights; checkpoints contain only these matrices.

The layers are injected into the model, whose class does not change: sampling, scoring and saving use the same code as
for a model whose weights all learn.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from azr.errors import UserError
from azr.models import quantize

if TYPE_CHECKING:
    from azr.config import LoRAConfig

_WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."  # prefix of every name, so that peft can load the file by itself


def attach(model: Any, config: LoRAConfig) -> None:
    """Freeze the weights and inject an adapter, which changes no output until it is trained.

    Its initial values are the same in every run, so the initial model depends on the configuration alone.

    Raises:
        UserError: peft is not installed, or no layer matches `model.lora.targets`.
    """
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise UserError(
            f"model.lora.rank = {config.rank} needs the extra `lora` ({error}): pip install 'azr[lora]'"
        ) from error
    settings = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=0.0,  # the learner must be the network that sampled
        target_modules=list(config.targets) or "all-linear",
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),  # GPT-2 stores transposes
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            model.add_adapter(settings)
        except ValueError as error:
            raise UserError(f"model.lora.targets = {list(config.targets)}: {str(error).splitlines()[0]}") from error


def restore(model: Any, folder: Path) -> None:
    """Load the adapter that `save_pretrained` wrote.

    Raises:
        OSError, RuntimeError, SafetensorError: it is missing, or has another rank.
        ValueError: it adapts other layers.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    saved = {name.removeprefix(_PREFIX): tensor for name, tensor in load_file(folder / _WEIGHTS).items()}
    own = get_peft_model_state_dict(model)
    if saved.keys() != own.keys():
        raise ValueError(f"{len(saved.keys() ^ own.keys())} adapter weights are not in both model and checkpoint")
    set_peft_model_state_dict(model, saved)


@contextmanager
def without_adapter(model: Any) -> Iterator[None]:
    """Disable the adapter, which gives the untrained reference model for the KL divergence."""
    model.disable_adapters()
    try:
        yield
    finally:
        model.enable_adapters()


def plain_copy(model: Any) -> Any:
    """A copy of the model on the CPU, with the adapter merged and nothing quantised, for saving.

    Merging in place would quantise the sums again, and training could not continue from the result.
    """
    with torch.device("meta"):
        plain = type(model)(_plain_config(model))
    weights = {name: _merged(model, name) for name in plain.state_dict()}
    plain.load_state_dict(weights, assign=True)
    plain.tie_weights()
    plain.generation_config = model.generation_config
    return plain


def plain_weights(model: Any, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The weights as a Hugging Face folder of the model has them, one at a time, and a tied head as one of its own.

    Args:
        model: what the weights are of; adapters and scales of quantised weights are read from it.
        weights: its state dict, or tensors gathered from elsewhere under the same names.
    """
    adapted = any(hasattr(module, "get_base_layer") for module in model.modules())
    if not adapted and not quantize.is_quantized(model):
        yield from weights.items()
        return
    with torch.device("meta"):
        names = list(type(model)(_plain_config(model)).state_dict())
    for name in names:
        yield name, _merged(model, name)


def _plain_config(model: Any) -> Any:
    settings = copy.deepcopy(model.config)
    if hasattr(settings, "quantization_config"):
        del settings.quantization_config
    return settings


def _merged(model: Any, name: str) -> Tensor:
    """A parameter or buffer by its name in the plain model, with the adapter merged."""
    path, _, leaf = name.rpartition(".")
    owner = model.get_submodule(path)
    layer = owner.get_base_layer() if hasattr(owner, "get_base_layer") else owner
    with torch.no_grad():
        tensor = quantize.dequantized(layer, leaf)
        if layer is not owner and leaf == "weight":
            tensor = tensor + owner.get_delta_weight("default").to(tensor.dtype)
        return tensor.to("cpu", copy=True) if tensor.device.type != "cpu" else tensor
