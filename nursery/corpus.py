"""Documents as arrays of tokens, made by several processes, with statistics about them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from azr.domains.python.syntax import read
from nursery.documents import Document, Mix, Piece, documents
from nursery.grammar import Specimen, specimens
from nursery.tokenizer import build_tokenizer

_SHARD = 1000
"""Programs per shard; the references of a proposal come from its own shard."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents, concatenated.

    Attributes:
        tokens: ids of all documents, each ending with the end token.
        weights: loss weight of each token, in hundredths.
        starts: where each document starts; the last entry is the number of tokens.
        counts: documents and tokens by family, kind and thinking; programs.
    """

    tokens: NDArray[np.uint16]
    weights: NDArray[np.uint8]
    starts: NDArray[np.int64]
    counts: Counter[str]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each document."""
        return np.diff(self.starts)


def build_corpus(
    programs: int, *, seed: int, mix: Mix, excluded: frozenset[str] = frozenset(), processes: int = 1
) -> Corpus:
    """Draw programs, write documents about them, and encode these.

    Args:
        programs: how many programs, rounded up to whole shards of 1000.
        seed: the same seed gives the same corpus, whatever the number of processes.
        mix: how many documents of which family.
        excluded: normal forms of the programs to leave out (those of the held-out sets).
        processes: worker processes; 1 for this process alone.
    """
    make = partial(_shard, mix=mix, excluded=excluded, programs=min(programs, _SHARD))
    seeds = [f"{seed}/{number}" for number in range(-(-programs // _SHARD))]
    if processes == 1:
        return joined(map(make, seeds))
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return joined(pool.map(make, seeds))


def fresh(pool: Iterable[Specimen], excluded: frozenset[str]) -> Iterable[Specimen]:
    """The specimens whose normal form is not excluded."""
    return (specimen for specimen in pool if read(specimen.program).normal not in excluded)


def _shard(seed: str, *, mix: Mix, excluded: frozenset[str], programs: int) -> Corpus:
    pool = list(islice(fresh(specimens(seed), excluded), programs))
    made = list(documents(pool, mix, random.Random(f"documents {seed}")))
    corpus = encode(made, mix)
    corpus.counts["programs"] = len(pool)
    return corpus


def encode(made: Sequence[Document], mix: Mix) -> Corpus:
    """Encode documents and count them by family, kind and thinking."""
    pieces = [((document.prompt, mix.prompt_weight), *document.answer) for document in made]
    corpus = tokenized(pieces, build_tokenizer())
    for document, length in zip(made, corpus.lengths.tolist(), strict=True):
        label = f"{document.family}/{document.kind}/{'thinks' if document.thinks else 'answers'}"
        corpus.counts[f"documents/{label}"] += 1
        corpus.counts[f"tokens/{label}"] += length
    return corpus


def tokenized(made: Sequence[Sequence[Piece]], tokenizer: PreTrainedTokenizerFast) -> Corpus:
    """Encode documents given as pieces of text with their loss weights.

    Each document ends with the end token, which has the weight of the last piece.
    """
    pieces = [(*document, (tokenizer.eos_token, document[-1][1])) for document in made]
    texts = [text for document in pieces for text, _ in document]
    ids = iter(tokenizer(texts, add_special_tokens=False)["input_ids"]) if texts else iter(())
    tokens: list[int] = []
    weights: list[int] = []
    starts = [0]
    for document in pieces:
        for _, weight in document:
            part = next(ids)
            tokens += part
            weights += [round(100 * weight)] * len(part)
        starts.append(len(tokens))
    return Corpus(np.array(tokens, np.uint16), np.array(weights, np.uint8), np.array(starts, np.int64), Counter())


def joined(shards: Iterable[Corpus]) -> Corpus:
    """Concatenate corpora."""
    parts = list(shards)
    ends = np.cumsum([0, *(len(part.tokens) for part in parts)])
    starts = [part.starts[:-1] + end for part, end in zip(parts, ends[:-1], strict=True)]
    return Corpus(
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([part.weights for part in parts]),
        np.concatenate([*starts, ends[-1:]]),
        sum((part.counts for part in parts), Counter()),
    )
