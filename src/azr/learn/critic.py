"""PPO's critic: a value head on the policy's last hidden states (docs/decisions/0011-the-critic-is-a-head.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from azr.learn.optimizer import Optimizer, learning_rate

if TYPE_CHECKING:
    from azr.config import LearnerConfig, PPOConfig


class ValueHead(nn.Module):
    """V(h) = w2 tanh(W1 h + b1) + b2 in float32. It starts at V = 0 everywhere, the same in every run.

    Args:
        width: of the hidden states.
        device: of its weights.
    """

    def __init__(self, width: int, device: torch.device) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.hidden = nn.Linear(width, width)
            self.out = nn.Linear(width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.to(device)

    def forward(self, states_NH: Tensor) -> Tensor:
        """Values [N] of hidden states. No gradient reaches the body that computed them."""
        values_N: Tensor = self.out(torch.tanh(self.hidden(states_NH.detach().float())))[:, 0]
        return values_N


class Critic:
    """A value head with its own optimizer: AdamW at `algorithm.ppo.critic_lr`, otherwise as the policy's.

    Args:
        model: the policy's language model.
        learner: betas, weight decay, gradient clipping and schedule, shared with the policy.
        ppo: learning rate and clipping of the value loss.
    """

    def __init__(self, model: Any, learner: LearnerConfig, ppo: PPOConfig) -> None:
        self.values = ValueHead(model.config.get_text_config().hidden_size, model.device)
        self._config = learner.model_copy(update={"lr": ppo.critic_lr, "optimizer": "adamw", "offload": False})
        self._clip = ppo.value_clip
        self.optimizer = Optimizer(list(self.values.parameters()), self._config)

    def loss(self, states_NH: Tensor, old_values_N: Tensor, returns_N: Tensor) -> Tensor:
        """The value loss of each token.

        Args:
            states_NH: hidden states in which the tokens were drawn.
            old_values_N: the critic's values before the update.
            returns_N: targets of the values.
        """
        return clipped_value_loss(self.values(states_NH), old_values_N, returns_N, self._clip)

    def step(self, update: int, total: int) -> None:
        """Move the head; `update` and `total` are those of `learning_rate`."""
        self.optimizer.step(learning_rate(self._config, update, total))

    def state(self) -> dict[str, Any]:
        """Weights and optimizer, for a checkpoint."""
        return {"head": self.values.state_dict(), "optimizer": self.optimizer.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned, exactly.

        Raises:
            KeyError, RuntimeError, ValueError: it is the state of another critic.
        """
        self.values.load_state_dict(state["head"])
        self.optimizer.restore(state["optimizer"])


def clipped_value_loss(values_N: Tensor, old_values_N: Tensor, returns_N: Tensor, clip: float | None) -> Tensor:
    """max((V - R)^2, (V_old + clip(V - V_old, -c, c) - R)^2) / 2, PPO's value loss (arXiv 1707.06347, its code).

    A value that has moved by more than c towards its return gets no further gradient in this update. With clip = None
    it is (V - R)^2 / 2.
    """
    plain_N = (values_N - returns_N).square()
    if clip is None:
        return plain_N / 2
    near_N = old_values_N + (values_N - old_values_N).clamp(-clip, clip)
    return torch.maximum(plain_N, (near_N - returns_N).square()) / 2
