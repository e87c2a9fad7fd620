"""How fast does a GPU sample and learn, against `generate`, memory bandwidth and the peak of its matrix units?

Random weights in the shapes of Qwen2.5 0.5B, 1.5B and 3B, in bfloat16. Sampling: sequences that end at random, useful
tokens a second, turn by turn: azr; transformers' `generate`; its continuous batching over paged keys and values. All of
them against the floor that memory bandwidth sets: the weights, and the keys and values of the rows that are left, read
once per token, at the bandwidth of a copy in this run.
Learning: the share of the matrix units' peak (MFU) that 6 x parameters x tokens operations reach; that peak is measured
in this run by a large product. Says so and ends where there is no GPU; `--device cpu --shapes tiny` tries the script.

    python bench/gpu.py [--shapes 0.5b 1.5b 3b] [--rows 256] [--new 1024] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import transformers
from generate import EOS, PAD, RaggedEnds
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import ContinuousBatchingConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from azr.concurrency import gather
from azr.config import AlgorithmConfig, GenerationConfig, LearnerConfig
from azr.learn.base import TrainSample
from azr.learn.learner import PolicyLearner
from azr.models.load import LanguageModel, wrap
from azr.plan.shapes import qwen2
from azr.rollout.base import Renderer, Sampling
from azr.rollout.local.generator import LocalGenerator

SHAPES = ("tiny", "0.5b", "1.5b", "3b")
TINY = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
}
PROMPT = 128
BLOCK = 256
"""Tokens in a block of paged keys and values, transformers' default."""


