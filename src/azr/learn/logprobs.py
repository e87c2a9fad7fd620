"""Log-probabilities and entropies of completion tokens under a model, with gradient."""

import inspect
import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from azr.learn.base import TrainSample
from azr.learn.lean import LeanBody, supports, take
from azr.learn.packing import Sharing, lay_out
from azr.learn.prefixes import lay_out_paths
from azr.models.products import linear

MOST_LOGITS = 2**25
"""Maximum number of logits held at once (128 MiB in float32). With more, they are recomputed in the backward pass."""


class Scores(NamedTuple):
    """Scores of the completion tokens of a micro-batch, rollout after rollout.

    Attributes:
        logprobs_N: log-probability of each token (nats, float32).
        entropy_N: entropy of the distribution that it was drawn from (nats, float32).
        states_NH: last hidden state that the token was predicted from; None unless the scorer keeps them.
    """

    logprobs_N: Tensor
    entropy_N: Tensor
    states_NH: Tensor | None


class Scorer:
    """Scores whole rollouts with a causal language model.

    The output layer is applied to completion positions only, in pieces: with a vocabulary of 150,000, the logits of
    prompts and padding would take more memory than everything else together. This requires that the logits are exactly
    the output layer of the last hidden state. Some architectures (Gemma, Cohere) scale or cap them. A comparison on a
    short probe detects this, and such a model goes through its own full forward pass.

    Args:
        model: a Hugging Face causal language model.
        temperature: log-probabilities are those of logits / temperature, as the sampler's are.
        keeps_states: whether scores come with the hidden states, for a critic.
        whole: whether this process holds, and will hold, all of the model's weights.

    Attributes:
        sharing: what rollouts in one micro-batch share: the computation of every token that they begin with, the
            prompt of a row, or nothing.
    """

    def __init__(self, model: Any, *, temperature: float, keeps_states: bool = False, whole: bool = True) -> None:
        self._model, self._temperature, self._keeps_states = model, temperature, keeps_states
        self._body, self._head = _split(model)
        self._lean = LeanBody(model) if whole and self._body is not None and supports(model) else None
        if self._lean is not None and type(self._head) is torch.nn.Linear:
            self._head = partial(linear, self._head)
        self.sharing: Sharing = "prompts" if _takes_masks(model) else "nothing"
        if self._lean is not None:
            self.sharing = "prefixes"

    @property
    def model(self) -> Any:
        """The language model."""
        return self._model

    @property
    def split(self) -> bool:
        """Whether body and output layer are called separately."""
        return self._body is not None

    def score(self, rows: Sequence[Sequence[TrainSample]], *, entropy_gradient: bool = False) -> Scores:
        """Scores of every completion token, rollout after rollout.

        Args:
            rows: rollouts of one micro-batch. Those in one row have the same prompt, which is read once if the
                architecture allows it.
            entropy_gradient: whether the entropy is part of the loss.
        """
        targets_N, outputs_NX, states_NH = self._read(rows)
        return Scores(*self._in_pieces(outputs_NX, targets_N, entropy_gradient), states_NH)

    def states(self, rows: Sequence[Sequence[TrainSample]]) -> Tensor:
        """Only the hidden states [N, H], without the cost of the output layer. The scorer must keep them."""
        *_, states_NH = self._read(rows)
        assert states_NH is not None
        return states_NH

    def _read(self, rows: Sequence[Sequence[TrainSample]]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Run rows through the model: completion tokens [N], the input of the head [N, X], and the hidden states."""
        device, hidden = self._model.device, self._keeps_states
        samples = list(itertools.chain.from_iterable(rows))
        if self._lean is not None:
            paths = lay_out_paths(samples)
            states_NH = take(self._lean.states(paths), paths.states_N)
            return paths.targets_N, states_NH, states_NH if hidden else None
        layout = lay_out(rows if self.sharing == "prompts" else [[sample] for sample in samples])
        targets_N = layout.targets_N.to(device)
        inputs: dict[str, Any] = {"input_ids": layout.ids_BL.to(device), "use_cache": False}
        if layout.mask_B1LL is not None:
            inputs["attention_mask"] = layout.mask_B1LL.to(device)
            inputs["position_ids"] = layout.positions_BL.to(device)
        at = layout.rows_N.to(device), layout.columns_N.to(device)
        if self._body is None:
            result = self._model(**inputs, output_hidden_states=hidden)
            return targets_N, result.logits[at], result.hidden_states[-1][at] if hidden else None
        states_NH = self._body(**inputs).last_hidden_state[at]
        return targets_N, states_NH, states_NH if hidden else None

    def _in_pieces(self, states_NX: Tensor, targets_N: Tensor, entropy_gradient: bool) -> tuple[Tensor, Tensor]:
        size = max(1, MOST_LOGITS // int(self._model.config.get_text_config().vocab_size))
        arguments = (self._head, self._temperature, entropy_gradient)
        if self._body is None or len(targets_N) <= size:
            return _token_scores(states_NX, targets_N, *arguments)
        pieces = [
            checkpoint(_token_scores, states, targets, *arguments, use_reentrant=False)
            for states, targets in zip(torch.split(states_NX, size), torch.split(targets_N, size), strict=True)
        ]
        logprobs, entropies = zip(*pieces, strict=True)
        return torch.cat(logprobs), torch.cat(entropies)


def _token_scores(
    states_NX: Tensor, targets_N: Tensor, head: Callable[[Tensor], Tensor], temperature: float, entropy_gradient: bool
) -> tuple[Tensor, Tensor]:
    logprobs_NV = torch.log_softmax(head(states_NX).float() / temperature, dim=-1)
    with torch.set_grad_enabled(entropy_gradient and torch.is_grad_enabled()):
        entropy_N = -(logprobs_NV.exp() * logprobs_NV).sum(dim=-1)
    return logprobs_NV.gather(1, targets_N[:, None])[:, 0], entropy_N


def _takes_masks(model: Any) -> bool:
    """Whether attention uses exactly the mask that it is given: transformers' own code, full attention, SDPA.

    A given mask would replace a sliding window. Flash kernels do not accept such a mask, and eager ones would add a
    boolean mask to the scores.
    """
    config, body = model.config.get_text_config(), model.get_decoder()
    full = set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
    return (
        full
        and getattr(config, "sliding_window", None) is None
        and config._attn_implementation == "sdpa"
        and type(body).__module__.startswith("transformers.")
        and "position_ids" in inspect.signature(body.forward).parameters
    )


def _split(model: Any) -> tuple[Any | None, Callable[[Tensor], Tensor]]:
    """The model's body and output layer if together they give exactly its logits, else None and the identity."""
    body, head = model.get_decoder(), model.get_output_embeddings()
    if head is None or body is model:
        return None, _identity
    tokens = model.get_input_embeddings().weight.shape[0]
    probe = torch.linspace(tokens / 4, tokens / 2, 8, dtype=torch.long, device=model.device)[None]
    with torch.no_grad():
        logits = model(input_ids=probe, use_cache=False).logits
        apart = head(body(input_ids=probe, use_cache=False).last_hidden_state)
    return (body, head) if torch.equal(apart.float(), logits.float()) else (None, _identity)


def _identity(states: Tensor) -> Tensor:
    return states
