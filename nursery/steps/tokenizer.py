"""The tokenizer of `nursery-steps`: a statement is a token, a digit is one, and so is a line's number with its break.

The number of a line is one token wherever it stands. In the program it follows the line's statement, and in a trace it
precedes it. So a trace finds a statement by looking for an equal token, and for what stands before that. Any text can
be decoded exactly: what is not in the vocabulary goes character by character or byte by byte.
"""

from __future__ import annotations

import re

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from nursery.steps.language import HEAD, STATEMENTS, TAIL

EOS, PAD = "<eos>", "<pad>"
MOST_LINES = 64
"""Line numbers up to this are single tokens."""
POSITIONS = 1024
"""Longest sequence."""

_TAGS = (
    "program input output message helper error deduction abduction induction propose extend join solve think answer"
).split()
_PHRASES = (HEAD, TAIL, " | ", ", ", *STATEMENTS)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Make the tokenizer; there is nothing to train, the vocabulary is the language."""
    tags = [form for tag in _TAGS for form in (f"<{tag}>", f"</{tag}>")]
    numbers = [f"  # {number}\n" for number in range(1, MOST_LINES + 1)]
    letters = [chr(code) for code in range(0x20, 0x7F)]
    others = [f"<0x{code:02X}>" for code in range(0x100) if not 0x20 <= code < 0x7F and code != 0x0A]
    tokens = [EOS, PAD, *tags, "\n", *numbers, *_PHRASES, *letters, *others]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, ignore_merges=True))
    numbered = r"  # (?:[1-9]|[1-5][0-9]|6[0-4])\n"
    phrases = [re.escape(phrase) for phrase in sorted(_PHRASES, key=len, reverse=True)]
    pattern = "|".join([r"</?[a-z]+>", numbered, *phrases, r"[\s\S]"])
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=EOS,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        model_max_length=POSITIONS,
    )
