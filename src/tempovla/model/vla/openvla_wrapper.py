"""OpenVLA (Kim et al., 2024, arXiv:2406.09246): a vision-language model that writes actions as words.

What comes from where: architecture, 256 action tokens at the vocabulary's tail and training by the next word's
cross-entropy from the paper; the names and shapes of the weights, the prompt, the empty token 29871 before the actions,
the action's intervals and the formula of un-normalisation from the public code (github.com/openvla/openvla). Two things
differ from it. The word after the actions, which ends the sentence, is not trained on, as no end is waited for. And the
choice is among action tokens alone, where the public code would take any other word for an action at the edge.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor, nn

from tempovla.model.action_head.action_tokenizer import ActionTokenizer
from tempovla.model.layers.stacks import outermost_layers
from tempovla.model.vla.lora import LoRAConfig, add_lora_to_parts, merge_lora
from tempovla.model.vla.observation import all_observed, observed_pictures
from tempovla.model.vla.openvla_checkpoint import read_checkpoint, write_checkpoint
from tempovla.model.vla.openvla_config import OpenVLAConfig
from tempovla.model.vla.openvla_statistics import ActionStatistics
from tempovla.model.vlm.prismatic import PrismaticVLM
from tempovla.storage.said_by import said_by
from tempovla.timeline import ActionChunk, Context, LossTerm, LossTerms, Metric, TimelineSample, Window
from tempovla.timeline.keys import ACTION_KEY, TOKENS_KEY


class OpenVLAWrapper(nn.Module):
    """The policy: one picture and the instruction's tokens give one action, by greedy decoding.

    The track ``instruction_tokens`` (B, 1, L), -1 where there is no word, holds the whole prompt (`openvla_prompt`) as
    the model's own tokenizer writes it; the first word and the empty token may be there or not.
    """

    def __init__(self, config: OpenVLAConfig) -> None:
        super().__init__()
        self.config = replace(config, lora=None)
        self.vlm = PrismaticVLM(config.vlm)
        vocab_size = self.vlm.language_model.config.vocab_size - config.padding_tokens
        self.action_tokens = ActionTokenizer(vocab_size, config.num_bins)
        if config.lora is not None:
            self.enable_lora(config.lora.r, config.lora.alpha, config.lora.target_modules)

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path, *, camera: str, dtype: Literal["bfloat16", "float32"] = "bfloat16"
    ) -> Self:
        """Return a published checkpoint such as ``openvla/openvla-7b``, by its name on the hub or from a local folder.

        Args:
            name_or_path: holds config.json and model.safetensors, or model.safetensors.index.json with its parts.
            camera: the stream of pictures that it is to see.
            dtype: of the weights; what is stored is converted.

        Raises:
            ValueError: if there is no such checkpoint, it is of another model, or it lacks a weight.
        """
        config, weights = read_checkpoint(name_or_path, camera=camera, dtype=dtype)
        with torch.device("meta"), said_by(name_or_path, remedy="copy the checkpoint again"):
            policy = cls(config)
        weights.load_into(policy.vlm)
        return policy.eval()

    def save_pretrained(self, folder: str | Path, max_shard_size: str = "5GB") -> None:
        """Write config.json and safetensors in the published layout; adapters have to be merged before.

        Raises:
            ValueError: if there are adapters still.
        """
        write_checkpoint(folder, self.config, self.vlm, max_shard_size)

    def take_dataset(self, name: str, statistics: ActionStatistics, *, has_gripper: bool) -> None:
        """Adopt a dataset's action dimensions and their normalisation.

        Args:
            name: name of the dataset for `predict_action`; earlier datasets are dropped.
            statistics: of its actions.
            has_gripper: see `OpenVLAConfig`.
        """
        self.config = replace(
            self.config,
            action_dim=len(statistics.mask),
            norm_stats={name: statistics.to_json()},
            has_gripper=has_gripper,
        )

    @property
    def device(self) -> torch.device:
        """Where the weights live."""
        return self.vlm.language_model.device

    def enable_gradient_checkpointing(self) -> None:
        """Compute activations again in the backward pass instead of keeping them."""
        self.vlm.enable_gradient_checkpointing()

    def enable_lora(self, r: int = 32, alpha: float = 16.0, target_modules: tuple[str, ...] = ()) -> None:
        """Train low-rank adapters beside all linear layers that are run, and nothing else (section 5.3).

        Args:
            r: rank.
            alpha: scale, as a multiple of r.
            target_modules: ends of the names of the layers; empty takes all.

        Raises:
            ValueError: if there are adapters already, or no layer has such a name.
        """
        if self.config.lora is not None:
            raise ValueError("the model has LoRA already; merge_lora() first")
        lora = LoRAConfig(r, alpha, target_modules)
        self.requires_grad_(False)
        add_lora_to_parts(self.vlm.parts_with_adapters(), lora)
        self.config = replace(self.config, lora=lora)

    def merge_lora(self) -> None:
        """Add the adapters to the weights that they stand beside, and take them out."""
        merge_lora(self.vlm)
        self.config = replace(self.config, lora=None)

    def shard_units(self) -> list[nn.Module]:
        """Return the blocks of vision and language model, whose weights FSDP puts together one at a time."""
        return [*outermost_layers(self.vlm.vision_backbone), *outermost_layers(self.vlm.language_model)]

    def windows(self) -> tuple[Window, ...]:
        """Return the picture now and the next action."""
        return (Window(self.config.camera, (0,)), Window(ACTION_KEY, (0,)))

    def initial_state(self, batch_size: int) -> None:
        """None: every decision follows from the picture and the instruction alone."""
        return None

    def forward(self, sample: TimelineSample) -> LossTerms:
        """Return the cross-entropy of the action's words, and the error of the likeliest words, which is not trained
        on.
        """
        action = sample.future[ACTION_KEY]
        if action.value.shape[-1] != self.config.action_dim:
            raise ValueError(
                f"actions have {action.value.shape[-1]} dimensions, but action_dim={self.config.action_dim}; set it"
            )
        valid = (action.valid & self._observed(sample.context)[:, None]).expand(-1, self.config.action_dim)
        wanted = torch.where(valid, action.value[:, 0].float(), 0.0)
        target = self.action_tokens.encode(wanted)
        embeddings, seen = self._prompt(sample.context)
        embeddings = torch.cat([embeddings, self.vlm.embed_words(target[:, :-1])], dim=1)
        seen = torch.cat([seen, seen.new_ones(len(seen), self.config.action_dim - 1)], dim=1)
        logits = self.vlm.logits(embeddings, seen, last=self.config.action_dim)
        tail = slice(self.action_tokens.first_token, self.action_tokens.vocab_size)
        likeliest = logits[..., tail].argmax(dim=-1) + self.action_tokens.first_token
        return {
            "action_loss": LossTerm(logits, target, valid, kind="cross_entropy"),
            "action_l1": Metric(self.action_tokens.decode(likeliest), wanted, valid, "l1"),
        }

    @torch.no_grad()
    def act(self, context: Context, state: None) -> tuple[ActionChunk, None]:
        """Return one action (B, 1, A), normalised as in training."""
        return ActionChunk.of(self._decode(*self._prompt(context))[:, None], (0,)), None

    @torch.no_grad()
    def predict_action(self, images: Tensor, input_ids: Tensor, unnorm_key: str | None = None) -> Tensor:
        """Return actions (B, A) in the robot's units, un-normalised as one dataset's of the checkpoint.

        Args:
            images: (B, 3, H, W), uint8 [0, 255] or float [0, 1].
            input_ids: (B, L) the prompt's tokens, -1 where there is no word.
            unnorm_key: name of the dataset; required if the checkpoint has several.

        Raises:
            ValueError: if the checkpoint has no such dataset.
        """
        statistics = ActionStatistics.of(self.config.norm_stats, unnorm_key)
        return statistics.unnormalize(self._decode(*self._embed(images, input_ids, input_ids >= 0)))

    def after_step(self, train_step: int) -> None:
        """Nothing moves beside the weights."""

    def _decode(self, embeddings: Tensor, seen: Tensor) -> Tensor:
        tokens = range(self.action_tokens.first_token, self.action_tokens.vocab_size)
        return self.action_tokens.decode(self.vlm.generate(embeddings, seen, self.config.action_dim, tokens))

    def _observed(self, context: Context) -> Tensor:
        return all_observed(context.now, (self.config.camera, TOKENS_KEY))

    def _prompt(self, context: Context) -> tuple[Tensor, Tensor]:
        tokens, valid = context.now[TOKENS_KEY].at(0)
        (picture,) = observed_pictures(context.now, (self.config.camera,))
        tokens = torch.where(valid[:, None], tokens, -1).long()
        return self._embed(picture, tokens, tokens >= 0)

    def _embed(self, images: Tensor, tokens: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """[bos][picture][prompt][empty token]: whether or not the tokens have the first and the last of these."""
        config = self.config
        index = torch.arange(tokens.shape[1], device=tokens.device)
        begins = (index == 0) & (tokens == self.vlm.bos_token)
        last = torch.where(valid, index, -1).amax(dim=1, keepdim=True)
        ends = (index == last) & (tokens == config.empty_token)
        empty = torch.full_like(tokens[:, :1], config.empty_token)
        present = torch.cat([valid & ~begins & ~ends, valid.new_ones(len(valid), 1)], dim=1)
        return self.vlm.embed(images, torch.cat([tokens, empty], dim=1), present)
