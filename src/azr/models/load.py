"""Any Hugging Face causal language model with its tokenizer, ready to sample and to learn; and back to a folder."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from transformers.utils import logging as transformers_logging

from azr.errors import UserError
from azr.models import adapters, hub, quantize
from azr.models.failures import no_model, pick_device
from azr.types import Prompt

if TYPE_CHECKING:
    from azr.config import ModelConfig

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """Weights and tokenizer as one thing.

    Attributes:
        name: where it came from, for messages.
        model: an `AutoModelForCausalLM`, in eval mode and without dropout (see `without_dropout`).
        tokenizer: its tokenizer.
        eos_ids: every token that ends a completion; at least one.
        prefix_ids: special tokens that the tokenizer puts in front of a text (a BOS token, or nothing).
        context_length: most positions that the architecture can hold; None when it sets no limit.
        adapted: whether a LoRA adapter is what learns.
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
        """Where the weights lie."""
        device: torch.device = self.model.device
        return device

    def encode(self, prompt: str) -> tuple[int, ...]:
        """Token ids of a prompt, with the tokenizer's own prefix exactly once.

        A chat template writes the BOS token into its text, a base prompt does not; asking the tokenizer for special
        tokens in both cases would double it in the first. An end token that some tokenizers append is never taken
        over: a prompt that has ended already is nothing to continue.
        """
        ids = tuple(self.tokenizer.encode(prompt, add_special_tokens=False))
        return ids if ids[: len(self.prefix_ids)] == self.prefix_ids else self.prefix_ids + ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of a completion without its end token; any other special token stays visible."""
        kept = list(ids[:-1] if ids and ids[-1] in self.eos_ids else ids)
        text: str = self.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def renderer(self, *, chat: bool) -> Callable[[str], Prompt]:
        """What makes a prompt of a text: by the model's chat template, or as it is.

        Raises:
            UserError: a template is asked for and the tokenizer has none.
        """

        def render(text: str) -> Prompt:
            whole = self.chat(text) if chat else text
            token_ids = self.encode(whole)
            return Prompt(whole, token_ids, len(token_ids))

        render("")  # a tokenizer without a chat template is found out here
        return render

    def chat(self, message: str) -> str:
        """One user message in the model's chat template, up to where the assistant speaks.

        Raises:
            UserError: the tokenizer has no chat template.
        """
        if self.tokenizer.chat_template is None:
            raise UserError(f"model {self.name}: its tokenizer has no chat template; take domain.style=r1")
        text: str = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": message}], tokenize=False, add_generation_prompt=True
        )
        return text

    def export(self, folder: Path) -> None:
        """Write a plain Hugging Face folder: safetensors weights, tokenizer, config and generation config.

        An adapter is merged into its weights, and quantised weights are written as the numbers that they stand for.

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
        """Write what `restore` needs: the adapter alone where there is one, else what `export` writes.

        Raises:
            OSError: the disk is full or not writable.
        """
        if self.adapted:
            with quiet(), _system_errors():
                self.model.save_pretrained(folder)  # transformers writes the adapter only, once there is one
        else:
            self.export(folder)

    def restore(self, folder: Path) -> None:
        """Take back the weights that `save` wrote.

        Raises:
            OSError, ValueError, KeyError, RuntimeError, SafetensorError: they are not there, or not of this model.
        """
        if self.adapted:
            adapters.restore(self.model, folder)
            return
        with quiet():
            # By the class that is there already: whoever asked for its code once is not to be asked again.
            saved, told = type(self.model).from_pretrained(folder, dtype=self.model.dtype, output_loading_info=True)
        if odd := sum(map(len, told.values())):
            raise ValueError(f"{odd} of its weights are missing, or no weights of this model")
        self.model.load_state_dict(saved.state_dict())


def load_model(config: ModelConfig) -> LanguageModel:
    """Load a model by hub name or folder.

    Raises:
        UserError: the model cannot be had (see `azr.models.failures`), or has no end token; one line.
    """
    device = pick_device(config.device)
    dtype = _DTYPES.get(config.dtype) or (torch.bfloat16 if device.type == "cuda" else torch.float32)
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
                adapter_kwargs=dict(local),  # transformers looks for an adapter too, and does not pass it on itself
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
    if config.quantization == "none":  # quantised weights are made where they stay
        _move(model, device, config.name)
    return replace(wrap(model, tokenizer, name=config.name), adapted=config.lora.rank > 0)


def wrap(model: Any, tokenizer: Any, *, name: str = "in memory") -> LanguageModel:
    """Make a `LanguageModel` of a model and a tokenizer that exist already.

    Raises:
        UserError: no token ends a text, or the tokenizer has more tokens than the model.
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


def without_dropout(config: Any) -> Any:
    """Set every dropout probability of a model's configuration to 0, in place.

    The surrogate compares the learner's probabilities with the sampler's. Dropout would make the learner a different
    random network at every pass: ratios would start away from 1, and clipping would cut noise instead of steps.
    """
    for key, value in config.to_dict().items():
        if isinstance(value, float) and ("dropout" in key or key.endswith("_pdrop")):
            setattr(config, key, 0.0)
    return config


def _load_tokenizer(name: str, **options: Any) -> Any:
    """The tokenizer exactly as its files describe it.

    For some model types (Qwen2 among them) `AutoTokenizer` of transformers 5 overrules a tokenizer that is declared
    as a generic one and splits text by that model family's own rules: a character tokenizer then loses its spaces
    without a word.
    """
    declared = get_tokenizer_config(name, **options).get("tokenizer_class")
    generic = declared in ("TokenizersBackend", "PreTrainedTokenizerFast")
    return (PreTrainedTokenizerFast if generic else AutoTokenizer).from_pretrained(name, **options)


def _eos_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Both sources count: chat models often end with a token that only the generation config names."""
    named = model.generation_config.eos_token_id
    listed = named if isinstance(named, list) else [named]
    return tuple(sorted({token for token in (*listed, tokenizer.eos_token_id) if token is not None}))


def _prefix_ids(tokenizer: Any) -> tuple[int, ...]:
    bare = tokenizer.encode("a", add_special_tokens=False)
    full = tokenizer.encode("a", add_special_tokens=True)
    start = next((i for i in range(len(full)) if full[i : i + len(bare)] == bare), 0)
    return tuple(full[:start])


def _move(model: Any, device: torch.device, name: str) -> None:
    try:
        model.to(device)
    except torch.OutOfMemoryError as error:
        raise UserError(no_model(name, error)) from error


@contextlib.contextmanager
def _system_errors() -> Iterator[None]:
    """Tell a full disk as what it is: safetensors and tokenizers name the system's error only in their text."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) or (number := re.search(r"os error (\d+)", str(error))) is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' progress bars off the screen, which belongs to the run's own table."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
