"""The small model of the primes domain: what it reads, and how it is made.

It knows the domain's compact formats and can work an inverse out step by step, by Euclid's algorithm; but left to
itself it mostly answers at once, which a model of this size cannot do for a pair that it has not seen. Its proposals
are tasks or slips, as often as in its documents. No document is about a pair that is held out.

How an attempt thinks:
- deduction, abduction: Euclid's algorithm on p and the number that is given, a step a line: the division, then the next
  coefficient with its sign; at last, where the sign is minus, what is left of p;
- induction: the product of the pair with the smallest number, then that product less one as a multiple of p.

Single calculations of such thoughts are documents too, out of their context, for all numbers: so the model can work out
a pair that it has not seen.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from azr.config import SandboxConfig
from azr.domains.primes.arithmetic import euclid, inverse, is_prime, primes_up_to
from azr.domains.primes.config import PrimesConfig
from azr.domains.primes.domain import PrimesDomain, is_withheld, proposal
from azr.types import DEDUCTION, INDUCTION, Kind, Task
from nursery.build import save
from nursery.corpus import tokenized
from nursery.train import Point, Schedule, Shape, new_model, train

FOLDER = Path(str(resources.files("azr.models"))) / "weights" / "nursery-primes"
"""The model that ships."""
EOS, PAD = "<eos>", "<pad>"

SHAPE = Shape(hidden=64, layers=3, heads=4, feed_forward=256, positions=256)

Document = tuple[tuple[str, float], ...]
"""Pieces of a text, each with the weight of its tokens' loss; the prompt is the first and weighs nothing."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of training.

    Attributes:
        documents: number of documents.
        tokens: number of tokens to train on, over as many epochs as that takes.
        lr: peak learning rate.
        arithmetic: share of the documents that are calculations.
        scrambled: share of the calculations that are put in the place of thoughts.
    """

    documents: int
    tokens: int
    lr: float
    arithmetic: float
    scrambled: float


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the model.

    Attributes:
        stages: what is read, one after another: first every calculation by itself, then in the place of thoughts.
        propose: share of the documents that are proposals; what is left are attempts.
        practice: share of the attempts that think.
        inclination: how often the model is to think when nothing tells it to. The loss of the one token that begins a
            thought is weighed so that this, not `practice`, is what it learns.
        slips: share of the proposals that are no tasks.
        references: most references in a proposal's prompt.
        seed: of documents, weights and order.
        shape: the architecture.
    """

    stages: tuple[Stage, ...] = (
        Stage(documents=200_000, tokens=8_000_000, lr=8e-3, arithmetic=0.35, scrambled=0.0),
        Stage(documents=60_000, tokens=2_500_000, lr=2e-3, arithmetic=0.4, scrambled=1.0),
    )
    propose: float = 0.1
    practice: float = 0.85
    inclination: float = 0.15
    slips: float = 0.4
    references: int = 3
    seed: int = 0
    shape: Shape = SHAPE


