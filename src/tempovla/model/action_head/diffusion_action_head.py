"""Denoising diffusion over chunks of actions (Ho et al., 2020; Song et al., 2021; Chi et al., 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from tempovla.model.action_head.base import (
    DrawingActionHead,
    Generator,
    check_choice,
    check_positive,
    check_sizes,
    repeat_rows,
)
from tempovla.model.action_head.decoder import TransformerDenoiser
from tempovla.model.action_head.unet import ConditionalUnet1d
from tempovla.storage.extras import install_command
from tempovla.timeline import LossTerm
from tempovla.timeline.noise import row_integers, row_normal, row_seeds

DEFAULT_CLIP = 5.0
"""How far from 0 actions are believed, in the units of normalised ones."""


class DiffusionActionHead(DrawingActionHead):
    """Noise is added in `diffusion_steps` steps (DDPM, cosine schedule) and taken away in `num_steps` (DDIM, eta = 0).

    Args:
        input_dim: features D.
        action_dim: dimensions A of an action.
        horizon: steps H of a chunk.
        diffusion_steps: steps of the noise schedule.
        num_steps: denoising steps from noise to actions; they must divide `diffusion_steps`.
        denoiser: `unet` sees the mean feature, `transformer` attends to every feature token.
        prediction_type: target of the network: the clean actions (`sample`), the noise (`epsilon`) or
            `v_prediction` (Salimans and Ho, 2022).
        draws: (noise, diffusion step) pairs to train on for every row of a batch.
        hidden_dim: width; of the U-Net its first level, doubled at every further one.
        num_layers: blocks of the transformer, levels of the U-Net.
        num_heads: attention heads of the transformer.
        clip_sample: each denoising step's guess of the clean actions is clipped to [-clip_sample, clip_sample]; without
            it errors at the noisiest steps grow without bound. None: not clipped. Recipes widen the default to what
            demonstrated actions need.
    """

    horizon_keyword = "horizon"

    def __init__(
        self,
        input_dim: int,
        action_dim: int,
        horizon: int = 16,
        diffusion_steps: int = 100,
        num_steps: int = 10,
        denoiser: Literal["unet", "transformer"] = "unet",
        prediction_type: Literal["epsilon", "sample", "v_prediction"] = "sample",
        draws: int = 1,
        hidden_dim: int = 128,
        num_layers: int = 3,
        num_heads: int = 4,
        clip_sample: float | None = DEFAULT_CLIP,
    ) -> None:
        super().__init__(input_dim, action_dim, horizon)
        name = "DiffusionActionHead"
        check_sizes(name, diffusion_steps=diffusion_steps, num_steps=num_steps, draws=draws, num_layers=num_layers)
        check_sizes(name, hidden_dim=hidden_dim, num_heads=num_heads)
        if clip_sample is not None:
            check_positive(name, clip_sample=clip_sample)
        check_choice(name, "denoiser", denoiser, ("unet", "transformer"))
        check_choice(name, "prediction_type", prediction_type, ("epsilon", "sample", "v_prediction"))
        self.draws = draws
        self.num_steps = num_steps
        self.diffusion_steps = diffusion_steps
        self.prediction_type = prediction_type
        self.denoiser: ConditionalUnet1d | TransformerDenoiser
        if denoiser == "unet":
            self.denoiser = ConditionalUnet1d(input_dim, action_dim, hidden_dim, num_layers)
        else:
            self.denoiser = TransformerDenoiser(input_dim, action_dim, horizon, hidden_dim, num_layers, num_heads)
        self.schedule = {
            "num_train_timesteps": diffusion_steps,
            "beta_schedule": "squaredcos_cap_v2",
            "prediction_type": prediction_type,
            "clip_sample": clip_sample is not None,
            "clip_sample_range": 1.0 if clip_sample is None else clip_sample,
        }
        # At the last step next to nothing of the actions is left, so the noise there does not tell them: with `epsilon`
        # denoising begins one stride earlier.
        self.spacing = "leading" if prediction_type == "epsilon" else "trailing"
        self.ddpm = _schedulers().DDPMScheduler(**self.schedule)
        self.ddim, self.timesteps = self._sampler(num_steps)

    def loss_terms(
        self,
        features: Tensor,
        actions: Tensor,
        valid: Tensor,
        generator: Generator = None,
        *,
        feature_valid: Tensor | None = None,
    ) -> dict[str, LossTerm]:
        """Return the network's predictions at `draws` diffusion steps, with their targets; see the base class."""
        clean, full = self.clean_actions(actions, valid)
        seeds = row_seeds(generator, len(clean), clean.device)
        noise = self.clean_noise(row_normal(seeds, (self.draws, *clean.shape[1:]), stream=1), valid).flatten(0, 1)
        step = row_integers(seeds, 0, self.diffusion_steps, (self.draws,), stream=2).flatten()
        tokens, token_valid = repeat_rows(self.draws, *self.as_tokens(features, feature_valid))
        clean, full = repeat_rows(self.draws, clean, full)
        condition = self.denoiser.condition(tokens, token_valid)
        predicted = self._predict(self.ddpm.add_noise(clean, noise, step), step, condition)
        targets = {"epsilon": lambda: noise, "sample": lambda: clean}
        target = targets.get(self.prediction_type, lambda: self.ddpm.get_velocity(clean, noise, step))()
        return {"action_loss": LossTerm(predicted, target, full)}

    def random_numbers(self, seeds: Tensor) -> dict[str, Tensor]:
        """`normal` (B, H, A), where the way to the actions begins."""
        return {"normal": row_normal(seeds, (self.action_horizon, self.action_dim))}

    def sample_with(
        self,
        features: Tensor,
        numbers: Mapping[str, Tensor],
        own: Tensor | None = None,
        *,
        feature_valid: Tensor | None = None,
    ) -> Tensor:
        """Do as the base does."""
        return self.sample_from(features, numbers["normal"], feature_valid=feature_valid, own=own)

    @torch.no_grad()
    def predict(self, features: Tensor, num_steps: int = 10, generator: Generator = None) -> Tensor:
        """Return a chunk (B, H, A) in `num_steps` DDIM steps, without gradient."""
        numbers = self.random_numbers(row_seeds(generator, features.shape[0], features.device))
        return self.sample_from(features, numbers["normal"], num_steps=num_steps)

    def sample_from(
        self,
        features: Tensor,
        noise: Tensor,
        *,
        num_steps: int | None = None,
        feature_valid: Tensor | None = None,
        own: Tensor | None = None,
    ) -> Tensor:
        """Return actions (B, H, A) from standard normal noise (B, H, A), in `num_steps` DDIM steps (None: the head's
        own).

        Dimensions that are not `own` (B, A) stay 0.
        """
        ddim, timesteps = (self.ddim, self.timesteps) if num_steps is None else self._sampler(num_steps)
        condition = self.denoiser.condition(*self.as_tokens(features, feature_valid))
        x = noise if own is None else torch.where(own[:, None], noise, 0.0)
        for step in timesteps:
            predicted = self._predict(x, torch.full((x.shape[0],), step, device=x.device), condition)
            x = ddim.step(predicted, step, x).prev_sample
            x = x if own is None else torch.where(own[:, None], x, 0.0)
        return x

    def _predict(self, x: Tensor, step: Tensor, condition: Any) -> Tensor:
        return self.denoiser(x, step / self.diffusion_steps, condition).float()

    def _sampler(self, num_steps: int) -> tuple[Any, list[int]]:
        """The scheduler of so many steps, and these: made beforehand, as an exported graph holds no scheduler."""
        self._check_steps(num_steps)
        ddim = _schedulers().DDIMScheduler(**self.schedule, timestep_spacing=self.spacing)
        ddim.set_timesteps(num_steps)
        return ddim, ddim.timesteps.tolist()

    def _check_steps(self, num_steps: int) -> None:
        if num_steps < 1 or self.diffusion_steps % num_steps:
            raise ValueError(
                f"DiffusionActionHead: num_steps={num_steps} must divide diffusion_steps={self.diffusion_steps}"
            )
        if num_steps == 1 and self.prediction_type == "epsilon":
            raise ValueError("DiffusionActionHead: num_steps=1 needs prediction_type='sample' or 'v_prediction'")


def _schedulers() -> Any:
    """The package that the schedulers come from.

    Raises:
        ValueError: if it is not installed.
    """
    try:
        import diffusers
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the diffusion head needs {error.name!r}; install it with: {install_command('diffusion')}"
        ) from None
    return diffusers
