"""SA-GR: a flow-matching policy that predicts what its actions will change, and notices when the world departs from it.

Task tokens sum up what matters in a frame for the instruction. A world predictor takes those of now, and the actions
of the next k steps, to those of the frame k steps ahead, which training sees as a target and control never does. In
control the residual of the last prediction corrects the velocities of the flow (drift), and a large one breaks off
the chunk that is being executed (replanning).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tempovla.model.action_head.layerwise_flow import LayerwiseFlow, Reading
from tempovla.model.action_head.residual_drift import ResidualDrift
from tempovla.model.fusion.causal_feedback import CausalFeedback, Feedback
from tempovla.model.layers.mlp import mlp
from tempovla.model.layers.stacks import outermost_layers
from tempovla.model.layers.token_readout import TokenReadout
from tempovla.model.vla.chunk_policy import ChunkPolicy
from tempovla.model.vla.noise_state import NoiseState
from tempovla.model.vla.observation import observed_vector, own_dims, supervised
from tempovla.model.vla.pretrained_io import load_vlm_parts
from tempovla.model.vla.sagr_config import SAGRConfig
from tempovla.model.vla.sagr_encoder import Frame, FrameEncoder, Words
from tempovla.model.vla.sagr_inverse import infer_actions
from tempovla.model.vla.sagr_losses import Outlook, Past, feedback_terms, world_terms
from tempovla.model.vla.sagr_metrics import figures_of, spread_of_rows
from tempovla.model.vla.sagr_schedule import phase_of
from tempovla.model.vla.sagr_state import SAGRMemory, SAGRState, change_ratio
from tempovla.model.vlm.vlm_model import VLMModel
from tempovla.model.world_model.inverse_chunk import InverseChunk
from tempovla.model.world_model.residual_scale import ResidualScale
from tempovla.model.world_model.token_predictor import TokenPredictor
from tempovla.timeline import ActionChunk, Context, LossTerm, LossTerms, Metric, Progress, TimelineSample, Track, Window
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.timeline.noise import row_normal


class SAGR(ChunkPolicy):
    """The policy.

    Args:
        config: its parts and sizes.

    Attributes:
        frames: the vision-language model and what makes task tokens.
        action_head: the flow-matching head.
        world: predicts the tokens k steps ahead; None where nothing needs it.
        config: with what was read from pretrained models filled in.

    Raises:
        ValueError: if a part does not load, or the parts do not fit.
    """

    kind = "sagr"
    config_class = SAGRConfig
    config: SAGRConfig

    def __init__(self, config: SAGRConfig | None = None, **fields: Any) -> None:
        super().__init__()
        config = replace(config or SAGRConfig(), **fields)
        self.frames = FrameEncoder(config)
        config, lora = replace(self.frames.config, lora=None), config.lora
        self.config = config
        width = self.vlm.language.hidden_dim
        self.action_head = LayerwiseFlow(
            config.action_head,
            width,
            self.vlm.language.num_layers,
            config.action_dim,
            config.action_horizon,
            config.robot_state_dim,
            config.readout_feature_dim if config.readout_token else None,
        )
        self.readout = self.cloning = None
        readout_sizes = (config.readout_token_dim, config.readout_feature_dim)
        if config.readout_token or config.cloning_weight:
            count = config.task_token_num + self.vlm.num_vision_tokens + config.max_instruction_tokens
            self.readout = TokenReadout(width, count, config.robot_state_dim, *readout_sizes)
        if config.cloning_weight:
            features = config.readout_feature_dim
            self.cloning = mlp((features, features, config.action_horizon * config.action_dim))
        self.target_shape = self.frames.target_shape
        tokens, dim = self.target_shape
        self.world = self.residuals = self.drift = self.feedback = self.flare = self.inverse = None
        if config.uses_world:
            of_tokens = config.world_condition == "tokens"
            self.world = TokenPredictor(
                dim,
                tokens,
                width if of_tokens else config.action_dim,
                config.task_token_num if of_tokens else max(config.temporal_delta_k, *config.horizons, 0),
                config.robot_state_dim,
                config.world_hidden_dim,
                config.world_num_layers,
                config.world_num_heads,
            )
            self.residuals = ResidualScale(dim)
        if config.use_drift:
            head = self.action_head
            chunk = (config.action_horizon, config.action_dim)
            self.drift = ResidualDrift(dim, head.width, *chunk, config.drift_eta, config.drift_hidden_dim)
        if config.enable_causal_feedback_token:
            self.feedback = CausalFeedback(
                width,
                config.action_dim,
                config.causal_feedback_token_num,
                config.causal_feedback_scale,
                config.causal_feedback_dropout,
            )
        if config.inverse_weight:
            self.inverse = InverseChunk(
                *self.frames.raw_shape, config.temporal_delta_k, config.action_dim, *readout_sizes
            )
        if config.flare_weight:
            self.flare = nn.Linear(self.action_head.width, dim)
        config.check_flare_layer(len(self.action_head.blocks))
        if lora is not None:
            self.enable_lora(lora.r, lora.alpha, lora.target_modules)

    @property
    def vlm(self) -> VLMModel:
        """The vision-language model."""
        return self.frames.vlm

    @property
    def language_model(self) -> nn.Module:
        """The part that gets adapters."""
        return self.vlm.language

    @property
    def horizon(self) -> int:
        """Steps of a chunk of actions."""
        return self.config.action_horizon

    def observation_keys(self) -> tuple[str, ...]:
        """Return the streams that are read."""
        return (*super().observation_keys(), *self.config.depths)

    @property
    def frame_stride(self) -> int | None:
        """Control steps between two frames that the policy sees; None if it remembers none of them."""
        return self.config.temporal_delta_k if self.config.remembers else None

    def windows(self) -> tuple[Window, ...]:
        """Return the windows for acting: observations now, and the actions from the last decision on."""
        first = -self.config.temporal_delta_k if self.config.remembers else 0
        actions = Window(ACTION_KEY, tuple(range(first, self.horizon)))
        return (*(Window(key, (0,)) for key in self.observation_keys()), actions)

    def training_windows(self) -> tuple[Window, ...]:
        """Return the windows for training: observations also k steps ahead, and k steps ago where these are used."""
        config, k = self.config, self.config.temporal_delta_k
        ahead = (k, *config.horizons) if config.uses_world else (k,) if config.uses_future else ()
        observed = tuple(sorted({*((-k,) if config.uses_past else ()), 0, *ahead}))
        actions = Window(ACTION_KEY, tuple(range(-k if config.uses_past else 0, self.horizon)))
        return (*(Window(key, observed) for key in self.observation_keys()), actions)

    def window_ends(self, length: int) -> list[int]:
        """Return every step: a sample is what is seen now, before and after."""
        return list(range(length))

    def initial_state(self, batch_size: int) -> SAGRState:  # type: ignore[override]
        """Return the state of rows that have seen nothing and drawn no noise."""
        config, device = self.config, self.device
        zeros = torch.zeros(batch_size, device=device)
        count = torch.zeros(batch_size, dtype=torch.int64, device=device)
        memory = SAGRMemory(
            tokens=zeros.new_zeros(batch_size, config.task_token_num, self.vlm.language.hidden_dim),
            target=zeros.new_zeros(batch_size, *self.target_shape),
            start=zeros.new_zeros(batch_size, *(self.target_shape if self.frames.starts_apart else (0, 0))),
            state=zeros.new_zeros(batch_size, config.robot_state_dim or 0),
            known=zeros.bool(),
            chunk=zeros.new_zeros(batch_size, config.action_horizon, config.action_dim),
            used=count,
            ratio=zeros,
            most=zeros,
            replans=count,
        )
        return SAGRState(NoiseState.initial(batch_size, device), memory)

    def with_seeds(self, state: SAGRState, seed: Tensor) -> SAGRState:  # type: ignore[override]
        """Return the state with every row's noise drawn from its seed (B,)."""
        return replace(state, noise=state.noise.with_seeds(seed))

    def task_tokens(self, context: Context) -> Tensor:
        """Return task tokens (B, K, H) of now."""
        return self.frames.now(context).tokens

    def forward(self, sample: TimelineSample, progress: Progress | None = None) -> LossTerms:
        """Return the loss terms of a batch at this point of the training; without `progress`, of its end."""
        config, context = self.config, sample.context
        phase, alpha = phase_of(
            None if progress is None else progress.train_step, config.sagr_phase_a_steps, config.sagr_phase_b_ramp_steps
        )
        action = sample.future[ACTION_KEY]
        valid = supervised(context, action, config.required)
        frame = self.frames.now(context)
        before = self.frames.target_now(frame, context) if config.uses_target else None
        start = None if before is None else self.frames.start_now(frame, before)
        past = self._past(sample, before, frame.words)
        reading, feedback = self._read(frame, past, self.robot_state(context.now))
        full = (valid if valid.dim() == 3 else valid[..., None]).expand(action.value.shape)
        clean = torch.where(full, action.value.float(), 0.0)
        inferred = infer_actions(self, sample, frame)
        if inferred is not None:
            clean = torch.where(inferred.stands[..., None], inferred.actions, clean)
        drawn = self.action_head.draw(clean, sample.seed, valid.any(dim=1) if valid.dim() == 3 else None)
        tap = (len(self.action_head.blocks) - 1) // 2 if config.flare_layer is None else config.flare_layer
        velocity, future = self.action_head(drawn.noisy, drawn.bucket, reading, tap)
        drift = self._drift(past, drawn.bucket, drawn.flow_time)
        if drift is not None and alpha:
            velocity = velocity + alpha * drift
        told, wanted, learned = (
            part.flatten(0, 1) for part in (velocity, drawn.velocity, full[:, None].expand_as(velocity))
        )
        terms: dict[str, LossTerm | Metric] = {"action_loss": LossTerm(told, wanted, learned, config.loss_w_fm)}
        cloned = None if self.cloning is None else self.cloning(reading.readout).unflatten(1, action.value.shape[1:])
        if cloned is not None:
            terms["behavior_cloning"] = LossTerm(cloned, action.value, valid, config.cloning_weight)
        if inferred is not None:
            terms |= inferred.terms(config, told, wanted, cloned, alpha)
        if config.uses_target:
            outlook = Outlook(sample, frame, start, before, drawn.noisy, future, alpha)
            terms |= world_terms(self, outlook)
        if drift is not None and past is not None:
            size = drift.square().mean(dim=(1, 2, 3))
            terms["reg_loss"] = LossTerm(size, None, past.valid, alpha * config.loss_w_reg, "mean")
            terms |= spread_of_rows("debug/sagr/drift_l2", size.sqrt(), past.valid)
        terms |= feedback_terms(config, feedback, past, alpha)
        seen = self.frames.seen(context.now)
        return terms | figures_of(config, terms, frame, seen, (phase, alpha))

    def act(self, context: Context, state: SAGRState) -> tuple[ActionChunk, SAGRState]:
        """Return a chunk of actions (B, T, A), normalised as in training.

        With `replan`, rows whose chunk is not over and whose world has not departed from the prediction go on with it.
        """
        config = self.config
        seed, noise = state.noise.decide(context.first)
        frame = self.frames.now(context)
        if not config.remembers:
            return self.chunk_of(self._plan(frame, None, seed, context)), replace(state, noise=noise)
        memory, ratio, past = self._look_back(frame, context, state.memory.reset(context.first))
        goes_on, memory = memory.after(config.temporal_delta_k, ratio, past.valid, config.rrr_replan_threshold)
        plans = ~goes_on if config.replan else torch.ones_like(goes_on)
        chunk = memory.remaining()
        rows = plans.nonzero().flatten()
        if len(rows):
            planned = self._plan(frame.rows(rows), past.rows(rows), seed[rows], context.rows(rows.tolist()))
            chunk = chunk.index_copy(0, rows, planned.to(chunk))
        memory = replace(memory.planned(plans, chunk), known=self.frames.seen(context.now))
        return self.chunk_of(chunk), SAGRState(noise, memory)

    def _look_back(self, frame: Frame, context: Context, memory: SAGRMemory) -> tuple[SAGRMemory, Tensor, Past]:
        """The memory with what is seen now, (B,) the error over the expected change since, and the head's past."""
        k, config, now = self.config.temporal_delta_k, self.config, context.now
        track = context.past[ACTION_KEY]
        actions = track.select((track.offset >= -k) & (track.offset < 0))
        there = self.frames.seen(now)
        known = memory.known & actions.valid.all(dim=1) & ~context.first & there
        done = torch.where(known[:, None, None], actions.value.float(), 0.0)
        ratio, residual, target, robot = torch.zeros_like(memory.ratio), None, memory.target, self.robot_state(now)
        if self.world is not None:
            assert self.residuals is not None
            target = self.frames.target_now(frame, context)
            predicted = self.world(memory.begun, done, None if robot is None else memory.state)
            residual = torch.where(known[:, None, None], target - predicted, 0.0)
            ratio = change_ratio(target, predicted, memory.target, self.residuals.norm.clamp(min=config.rrr_eps))
        start = self.frames.start_now(frame, target) if self.frames.starts_apart else memory.start
        rows = there[:, None, None]
        seen = replace(
            memory,
            tokens=frame.tokens.to(memory.tokens),
            target=torch.where(rows, target, 0.0).to(memory.target),
            start=torch.where(rows, start, 0.0).to(memory.start),
            state=memory.state if robot is None else robot,
        )
        return seen, ratio, Past(memory.tokens, done, known, residual)

    def _plan(self, frame: Frame, past: Past | None, seed: Tensor, context: Context) -> Tensor:
        """Actions (B, T, A) by Euler steps from noise at flow time 0 to 1."""
        reading, _ = self._read(frame, past, self.robot_state(context.now))
        noise, own = self.random_numbers(seed)["normal"], own_dims(context.now, ACTION_KEY)
        return self.action_head.integrate(reading, noise, own, lambda bucket, time: self._drift(past, bucket, time))

    def _past(self, sample: TimelineSample, before: Tensor | None, words: Words) -> Past | None:
        """What was seen and done k steps ago, and how far the prediction from there was off; None if it is not used."""
        config, k, context = self.config, self.config.temporal_delta_k, sample.context
        if not config.uses_past:
            return None
        track, keys = context.past[ACTION_KEY], self.observation_keys()
        actions = track.select((track.offset >= -k) & (track.offset < 0))
        again = self.frames.seen_again(context.now, context.past, -k, keys)
        valid = again & self.frames.seen(context.now) & actions.valid.all(1)
        done = torch.where(valid[:, None, None], actions.value.float(), 0.0)
        tokens = residual = None
        if self.feedback is not None:
            tokens = self.frames.task_tokens(context.past, -k, words)
        if self.drift is not None:
            assert self.world is not None
            assert before is not None
            with torch.no_grad():
                then = self.frames.target(context.past, -k, words)
                start = self.frames.start(context.past, -k, words, then)
                predicted = self.world(start, done, self.robot_state(context.past, -k))
                residual = torch.where(valid[:, None, None], before - predicted, 0.0)
        return Past(tokens, done, valid, residual)

    def _read(self, frame: Frame, past: Past | None, robot: Tensor | None) -> tuple[Reading, Feedback | None]:
        """What the head reads: the language model, task and feedback tokens, and the robot's state."""
        layers, tokens = self.frames.layers(frame), frame.tokens
        parts, there, feedback = [], [], None
        if self.feedback is not None and past is not None:
            assert past.tokens is not None
            feedback = self.feedback(past.tokens, tokens, past.actions, past.valid)
            parts.append(feedback.tokens)
            there.append(past.valid[:, None].expand(-1, feedback.tokens.shape[1]))
        if self.config.action_head.use_task_token_context:
            parts.append(tokens)
            there.append(torch.ones_like(tokens[..., 0], dtype=torch.bool))
        extra = (torch.cat(parts, dim=1), torch.cat(there, dim=1)) if parts else (None, None)
        readout = None
        if self.readout is not None:
            all_tokens = torch.cat([tokens, layers.layers[-1].to(tokens.dtype)], dim=1)
            counts = torch.cat([torch.ones_like(tokens[..., 0], dtype=torch.bool), layers.valid], dim=1)
            readout = self.readout(all_tokens, counts, robot)
        return self.action_head.read(layers.layers, layers.valid, extra[0], extra[1], robot, readout), feedback

    def _drift(self, past: Past | None, bucket: Tensor, flow_time: Tensor) -> Tensor | None:
        """The correction of velocities (B, R, T, A); None where there is none."""
        if self.drift is None or past is None or past.residual is None:
            return None
        time = self.action_head.time_embedding(bucket.flatten()).unflatten(0, bucket.shape)
        return self.drift(past.residual.mean(dim=1), past.valid, time, flow_time)

    def report(self, state: SAGRState) -> dict[str, Tensor]:
        """Return how far the world departed from the predictions, and how many chunks of the episode were broken off.

        Returns:
            (B,) each: `rrr_last` and `rrr_max`, the error of the prediction over the expected change; and with `replan`
            `rrr_replan_count`. Nothing if there is no prediction.
        """
        memory = state.memory
        if self.world is None or not self.config.remembers:
            return {}
        counts = {"rrr_replan_count": memory.replans} if self.config.replan else {}
        return {"rrr_last": memory.ratio, "rrr_max": memory.most} | counts

    def random_numbers(self, seed: Tensor) -> dict[str, Tensor]:
        """Return the random numbers of a decision, by name, each (B, ...), from its seeds (B,) int64."""
        return {"normal": row_normal(seed, (self.config.action_horizon, self.config.action_dim))}

    @property
    def world_parameters(self) -> int:
        """Number of parameters of the world predictor."""
        return 0 if self.world is None else sum(parameter.numel() for parameter in self.world.parameters())

    def robot_state(self, tracks: Mapping[str, Track], offset: int = 0) -> Tensor | None:
        """Return the robot's state (B, P) at one offset; None if it is not read."""
        return None if self.config.robot_state_dim is None else observed_vector(tracks, STATE_KEY, offset)

    def target_keys(self) -> tuple[str, ...]:
        """Return the streams without which there is no target."""
        config = self.config
        return (STATE_KEY,) if config.world_target == "state" else (*config.cameras, *config.depths)

    def after_step(self, train_step: int) -> None:
        """Move what follows the training: the target's weights, and how large residuals are."""
        self.frames.follow()
        if self.residuals is not None:
            self.residuals.update()

    def shard_units(self) -> list[nn.Module]:
        """Return the blocks whose weights FSDP puts together one at a time."""
        parts = (self.vlm.vision, self.vlm.projector, self.vlm.language)
        layers = [layer for part in parts for layer in outermost_layers(part)]
        # The head's keys and values are made apart from its blocks, of which so only the other half is a unit.
        halves = [block.ffn for block in self.action_head.blocks]
        return [*layers, *halves, *([] if self.world is None else self.world.blocks)]

    def enable_gradient_checkpointing(self) -> None:
        """Keep only each layer's input for the backward pass, and compute the rest again; gradients are the same."""
        self.vlm.recompute_activations(True)
        super().enable_gradient_checkpointing()

    def load_vlm(self, folder: str | Path) -> None:
        """Start from the vision encoder, projector and language model of a saved model or a checkpoint.

        Raises:
            ValueError: if one is missing there, or of another size.
        """
        load_vlm_parts(self.vlm, folder)
        self.frames.renew_copy()
