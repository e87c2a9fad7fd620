"""Load any Hugging Face causal language model with its tokenizer, for sampling and training; save it to a folder."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azr.models import lighter  # noqa: F401 -- before transformers

# isort: split
import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedTokenizerFast
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from transformers.utils import logging as transformers_logging

from azr.errors import UserError
from azr.models import adapters, hub, quantize
from azr.models.failures import no_model, pick_device
from azr.types import Prompt

if TYPE_CHECKING:
    from azr.config import ModelConfig


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A model with its tokenizer.

    Attributes:
        name: hub name or folder, for messages.
        model: an `AutoModelForCausalLM`, in eval mode and without dropout (see `without_dropout`); None if it is
            elsewhere (see `load_text`).
        tokenizer: its tokenizer.
        eos_ids: all tokens that end a completion; at least one.
        prefix_ids: special tokens that the tokenizer prepends to a text (a BOS token, or nothing).
        context_length: maximum number of positions; None if the architecture has no limit.
        adapted: whether only a LoRA adapter learns.
    """

    name: str
    model: Any
    tokenizer: Any
    eos_ids: tuple[int, ...]
    prefix_ids: tuple[int, ...]
    context_length: int | None
    adapted: bool = False

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return torch.device(self.model.device)

    def encode(self, prompt: str) -> tuple[int, ...]:
        """Token ids of a prompt, with the tokenizer's prefix exactly once.

        A chat template contains the BOS token and a base prompt does not, so adding special tokens in both cases would
        double it in the first. The end token that some tokenizers append is never added, since a prompt that has ended
        cannot be continued.
        """
        ids = tuple(self.tokenizer.encode(prompt, add_special_tokens=False))
        return ids if ids[: len(self.prefix_ids)] == self.prefix_ids else self.prefix_ids + ids

    def encode_answer(self, text: str) -> tuple[int, ...]:
        """Token ids of an answer, with the end token."""
        own = self.tokenizer.eos_token_id
        end = own if own in self.eos_ids else self.eos_ids[0]
        return (*self.tokenizer.encode(text, add_special_tokens=False), end)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of a completion without its end token; other special tokens are kept."""
        kept = list(ids[:-1] if ids and ids[-1] in self.eos_ids else ids)
        return str(self.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def renderer(self, *, chat: bool) -> Callable[[str], Prompt]:
        """A function that turns a text into a prompt, through the model's chat template or unchanged.

        Raises:
            UserError: `chat` is set and the tokenizer has no chat template.
        """

        def render(text: str) -> Prompt:
            whole = self.chat(text) if chat else text
            token_ids = self.encode(whole)
            return Prompt(whole, token_ids, len(token_ids))

        render("")  # fails here if the tokenizer has no chat template
        return render

    def chat(self, message: str) -> str:
        """Apply the model's chat template to one user message, up to the start of the assistant's turn.

        Raises:
            UserError: the tokenizer has no chat template.
        """
        if self.tokenizer.chat_template is None:
            raise UserError(f"model {self.name}: its tokenizer has no chat template; set domain.style=r1")
        messages = [{"role": "user", "content": message}]
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def export(self, folder: Path) -> None:
        """Write a plain Hugging Face folder: safetensors weights, tokenizer, config and generation config.

        An adapter is merged into the weights, and quantised weights are dequantised.

        Raises:
            OSError: the disk is full or not writable.
        """
        model = self.model
        if self.adapted or quantize.is_quantized(model):
            model = adapters.plain_copy(model)
        with quiet(), _system_errors():
            model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)

    def save(self, folder: Path) -> None:
        """Write what `restore` needs: only the adapter if there is one, else what `export` writes.

        Raises:
            OSError: the disk is full or not writable.
        """
        if self.adapted:
            with quiet(), _system_errors():
                self.model.save_pretrained(folder)  # with an adapter, transformers writes only that
        else:
            self.export(folder)

    def restore(self, folder: Path) -> None:
        """Load the weights that `save` wrote.

        Raises:
            OSError, ValueError, KeyError, RuntimeError, SafetensorError: they are missing, or of another model.
        """
        if self.adapted:
            adapters.restore(self.model, folder)
            return
        with quiet():
            # Through the class that is loaded already, so that trust_remote_code is not asked for again.
            saved, info = type(self.model).from_pretrained(folder, dtype=self.model.dtype, output_loading_info=True)
        if odd := sum(map(len, info.values())):
            raise ValueError(f"{odd} of its weights are missing, or do not belong to this model")
        self.model.load_state_dict(saved.state_dict())


def load_model(config: ModelConfig) -> LanguageModel:
    """Load a model by hub name or folder.

    Raises:
        UserError: the model cannot be loaded (see `azr.models.failures`), or has no end token.
    """
    if config.hosted:
        raise UserError(f"model {config.name}: it is on a Tinker service, and only azr train can use it there")
    device = pick_device(config.device)
    auto = "bfloat16" if device.type == "cuda" else "float32"
    dtype: torch.dtype = getattr(torch, auto if config.dtype == "auto" else config.dtype)
    weights = {"dtype": dtype, **quantize.options(config.quantization, device, dtype)}
    try:
        local = {"local_files_only": hub.only_local(config.name)}
        options = {"trust_remote_code": config.trust_remote_code, **local}
        with quiet():
            tokenizer = _load_tokenizer(config.name, **options)
            settings = without_dropout(AutoConfig.from_pretrained(config.name, **options))
            model = AutoModelForCausalLM.from_pretrained(
                config.name,
                config=settings,
                attn_implementation=config.attention,
                adapter_kwargs=dict(local),  # transformers also looks for an adapter, without passing this on
                **weights,
                **options,
            )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError, MemoryError) as error:
        raise UserError(no_model(config.name, error)) from error
    quantize.prepare(model, config.name)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if config.lora.rank:
        adapters.attach(model, config.lora)
    if config.quantization == "none":  # quantised weights are created on their device
        try:
            model.to(device)
        except torch.OutOfMemoryError as error:
            raise UserError(no_model(config.name, error)) from error
    return replace(wrap(model, tokenizer, name=config.name), adapted=config.lora.rank > 0)


def wrap(model: Any, tokenizer: Any, *, name: str = "in memory") -> LanguageModel:
    """Make a `LanguageModel` from a model and a tokenizer in memory.

    Raises:
        UserError: there is no end token, or the tokenizer has more tokens than the model.
    """
    eos_ids = _eos_ids(model, tokenizer)
    rows = model.get_input_embeddings().weight.shape[0]
    if not eos_ids:
        raise UserError(f"model {name}: neither its generation config nor its tokenizer names an end-of-sequence token")
    if len(tokenizer) > rows:
        raise UserError(f"model {name}: its tokenizer has {len(tokenizer)} tokens, its embedding only {rows}")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.eval()
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return LanguageModel(name, model, tokenizer, eos_ids, _prefix_ids(tokenizer), context)


def load_text(name: str, tokenizer: Any | None = None, *, context: int | None = None) -> LanguageModel:
    """A model that is elsewhere: only its tokenizer is here, and `model` is None.

    Args:
        name: folder or hub name of the tokenizer, if it is to be loaded; else for messages.
        tokenizer: the tokenizer, if it is loaded already.
        context: tokens that the model holds.

    Raises:
        UserError: the tokenizer cannot be loaded, or there is no end token.
    """
    try:
        tokenizer = tokenizer or _load_tokenizer(name)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise UserError(f"model.tokenizer = {name}: cannot be loaded; name a folder or a hub name") from error
    try:
        named = GenerationConfig.from_pretrained(tokenizer.name_or_path).eos_token_id
    except (OSError, ValueError):  # a tokenizer alone has none
        named = None
    eos_ids = _end_tokens(named, tokenizer)
    if not eos_ids:
        raise UserError(f"model.tokenizer = {name}: it names no end-of-sequence token")
    return LanguageModel(name, None, tokenizer, eos_ids, _prefix_ids(tokenizer), context, adapted=True)


def without_dropout(config: Any) -> Any:
    """Set every dropout probability of a model's configuration to 0, in place.

    The surrogate compares the learner's probabilities with the sampler's. With dropout, the learner would be a
    different random network in every pass: ratios would not start at 1, and clipping would cut noise instead of steps.
    """
    for key, value in config.to_dict().items():
        if isinstance(value, float) and ("dropout" in key or key.endswith("_pdrop")):
            setattr(config, key, 0.0)
    return config


def _load_tokenizer(name: str, **options: Any) -> Any:
    """Load the tokenizer exactly as its files describe it.

    For some model types (Qwen2 among them) `AutoTokenizer` of transformers 5 ignores that a tokenizer is declared as a
    generic one, and splits text by the model family's rules. A character tokenizer then silently loses its spaces.
    """
    declared = get_tokenizer_config(name, **options).get("tokenizer_class")
    generic = declared in ("TokenizersBackend", "PreTrainedTokenizerFast")
    return (PreTrainedTokenizerFast if generic else AutoTokenizer).from_pretrained(name, **options)


def _eos_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """End tokens from both sources: chat models often end with a token that only the generation config names."""
    return _end_tokens(model.generation_config.eos_token_id, tokenizer)


def _end_tokens(named: Any, tokenizer: Any) -> tuple[int, ...]:
    listed = named if isinstance(named, list) else [named]
    return tuple(sorted({token for token in (*listed, tokenizer.eos_token_id) if token is not None}))


def _prefix_ids(tokenizer: Any) -> tuple[int, ...]:
    bare = tokenizer.encode("a", add_special_tokens=False)
    full = tokenizer.encode("a", add_special_tokens=True)
    start = next((i for i in range(len(full)) if full[i : i + len(bare)] == bare), 0)
    return tuple(full[:start])


@contextlib.contextmanager
def _system_errors() -> Iterator[None]:
    """Turn errors of safetensors and tokenizers that contain a system error as text into `OSError`."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) or (number := re.search(r"os error (\d+)", str(error))) is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Disable transformers' progress bars, which would break the run's table on the screen."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