def build(shape: str, device: torch.device, new: int) -> LanguageModel:
    torch.manual_seed(0)
    own = {"eos_token_id": EOS, "pad_token_id": PAD, "bos_token_id": None, "tie_word_embeddings": False}
    config = Qwen2Config(**TINY, **own) if shape == "tiny" else qwen2(shape.upper(), **own)
    with device:
        model = Qwen2ForCausalLM(config).to(torch.bfloat16)
        model.lm_head.__class__ = RaggedEnds
    model.lm_head.odds = float(torch.log(torch.tensor(new / 4 - 1)))  # a quarter of the limit on average
    words = Tokenizer(models.WordLevel({"<pad>": PAD, "<end>": EOS} | {f"w{i}": i for i in range(2, 512)}, "<pad>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", pad_token="<pad>")
    return wrap(model, tokenizer, name=shape)


def prompts(rows: int) -> list[str]:
    ids = torch.randint(2, 512, (rows, PROMPT), generator=torch.Generator().manual_seed(1))
    return [" ".join(f"w{i}" for i in row) for row in ids.tolist()]


def ours(generator: LocalGenerator, render: Renderer, texts: list[str], new: int, round_: int) -> list[TrainSample]:
    async def rollout(number: int) -> TrainSample:
        key = f"{round_} {number:04}"
        (sample,) = await generator.sample(render(texts[number]), n=1, key=key, sampling=Sampling(new))
        return TrainSample.of(sample, np.full(len(sample.completion_ids), (-1.0) ** number))

    return asyncio.run(gather(map(rollout, range(len(texts)))))


def theirs(policy: LanguageModel, texts: list[str], new: int, round_: int) -> list[int]:
    """Tokens that `generate` gives each row."""
    torch.manual_seed(round_)
    batch = policy.tokenizer(texts, return_tensors="pt").to(policy.device)
    with torch.inference_mode():
        output = policy.model.generate(
            batch.input_ids, attention_mask=batch.attention_mask, generation_config=free(new)
        )
    return (output[:, PROMPT:] != PAD).sum(dim=1).tolist()


def paged(policy: LanguageModel, texts: list[str], new: int, round_: int) -> list[int]:
    """Tokens that continuous batching gives each row, with their log-probabilities, which self-play needs.

    What it compiled and recorded is kept for the next round. It has blocks for all rows at once and no more, since the
    other ways need the card's memory in turn.
    """
    settings = ContinuousBatchingConfig(
        return_logprobs=True,
        seed=round_,
        num_blocks=len(texts) * -(-(PROMPT + new) // BLOCK),
        max_batch_tokens=8192,
        max_requests_per_batch=len(texts),
    )
    inputs = policy.tokenizer(texts).input_ids
    outputs = policy.model.generate_batch(inputs, free(new), settings, persistent_manager=True).values()
    wrong = [output.error for output in outputs if output.error]
    if wrong or len(outputs) < len(texts):
        raise RuntimeError(f"paged: {len(outputs) - len(wrong)} of {len(texts)} rows came back; {wrong[:1]}")
    return [len(output.generated_tokens) for output in outputs]


def free(new: int) -> transformers.GenerationConfig:
    """The model's own distribution, as azr samples it."""
    options = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "max_new_tokens": new}
    return transformers.GenerationConfig(**options, eos_token_id=EOS, pad_token_id=PAD)


def seconds(device: torch.device, work: Callable[[], object]) -> float:
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def peak(device: torch.device) -> str:
    """Most memory in use since this was last asked, in words; on a GPU."""
    if device.type != "cuda":
        return ""
    most = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return f"; peak memory {most:.1f} GiB"


def peaks(device: torch.device) -> tuple[float, float]:
    """Operations a second of a bfloat16 product, and bytes a second of a copy (read and written); the best of five."""
    size = 8192 if device.type == "cuda" else 512
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    product = min(seconds(device, lambda: a @ a) for _ in range(5))
    big = torch.empty(size * size * 8, device=device, dtype=torch.uint8)
    copy = min(seconds(device, big.clone) for _ in range(5))
    return 2 * size**3 / product, 2 * big.numel() / copy


def floor(policy: LanguageModel, lengths: list[int], bandwidth: float) -> float:
    """Least seconds to sample rows of these lengths, by memory bandwidth."""
    config = policy.model.config
    weights = sum(p.numel() * p.element_size() for p in policy.model.parameters())
    token = (
        2
        * config.num_hidden_layers
        * config.num_key_value_heads
        * (config.hidden_size // config.num_attention_heads)
        * 2
    )
    cached = sum(n * PROMPT + n * (n - 1) // 2 for n in lengths)
    return (max(lengths) * weights + cached * token) / bandwidth


def sample(
    policy: LanguageModel, device: torch.device, arguments: argparse.Namespace, bandwidth: float
) -> list[TrainSample]:
    """Time all ways to sample, turn by turn; azr's last rollouts are returned."""
    texts, new, rollouts = prompts(arguments.rows), arguments.new, []

    generator = LocalGenerator(policy, GenerationConfig(max_rows=len(texts), overlap=False), seed=0)

    def azr(round_: int) -> list[int]:
        rollouts[:] = ours(generator, policy.renderer(chat=False), texts, new, round_)
        return [len(rollout.completion_ids_T) for rollout in rollouts]

    ways: dict[str, Callable[[int], list[int]]] = {
        "azr": azr,
        "generate": lambda round_: theirs(policy, texts, new, round_),
        "paged": lambda round_: paged(policy, texts, new, round_),
    }
    rates: dict[str, list[float]] = {}
    for round_ in range(arguments.rounds + 1):  # the first is for warming up
        for name, way in ways.items():
            lengths: list[int] = []
            time_ = seconds(device, lambda: lengths.extend(way(round_)))  # noqa: B023
            memory = peak(device)
            if round_:
                rates.setdefault(f"{name}: tokens/s", []).append(sum(lengths) / time_)
                rates.setdefault(f"{name}: of the floor", []).append(floor(policy, lengths, bandwidth) / time_)
            else:
                print(f"{policy.name} sampling, {name}: first round {time_:.1f} s{memory}")
    policy.model.destroy_cached_continuous_batching_manager()
    for name in ("generate", "paged"):
        pairs = zip(rates["azr: tokens/s"], rates[f"{name}: tokens/s"], strict=True)
        rates[f"azr: x {name}"] = [one / other for one, other in pairs]
    for name, values in rates.items():
        spread = f"min {min(values):.3g} median {statistics.median(values):.3g} runs {len(values)}"
        print(f"{policy.name} sampling, {name} {spread}")
    return rollouts


def bench(shape: str, device: torch.device, arguments: argparse.Namespace, product: float, bandwidth: float) -> None:
    policy = build(shape, device, arguments.new)
    peak(device)
    rollouts = sample(policy, device, arguments, bandwidth)
    peak(device)
    policy.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    settings = LearnerConfig(optimizer="adamw-fused", token_budget=arguments.budget)
    learner = PolicyLearner(policy, settings, AlgorithmConfig(), temperature=1.0, total_steps=100, seed=0)
    tokens = sum(PROMPT + len(rollout.completion_ids_T) - 1 for rollout in rollouts)
    work = 6 * sum(p.numel() for p in policy.model.parameters()) * tokens
    times = [seconds(device, lambda: asyncio.run(learner.update(rollouts))) for _ in range(arguments.rounds + 1)][1:]
    shares = [work / time_ / product for time_ in times]
    spread = f"min {min(shares):.1%} median {statistics.median(shares):.1%} runs {len(shares)}"
    print(f"{shape} learning: MFU {spread}{peak(device)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["0.5b", "1.5b", "3b"])
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--new", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=int, default=16384)
    arguments = parser.parse_args()
    # It warns that a batcher which is kept fits one workload; here every round is that workload.
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.ERROR)
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here: nothing was measured")
        return
    if device.type == "cpu":
        torch.set_num_threads(1)  # with more, a busy machine slows the two sides down by different amounts
    product, bandwidth = peaks(device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}: {product / 1e12:.3g} TFLOP/s in bfloat16, {bandwidth / 1e9:.3g} GB/s")
    for shape in arguments.shapes:
        bench(shape, device, arguments, product, bandwidth)


if __name__ == "__main__":
    main()
