"""How fast is continuous batching on a CPU, against transformers' own `generate`, when rows end at ragged lengths?

Qwen2 architecture, hidden size 128, 4 layers, random weights; 64 prompts, at most 128 new tokens, of which each
is the end with probability 1/32. Both sides sample at temperature 1 with the same prompts,
turn by turn in one process and one thread; useful tokens (up to and with the end token) a second are compared.

    python bench/generate.py [--rounds 7] [--prompts 64] [--rows 64] [--equal]

With `--equal`, no row ends before 128 tokens, so that continuous batching has nothing to gain.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import statistics
import time
from collections.abc import Callable

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from azr.concurrency import gather
from azr.config import GenerationConfig
from azr.models.load import LanguageModel, wrap
from azr.rollout.base import Sampling
from azr.rollout.local.generator import LocalGenerator

EOS, PAD, NEW, VOCABULARY = 1, 0, 128, 512


class RaggedEnds(torch.nn.Linear):
    """An output layer that ends a row with the same probability at every token.

    Attributes:
        odds: natural logarithm of the odds against the end; infinite if no row is to end.
    """

    odds: float

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Logits, with the end token's overwritten and padding never drawn."""
        logits = super().forward(states)
        logits[..., EOS] = torch.logsumexp(logits[..., EOS + 1 :].float(), dim=-1).to(logits.dtype) - self.odds
        logits[..., PAD] = -torch.inf
        return logits


def build(*, equal: bool) -> LanguageModel:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        tie_word_embeddings=False,
        eos_token_id=EOS,
        pad_token_id=PAD,
        bos_token_id=None,
    )
    model = Qwen2ForCausalLM(config)
    head = RaggedEnds(128, VOCABULARY, bias=False)
    head.load_state_dict(model.lm_head.state_dict())
    head.odds = math.inf if equal else math.log(31)
    model.lm_head = head
    vocabulary = {"<pad>": PAD, "<end>": EOS} | {f"w{i}": i for i in range(2, VOCABULARY)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return wrap(model, PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", pad_token="<pad>"))


def prompts(count: int) -> list[str]:
    random = torch.Generator().manual_seed(1)
    lengths = torch.randint(8, 64, (count,), generator=random).tolist()
    return [" ".join(f"w{i}" for i in torch.randint(2, VOCABULARY, (n,), generator=random).tolist()) for n in lengths]


def ours(policy: LanguageModel, texts: list[str], rows: int, seed: int) -> int:
    generator = LocalGenerator(policy, GenerationConfig(max_rows=rows, overlap=False), seed=seed)
    render = policy.renderer(chat=False)

    async def length(number: int) -> int:
        samples = await generator.sample(render(texts[number]), n=1, key=f"{number:04}", sampling=Sampling(NEW))
        return sum(len(sample.completion_ids) for sample in samples)

    return sum(asyncio.run(gather(map(length, range(len(texts))))))


def theirs(policy: LanguageModel, texts: list[str], rows: int, seed: int) -> int:
    torch.manual_seed(seed)
    tokens = 0
    for first in range(0, len(texts), rows):
        batch = policy.tokenizer(texts[first : first + rows], return_tensors="pt", padding=True, padding_side="left")
        options = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "max_new_tokens": NEW}
        with torch.inference_mode():
            output = policy.model.generate(batch.input_ids, attention_mask=batch.attention_mask, **options)
        tokens += int((output[:, batch.input_ids.shape[1] :] != PAD).sum())
    return tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--equal", action="store_true", help="all rows end at 128 tokens")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    policy, texts = build(equal=arguments.equal), prompts(arguments.prompts)
    sides: dict[str, Callable[[LanguageModel, list[str], int, int], int]] = {"azr": ours, "generate": theirs}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(arguments.rounds + 1):
        for name, run in sides.items():
            start = time.perf_counter()
            tokens = run(policy, texts, arguments.rows, round_)
            if round_:  # the first is for warming up
                rates[name].append(tokens / (time.perf_counter() - start))
    for name, values in rates.items():
        print(f"{name:9} tokens/s: min {min(values):7.0f}  median {statistics.median(values):7.0f}  runs {len(values)}")
    ratios = [a / b for a, b in zip(rates["azr"], rates["generate"], strict=True)]
    print(f"azr / generate: min {min(ratios):.2f}  median {statistics.median(ratios):.2f}  runs {len(ratios)}")


if __name__ == "__main__":
    main()
