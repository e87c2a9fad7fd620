"""LoRA by way of peft: small matrices beside frozen weights, which are all that learns and all that a checkpoint keeps.

The layers are put into the model itself, which stays the class that it is: sampling, scoring and saving go through the
same code as for a model that learns all its weights.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
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
_PREFIX = "base_model.model."  # written before every name, so that peft alone can load the file too


def attach(model: Any, config: LoRAConfig) -> None:
    """Freeze the weights and put an adapter beside them; it changes no output until it has learnt.

    Its starting values are the same in every run: what a model is at first follows from its configuration alone.

    Raises:
        UserError: peft is missing, or no layer has one of the names.
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
    """Take back the adapter that `save_pretrained` wrote.

    Raises:
        OSError, RuntimeError, SafetensorError: it is not there, or of another rank.
        ValueError: it belongs to other layers.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    saved = {name.removeprefix(_PREFIX): tensor for name, tensor in load_file(folder / _WEIGHTS).items()}
    own = get_peft_model_state_dict(model)
    if saved.keys() != own.keys():
        raise ValueError(f"{len(saved.keys() ^ own.keys())} adapter weights are in one of the two only")
    set_peft_model_state_dict(model, saved)


@contextmanager
def without_adapter(model: Any) -> Iterator[None]:
    """The model as it was before it learnt anything: what its divergence is measured from."""
    model.disable_adapters()
    try:
        yield
    finally:
        model.enable_adapters()


def plain_copy(model: Any) -> Any:
    """A model of the same class, on the CPU, with the adapter merged and nothing quantised; for saving.

    Merging in place would round a quantised weight once more, and leave nothing to go on learning from.
    """
    settings = copy.deepcopy(model.config)
    if hasattr(settings, "quantization_config"):
        del settings.quantization_config
    with torch.device("meta"):
        plain = type(model)(settings)
    weights = {name: _merged(model, name) for name in plain.state_dict()}
    plain.load_state_dict(weights, assign=True)
    plain.tie_weights()
    plain.generation_config = model.generation_config
    return plain


def _merged(model: Any, name: str) -> Tensor:
    """A parameter or buffer by the name that it has in the plain model, adapter included."""
    path, _, leaf = name.rpartition(".")
    owner = model.get_submodule(path)
    layer = owner.get_base_layer() if hasattr(owner, "get_base_layer") else owner
    with torch.no_grad():
        tensor = quantize.dequantized(layer, leaf)
        if layer is not owner and leaf == "weight":
            tensor = tensor + owner.get_delta_weight("default").to(tensor.dtype)
        return tensor.to("cpu", copy=True) if tensor.device.type != "cpu" else tensor
