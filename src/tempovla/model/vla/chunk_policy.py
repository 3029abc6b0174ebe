"""Base of policies that read the present observation and return a chunk of actions, without memory."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from tempovla.model.layers.recompute import Recompute
from tempovla.model.vla.lora import LoRAConfig, add_lora, merge_lora
from tempovla.model.vla.noise_state import NoiseState
from tempovla.model.vla.saved_policy import SavedPolicy
from tempovla.timeline import ActionChunk, Window
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY


class ChunkPolicy(SavedPolicy):
    """Windows, noise, saving, adapters and gradient checkpointing.

    A policy gives `kind`, `config_class` and `language_model`, and sets `config`, which has `cameras`,
    `robot_state_dim`, `has_gripper`, `lora` and `context`.
    """

    @property
    def language_model(self) -> nn.Module:
        """The part that gets adapters."""
        raise NotImplementedError

    @property
    def horizon(self) -> int:
        """Steps of a chunk of actions."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Where the weights live."""
        return next(self.parameters()).device

    def windows(self) -> tuple[Window, ...]:
        """Return observations now; the actions from now on."""
        actions = Window(ACTION_KEY, tuple(range(self.horizon)))
        return (*(Window(key, (0,)) for key in self.observation_keys()), actions)

    def observation_keys(self) -> tuple[str, ...]:
        """Return the streams that are read."""
        state = () if self.config.robot_state_dim is None else (STATE_KEY,)
        return (*state, *self.config.cameras)

    def initial_state(self, batch_size: int) -> NoiseState:
        """Return rows that have drawn nothing yet."""
        return NoiseState.initial(batch_size, self.device)

    def with_seeds(self, state: NoiseState, seed: Tensor) -> NoiseState:
        """Return the state with every row's noise drawn from its seed (B,)."""
        return state.with_seeds(seed)

    def chunk_of(self, action: Tensor) -> ActionChunk:
        """Return actions (B, H, A) as a chunk, the gripper open or closed where there is one."""
        return ActionChunk.of(self.with_gripper(action), range(action.shape[1]))

    def with_gripper(self, action: Tensor) -> Tensor:
        """Return actions (B, H, A) with the gripper open or closed where there is one."""
        if not self.config.has_gripper:
            return action
        gripper = (action[..., -1:] > 0).to(action.dtype) * 2.0 - 1.0
        return torch.cat([action[..., :-1], gripper], dim=-1)

    def after_step(self, train_step: int) -> None:
        """Nothing moves between steps."""

    def enable_gradient_checkpointing(self) -> None:
        """Keep only each layer's input for the backward pass, and compute the rest again; gradients are the same."""
        for module in self.modules():
            if isinstance(module, Recompute):
                module.recompute = True

    def enable_lora(self, r: int = 16, alpha: float = 32.0, target_modules: tuple[str, ...] = ()) -> None:
        """Put adapters into the language model: of its weights they alone learn; see `LoRAConfig`.

        Pretrained vision follows its config, and everything else goes on learning.

        Raises:
            ValueError: if there are adapters already, or no layer has such a name.
        """
        if self.config.lora is not None:
            raise ValueError("the language model has LoRA already; merge_lora() first")
        lora = LoRAConfig(r, alpha, target_modules)
        add_lora(self.language_model, lora)
        self.config = replace(self.config, lora=lora)

    def merge_lora(self) -> None:
        """Add the adapters to the language model's weights: the same outputs, without them."""
        merge_lora(self.language_model)
        self.config = replace(self.config, lora=None)
