"""PPO by the TRL library: its GRPOTrainer with a critic, generalised advantage estimation and a value loss.

TRL removed its own PPO trainer in 1.13. GRPOTrainer has the clipped surrogate, the divergence, the accumulation of
gradients and the optimizer; what PPO has besides is in `PPOTrainer`. The advantages' equation is `azr.advantages.gae`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from trl import GRPOTrainer

from azr.advantages import gae, standardise
from azr.config import PPOConfig
from azr.policy.base import Trace


class Critic(nn.Module):
    """Values of states: a copy of the policy's body, and a linear layer that starts at zero."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.body = copy.deepcopy(model.get_decoder())
        self.head = nn.Linear(model.config.get_text_config().hidden_size, 1, device=model.device, dtype=model.dtype)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Values [B, T] (float32) of the states in which completion tokens were drawn; nothing after T = the longest.

        Args:
            batch: prompt_ids (padded on the left), completion_ids (on the right) and their masks, as TRL has them.
        """
        ids_BL = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        mask_BL = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        states = self.body(input_ids=ids_BL, attention_mask=mask_BL, use_cache=False).last_hidden_state
        values: Tensor = self.head(states)[:, -batch["completion_ids"].shape[1] - 1 : -1, 0].float()
        return values


class PPOTrainer(GRPOTrainer):  # type: ignore[misc]  # trl has no types
    """A GRPOTrainer whose advantages come from a critic, not from a group.

    Args:
        critic: learns beside the policy, by the same optimizer at its own rate.
        ppo: discount, lambda and the critic's learning rate.
        rate: share of the learning rates at an optimizer step, by how many came before.
        token_rewards: called once for each batch of rollouts, after they were generated; rewards of each row's tokens.
        observe: told what every optimizer step saw of each row.
    """

    def __init__(
        self,
        *args: Any,
        critic: Critic,
        ppo: PPOConfig,
        rate: Callable[[int], float],
        token_rewards: Callable[[], list[tuple[float, ...]]],
        observe: Callable[[int, Trace], None],
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self._critic, self._ppo, self._rate = critic, ppo, rate
        self._token_rewards, self._observe = token_rewards, observe

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The policy's optimizer, with the critic as one more group; TRL clears the gradients of the policy alone."""
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        optimizer.add_param_group({"params": list(self._critic.parameters()), "lr": self._ppo.critic_lr})
        optimizer.register_step_post_hook(lambda *_: self._critic.zero_grad())
        return optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The run's own schedule: TRL's would count the passes over a step, and begin its warm-up at a rate of 0."""
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, self._rate)
        return self.lr_scheduler

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
        with torch.no_grad():
            values_BT = self._critic(batch).cpu().double().numpy()
        advantages_BT, rewards = np.zeros_like(values_BT), self._token_rewards()
        for row, rewards_T in enumerate(rewards):
            at = row, slice(len(rewards_T))
            advantages_BT[at] = gae(
                rewards_T, values_BT[at], discount=self._ppo.discount, gae_lambda=self._ppo.gae_lambda
            )
        returns_BT, mask_BT = advantages_BT + values_BT, self._mask(batch).bool().cpu().numpy()
        tokens_N = advantages_BT[mask_BT]
        advantages_BT[mask_BT] = standardise(tokens_N, np.ones(len(tokens_N)), ddof=0)
        like = batch["completion_ids"]
        batch["advantages"] = torch.tensor(advantages_BT, dtype=torch.float32, device=like.device)
        batch["returns"] = torch.tensor(returns_BT, dtype=torch.float32, device=like.device)
        batch["row"] = torch.arange(len(like), device=like.device)
        return batch

    def _get_per_token_logps_and_entropies(self, *args: Any, **options: Any) -> Any:
        result = super()._get_per_token_logps_and_entropies(*args, **options)
        self._logprobs_BT = result[0].detach()
        return result

    def _compute_loss(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        policy_loss: Tensor = super()._compute_loss(model, inputs)
        mask_BT = self._mask(inputs)
        share = self.current_gradient_accumulation_steps / self.args.steps_per_generation
        tokens = float(inputs["num_items_in_batch"]) * share
        value_loss = ((self._critic(inputs) - inputs["returns"]).square() * mask_BT).sum() / (2 * tokens)
        loss: Tensor = policy_loss + value_loss
        for name, part in (("loss", loss), ("value_loss", value_loss)):  # TRL's log means them over micro-batches
            self._metrics["train"][name].append(float(part.detach()) * self.current_gradient_accumulation_steps)
        self._tell(inputs, mask_BT, 1 / tokens)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"loss {float(loss.detach())}; the weights are kept")
        return loss

    def _tell(self, inputs: dict[str, Tensor], mask_BT: Tensor, weight: float) -> None:
        new_BT = self._logprobs_BT.float().cpu().numpy()
        old_BT = inputs.get("old_per_token_logps", self._logprobs_BT).float().cpu().numpy()
        advantages_BT = inputs["advantages"].cpu().double().numpy()
        reference = inputs.get("ref_per_token_logps")
        reference_BT = None if reference is None else reference.float().cpu().numpy()
        for i, length in enumerate(mask_BT.sum(dim=1).tolist()):
            if length:
                at = i, slice(int(length))
                part = None if reference_BT is None else reference_BT[at]
                self._observe(int(inputs["row"][i]), Trace(new_BT[at], old_BT[at], advantages_BT[at], weight, part))

    @staticmethod
    def _mask(batch: dict[str, Tensor]) -> Tensor:
        """1 where a token was sampled by the policy; rows that only fill the batch up have none."""
        return batch["completion_mask"] * batch["tool_mask"]
