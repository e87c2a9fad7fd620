"""The nursery's tokenizer: keywords, operators with their spaces, indentation and answer tags are single tokens.

Numbers are read digit by digit and other words letter by letter, so that a small model can compute on them. Whatever is
not printable ASCII goes byte by byte: every text comes back as it was, `decode(encode(text)) == text`.
"""

from __future__ import annotations

import re

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

EOS = "<eos>"
PAD = "<pad>"
HINT_WORDS = "add sub mul div mod gt lt eq map filter slice index const".split()
"""Words that only the messages of induction tasks use."""

_TAGS = (
    "program input output message helper error propose solve think answer trace deduction abduction induction".split()
)
_PHRASES = (
    "def f(", "def g(", "):", "return ", "if ", "while ", "for ", "else:", "elif ", "lambda ", " = ", " += ", " -= ",
    " *= ", " + ", " - ", " * ", " // ", " % ", " == ", " != ", " < ", " > ", " <= ", " >= ", " if ", " else ", " for ",
    " in ", " not in ", " and ", " or ", "not ", ", ", ": ", "[::-1]", "[0]", "[1]", "[2]", "[-1]", "[1:]", "[:-1]",
    "[:2]", "[:3]", " in range(", ".append(", ".count(", ".upper()", ".replace(", "''.join(", "''", "[]",
)  # fmt: skip
_WORDS = (
    "True False None def return if elif else for while in not and or is break continue pass lambda import from "
    "try except abs all any append chr count dict enumerate filter find int isdigit join len list lower map max min "
    "ord pop range replace reversed round set sorted split str strip sum tuple upper zip"
).split()
_DEEPEST = 5
"""Levels of indentation that are one token together with their newline."""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Make the tokenizer; there is nothing to train, the vocabulary is the language."""
    tags = [form for tag in _TAGS for form in (f"<{tag}>", f"</{tag}>")]
    breaks = ["\n" + "    " * level for level in range(_DEEPEST + 1)]
    letters = [chr(code) for code in range(0x20, 0x7F)]
    others = [code for code in range(0x100) if not 0x20 <= code < 0x7F and chr(code) != "\n"]
    words = dict.fromkeys([*_WORDS, *HINT_WORDS])
    tokens = [EOS, PAD, *tags, *breaks, *_PHRASES, *words, *letters, *(f"<0x{code:02X}>" for code in others)]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    # No merges: a piece that is a token as a whole is taken (ignore_merges), any other goes character by character.
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, ignore_merges=True))
    phrases = sorted(_PHRASES, key=len, reverse=True)
    pattern = "|".join([r"</?[a-z]+>", r"\n(?: {4})*", *map(re.escape, phrases), r"[A-Za-z]+", r"[\s\S]"])
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=EOS,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )
