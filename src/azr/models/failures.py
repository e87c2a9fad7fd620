"""Common failures of loading a model or using a device, as one line each that says what to do."""

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from huggingface_hub.errors import GatedRepoError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

from azr.errors import UserError


def no_model(name: str, error: BaseException) -> str:
    """Error message for a model that cannot be loaded, from what transformers or the hub's client raised."""
    return f"model {name}: cannot be loaded: {_reason(name, error)}"


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the GPU or the machine is out of memory."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def pick_device(name: str) -> torch.device:
    """A device by name; "auto" takes CUDA, then Apple MPS, then the CPU.

    Raises:
        UserError: there is no such device, or its driver is too old. The driver is an error for "auto" too: a fallback
            to the CPU would go unnoticed on a machine with a GPU.
    """
    if name == "auto":
        name = "cuda" if _has_cuda() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"model.device = {name}: {_unavailable(name, str(error))}") from error
    return device


def _unavailable(name: str, message: str) -> str:
    """Why a device cannot be used, and what to do; torch's own message can be a page long."""
    kind = name.partition(":")[0]
    if "driver" in message:
        return _driver(message)
    if kind == "cuda" and torch.cuda.is_available():
        return f"{message.splitlines()[0][:100]}; this machine has {torch.cuda.device_count()} GPUs, from cuda:0"
    lacks = "was built without CUDA" if "not compiled" in message else f"finds no {kind.upper()} device here"
    return f"this torch {lacks}; set model.device=auto, or cpu"


def _has_cuda() -> bool:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    for warning in caught:
        if "driver" in str(warning.message):
            raise UserError(f"model.device = auto: {_driver(str(warning.message))}, or set model.device=cpu")
    return available


def _driver(message: str) -> str:
    """The first line of torch's message about a device; for a driver that is too old, what to do."""
    if (found := re.search(r"driver on your system is too old \(found version (\d+)", message)) is None:
        return message.splitlines()[0]
    number = int(found[1])
    return (
        f"the NVIDIA driver supports CUDA up to {number // 1000}.{number % 1000 // 10}, and this torch needs"
        f" {torch.version.cuda or 'a later one'}; update the driver, or install a torch that is built for it"
    )


def _reason(name: str, error: BaseException) -> str:
    page = f"https://huggingface.co/{name}"
    chain = list(_chain(error))
    if any(isinstance(link, GatedRepoError) for link in chain):
        return f"its owners ask you to accept their terms first: do so at {page}, then log in with: hf auth login"
    if any(isinstance(link, RepositoryNotFoundError) for link in chain):
        return "no such model on the hub, and no such folder; check the name, or log in to a private one: hf auth login"
    if any(isinstance(link, LocalEntryNotFoundError) for link in chain):
        return "the hub cannot be reached and the model was not downloaded before; check the network, or name a folder"
    if any(out_of_memory(link) for link in chain):
        return "not enough memory; try model.quantization=4bit with model.lora.rank=16, or a smaller model"
    if any(isinstance(link, HFValidationError) for link in chain):
        return "no such folder, and not a valid name on the hub, which has the form owner/name"
    if (folder := Path(name)).is_dir() and not (folder / "config.json").is_file():
        return "the folder has no config.json, so it is not a Hugging Face model"
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes; transformers wraps the errors of the hub's client."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
