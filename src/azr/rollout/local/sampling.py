"""From logits to tokens: one uniform number per token."""

import torch
from torch import Tensor


def draw(logits_RV: Tensor, *, temperature_R: Tensor, top_p_R: Tensor, uniform_R: Tensor) -> tuple[Tensor, Tensor]:
    """Draw one token per row by inverting the distribution function.

    Args:
        logits_RV: next-token logits.
        temperature_R: float32; 0 takes the most probable token.
        top_p_R: nucleus mass, float64; 1 keeps every token.
        uniform_R: numbers in [0, 1), float64: 24 bits would not resolve the tail of a large vocabulary.

    The arguments other than the logits may be on the CPU; then choosing what to compute does not wait for the device.

    Returns:
        token ids, and their log-probabilities (float32, nats) at the row's temperature, before the nucleus is cut out.
    """
    some_greedy, some_cut = bool((temperature_R == 0).any()), bool((top_p_R < 1).any())
    device = logits_RV.device
    temperature_R, top_p_R, uniform_R = temperature_R.to(device), top_p_R.to(device), uniform_R.to(device)
    greedy_R = temperature_R == 0
    scale_R = torch.where(greedy_R, 1.0, temperature_R)
    logprobs_RV = torch.log_softmax(logits_RV.float() / scale_R[:, None], dim=-1)
    mass_RV = logprobs_RV.exp().double()
    if some_cut:
        mass_RV = _nucleus(mass_RV, top_p_R)
    cumulative_RV = mass_RV.cumsum(dim=-1)
    # Scaled by the last entry, which is 1 only up to rounding; `right` never lands on a token of mass 0.
    point_R1 = (uniform_R * cumulative_RV[:, -1])[:, None]
    token_R1 = torch.searchsorted(cumulative_RV, point_R1, right=True).clamp_(max=logits_RV.shape[1] - 1)
    if some_greedy:
        token_R1 = torch.where(greedy_R[:, None], logprobs_RV.argmax(dim=-1, keepdim=True), token_R1)
    return token_R1[:, 0], logprobs_RV.gather(1, token_R1)[:, 0]


def _nucleus(mass_RV: Tensor, top_p_R: Tensor) -> Tensor:
    """Keep the fewest tokens whose mass reaches top_p (Holtzman et al., arXiv 1904.09751); the others get mass 0."""
    sorted_RV, order_RV = mass_RV.sort(dim=-1, descending=True, stable=True)
    before_RV = sorted_RV.cumsum(dim=-1) - sorted_RV
    kept_RV = torch.where(before_RV < top_p_R[:, None], sorted_RV, 0.0)
    return torch.zeros_like(mass_RV).scatter_(1, order_RV, kept_RV)