DOMAIN = PrimesDomain(PrimesConfig(style="compact"), SandboxConfig())
"""The primes that the documents are about: the domain's default range."""
PAIRS = [(p, x) for p in primes_up_to(DOMAIN.config.max_prime) if p >= DOMAIN.config.min_prime for x in range(2, p)]
HELD_OUT = [(p, x) for p, x in PAIRS if is_withheld(p, x, inverse(x, p))]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Numbers go by pairs of digits, so that those below 100 are one token, as tags are; all else by characters."""
    names = "propose solve think answer deduction abduction induction arithmetic".split()
    tags = [form for name in names for form in (f"<{name}>", f"</{name}>")]
    digits = "0123456789"
    numbers = [*digits, *(a + b for a in digits for b in digits)]
    phrases = ["\n", " = ", ", ", " * ", " / ", " + ", " - "]
    letters = [chr(code) for code in range(0x20, 0x7F) if chr(code) not in digits]
    others = [f"<0x{code:02X}>" for code in range(0x100) if not 0x20 <= code < 0x7F and code != 0x0A]
    tokens = [EOS, PAD, *tags, *numbers, *phrases, *letters, *others]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, ignore_merges=True))
    pattern = Regex(r"</?[a-z]+>| = |, | \* | / | \+ | - |[0-9]{1,2}|[\s\S]")
    backend.pre_tokenizer = pre_tokenizers.Split(pattern, behavior="isolated")
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=EOS, pad_token=PAD, clean_up_tokenization_spaces=False, model_max_length=256
    )


def documents(recipe: Recipe, stage: Stage, *, seed: int) -> Iterator[Document]:
    """Draw a stage's documents, one after another."""
    rng, draws = random.Random(seed), np.random.default_rng(seed)
    for _ in range(stage.documents):
        kind = rng.choice(DOMAIN.kinds)
        family = rng.random()
        if family < stage.arithmetic:
            yield _scrambled(_task(kind, draws), rng) if rng.random() < stage.scrambled else _arithmetic(rng)
        elif family < stage.arithmetic + recipe.propose:
            references = [_task(kind, draws) for _ in range(rng.randint(0, recipe.references))]
            yield _proposal(_task(kind, draws), references, draws, slip=rng.random() < recipe.slips)
        else:
            yield _attempt(_task(kind, draws), recipe, thinks=rng.random() < recipe.practice)


def build(
    folder: Path = FOLDER, recipe: Recipe = Recipe(), *, threads: int = 1, report: Callable[[str], None] = print
) -> None:
    """Make the model and save it as a Hugging Face folder (bf16 safetensors), with the record of its making.

    Args:
        folder: made if need be.
        recipe: what to make.
        threads: torch's.
        report: called with each line of progress.
    """
    torch.set_num_threads(threads)
    tokenizer = build_tokenizer()
    pad = tokenizer.pad_token_id
    model = new_model(recipe.shape, vocabulary=len(tokenizer), eos=tokenizer.eos_token_id, pad=pad, seed=recipe.seed)
    curve: list[Point] = []

    def tell(point: Point) -> None:
        curve.append(point)
        report(f"step {point.step}: {point.tokens} tokens, {point.seconds:.0f} s, loss {point.loss:.3f}")

    for number, stage in enumerate(recipe.stages):
        seed = recipe.seed + number
        corpus = tokenized(list(documents(recipe, stage, seed=seed)), tokenizer)
        report(f"stage {number + 1}: {len(corpus.lengths)} documents, {len(corpus.tokens)} tokens")
        schedule = Schedule(tokens=stage.tokens, lr=stage.lr, batch=4096, micro_batches=1)
        train(model, corpus, schedule, pad=pad, seed=seed, report=tell, every=100)
    save(model, tokenizer, {"recipe": asdict(recipe), "curve": [asdict(point) for point in curve]}, folder)


def inverse_thought(task: Task) -> str:
    """Euclid's algorithm, one step per line."""
    number, p = task.data["pairs"][0][0 if task.kind == DEDUCTION else 1], task.data["p"]
    steps = _calculations(number, p)
    lines = [f"{division}, {update}{'-+'[index % 2]}" for index, (division, update) in enumerate(steps)]
    if len(lines) % 2:
        lines.append(_rest(number, p))
    return "\n".join(lines)


def induction_thought(task: Task) -> str:
    """The smallest product x * y of the pairs, and x * y - 1 as a multiple of p."""
    a, b = min(sorted(pair) for pair in task.data["pairs"] if pair != [1, 1])
    p = task.data["p"]
    return f"{a} * {b} = {a * b}\n{a * b - 1} = {(a * b - 1) // p} * {p}"


def _task(kind: Kind, draws: np.random.Generator) -> Task:
    while True:
        task = DOMAIN.task(kind, DOMAIN.draw(kind, draws))
        if not DOMAIN.withheld(task):
            return task


def _attempt(task: Task, recipe: Recipe, *, thinks: bool) -> Document:
    prompt = (DOMAIN.solve_prompt(task), 0.0)
    answer = DOMAIN.answer(task)
    if not thinks:
        return prompt, ("<answer>", 1.0), (f"{answer}</answer>", 1.0)
    odds = recipe.inclination / (1 - recipe.inclination)
    thought = induction_thought(task) if task.kind == INDUCTION else inverse_thought(task)
    return (
        prompt,
        ("<think>", odds * (1 - recipe.practice) / recipe.practice),
        (f"{thought}</think><answer>{answer}</answer>", 1.0),
    )


def _proposal(task: Task, references: Sequence[Task], draws: np.random.Generator, *, slip: bool) -> Document:
    prompt = DOMAIN.propose_prompt(task.kind, references, draws).text
    text = _slip(task, draws) if slip else proposal(task)
    return (prompt, 0.0), (f"<answer>{text}</answer>", 1.0)


def _slip(task: Task, draws: np.random.Generator) -> str:
    """A proposal on a composite number, or with a number that is not below p."""
    p, largest = task.data["p"], DOMAIN.config.max_prime
    if draws.random() < 0.6:
        p = int(draws.choice([number for number in range(4, largest) if not is_prime(number)]))
        numbers = [int(draws.integers(1, p)) for _ in task.data["pairs"]]
    else:
        numbers = [int(draws.integers(p, p + largest)) for _ in task.data["pairs"]]
    pairs = [[number, number] for number in numbers]  # whichever side the kind writes
    return proposal(DOMAIN.task(task.kind, {"p": p, "pairs": pairs}))


def _arithmetic(rng: random.Random) -> Document:
    """One calculation, out of its context."""
    question, result = _calculation(rng)
    return (f"<arithmetic>\n{question}\n<solve>\n", 0.0), (f"<answer>{question} = {result}</answer>", 1.0)


def _scrambled(task: Task, rng: random.Random) -> Document:
    """Calculations that have nothing to do with the task, in the place of a thought; only their results are learnt.

    Without these the model recites the thoughts of the pairs that it has read, and cannot think about another.
    """
    lines: list[tuple[str, float]] = []
    for _ in range(rng.randint(2, 8)):
        question, result = _calculation(rng)
        lines += [(f"{question} = ", 0.0), (result, 1.0), (rng.choice("-+ ") + "\n", 0.0)]
    return (DOMAIN.solve_prompt(task) + "<think>", 0.0), *lines


def _calculation(rng: random.Random) -> tuple[str, str]:
    """A question and its result, from a thought about any pair at all: what is held out is a pair with its inverse."""
    if rng.random() < 0.15:
        a, b = sorted((rng.randint(2, 24), rng.randint(2, DOMAIN.config.max_prime)))
        return f"{a} * {b}", str(a * b)
    p, x = rng.choice(HELD_OUT if rng.random() < 0.5 else PAIRS)
    steps = _calculations(x, p)
    divisions, updates = zip(*steps, strict=True)
    question, _, result = rng.choice([*divisions, *updates, *([_rest(x, p)] if len(steps) % 2 else [])]).rpartition(
        " = "
    )
    return question, result


def _calculations(number: int, p: int) -> list[tuple[str, str]]:
    """The division and the next coefficient of each step, coefficients without their sign."""
    above, below, before, now, found = p, number, 0, 1, []
    for q, r, t in euclid(number, p):
        found.append((f"{above} / {below} = {q}, {r}", f"{before} + {q} * {now} = {abs(t)}"))
        above, below, before, now = below, r, now, abs(t)
    return found


def _rest(number: int, p: int) -> str:
    t = abs(euclid(number, p)[-1][2])
    return f"{p} - {t} = {p - t}"


if __name__ == "__main__":
    build()
