"""A policy that drives: surround cameras, LiDAR, radar, IMU, ego status and words to a trajectory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tempovla.model.action_head.modes_action_head import ModesActionHead
from tempovla.model.action_head.registry import build_action_head
from tempovla.model.fusion.bev import BEVTokens
from tempovla.model.fusion.state_encoder import AllTokensReadout
from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.layers.film import FiLM
from tempovla.model.layers.stacks import outermost_layers
from tempovla.model.vla.bev_history import BEVHistory
from tempovla.model.vla.driving_supervision import DrivingSupervision
from tempovla.model.vla.frame_history import FrameHistory, FrameMemory
from tempovla.model.vla.multi_sensor_config import MultiSensorVLAConfig
from tempovla.model.vla.multi_sensor_encoder import MultiSensorEncoder, Seen
from tempovla.model.vla.noise_state import NoiseState
from tempovla.model.vla.occupancy_brake import OccupancyBrake
from tempovla.model.vla.own_sensor_config import own_key
from tempovla.model.vla.saved_policy import SavedPolicy
from tempovla.model.vla.sensor_encoders import build_sensor_encoders
from tempovla.model.vla.token_history import TokenHistory
from tempovla.model.vla.waypoint_controller import WaypointController
from tempovla.model.vlm.language_model import LLMBackbone
from tempovla.model.vlm.vlm_model import mean_of_valid
from tempovla.timeline import ActionChunk, Context, LossTerms, Metric, TimelineSample, Track, Window
from tempovla.timeline.frames import FrameIndex, frame_actions, frame_context, frames_observed
from tempovla.timeline.keys import ACTION_KEY, POSE_KEY, STATE_KEY, TOKENS_KEY, WORDS_KEY
from tempovla.timeline.noise import mix_seed
from tempovla.timeline.trajectory import (
    metric_waypoints,
    normalized_poses,
    normalized_waypoints,
    steps_of,
    valid_waypoints,
    waypoint_scaling,
)

_FRAME_STREAM = 0x4456


@dataclass(frozen=True)
class MultiSensorState:
    """The source of the noise, and the views or fused tokens of the last frames; None without temporal encoder."""

    noise: NoiseState
    memory: FrameMemory | None


class Trajectories(NamedTuple):
    """The trajectories that a policy predicts.

    Attributes:
        waypoints: (B, K, H, 3) poses after 1 to H control steps in the vehicle's frame of now: x [m], y [m] and heading
            [rad].
        probability: (B, K).
    """

    waypoints: Tensor
    probability: Tensor


class MultiSensorVLA(SavedPolicy):
    """The policy. Its actions are normalised waypoints; the transform `Waypoints` makes steps of them.

    Args:
        config: sensors, sizes and parts.
        sensor_encoders: encoders of further sensors by name. Each maps the values (B, *F) of its stream, which is
            called `observation.` and the name, to (B, output_dim); of points it also gets (B, N) bool. They are not
            saved with the config: register an encoder in `SENSOR_ENCODER_REGISTRY` to train one from the command line.
        fields: of the config, instead or beside, such as `sensors`.

    Attributes:
        encoder: from readings to a bird's eye view and tokens.
        history: what earlier views or fused tokens add; None without temporal encoder.
        action_head: the action head.

    Raises:
        ValueError: if a part does not load, or the parts do not fit.
    """

    kind = "driving"
    config_class = MultiSensorVLAConfig
    config: MultiSensorVLAConfig

    def __init__(
        self,
        config: MultiSensorVLAConfig | None = None,
        *,
        sensor_encoders: Mapping[str, nn.Module] | None = None,
        **fields: Any,
    ) -> None:
        super().__init__()
        config = replace(config or MultiSensorVLAConfig(), **fields)
        self.language = None if config.language is None else LLMBackbone(config.language)
        width = config.width if self.language is None else self.language.hidden_dim
        self.config = config if self.language is None else replace(config, language=self.language.resolved_config)
        own = {**build_sensor_encoders(config.own_sensors), **(sensor_encoders or {})}
        self._own_names = tuple(own)
        self.encoder = MultiSensorEncoder(config, own, width)
        self.bev_tokens = BEVTokens(config.bev_dim, width, config.bev_tokens) if config.mapped else None
        self.history = self._history(width)
        words = config.max_instruction_tokens
        if self.language is None:
            self.words, words = nn.Embedding(config.vocabulary, width), 1
        self.norm = nn.Identity() if self.language is None else nn.LayerNorm(width)
        number = self.encoder.num_tokens + (config.bev_tokens**2 if config.mapped else 0) + words
        self.readout = AllTokensReadout(width, config.feature_dim, number, config.token_dim)
        self.instruct = FiLM(width, config.feature_dim) if config.film else None
        options = dict(config.action_head_options.get(config.head, {}))
        options |= {"num_modes": config.num_modes} if config.num_modes > 1 else {}
        self.action_head = build_action_head(
            config.head, config.feature_dim, config.action_dim, config.action_horizon, options
        )
        self.controller = WaypointController(rate_hz=config.rate_hz)
        self.supervision = DrivingSupervision(config, self.encoder.light)
        times, threshold = config.occupancy_times, config.brake_threshold
        self.brake = OccupancyBrake(config.grid, times, config.rate_hz, threshold) if threshold else None

    def _history(self, width: int) -> FrameHistory | None:
        config, fusion = self.config, self.encoder.token_fusion
        if config.temporal is None:
            return None
        if fusion is None:
            return BEVHistory(config.temporal, config.grid, config.bev_dim)
        return TokenHistory(config.temporal, fusion.num_tokens, width)

    @property
    def horizon(self) -> int:
        """Number of waypoints of a trajectory."""
        return self.config.action_horizon

    @property
    def device(self) -> torch.device:
        """Where the weights live."""
        return next(self.parameters()).device

    @property
    def frame_stride(self) -> int:
        """A trajectory is made anew at every control step, of which the first step is executed."""
        return 1

    @property
    def vocabulary(self) -> int:
        """Number of token ids that are told apart."""
        return self.config.vocabulary if self.language is None else self.language.vocab_size

    def observation_keys(self) -> tuple[str, ...]:
        """Return the streams that are read; the policy acts without any of them, too."""
        own = [own_key(name, self.config.own_sensors.get(name)) for name in self._own_names]
        taught = self.config.taught()
        read = [key for key in self.config.streams() if key != ACTION_KEY and key not in taught]
        return tuple(dict.fromkeys([*read, *own]))

    def taught_keys(self) -> tuple[str, ...]:
        """Return the streams that are read in training: those of control, and those that only teach."""
        return (*self.observation_keys(), *self.config.taught())

    def windows(self) -> tuple[Window, ...]:
        """Return observations now, each of which may be missing, and the actions from now on."""
        seen = (Window(key, (0,), optional=True) for key in self.observation_keys())
        return (*seen, Window(ACTION_KEY, tuple(range(self.horizon))))

    def training_windows(self) -> tuple[Window, ...]:
        """Return the windows for training: with a temporal encoder, those of a sequence of frames."""
        if self.config.temporal is None:
            seen = [Window(key, (0,), optional=True) for key in self.taught_keys()]
            return (*seen, Window(ACTION_KEY, tuple(range(self.horizon))))
        offsets = self.config.temporal.offsets
        seen = [Window(key, offsets, optional=True) for key in self.taught_keys()]
        words = [Window(WORDS_KEY, offsets[:-1])] if len(offsets) > 1 else []
        return (*seen, *words, Window(ACTION_KEY, tuple(range(offsets[0], self.horizon))))

    def window_ends(self, length: int) -> list[int]:
        """Return every control step, so that frames are learned from with pasts of all lengths."""
        return list(range(length))

    def initial_state(self, batch_size: int) -> MultiSensorState:
        """Return the state of rows that have seen nothing and drawn no noise."""
        memory = None if self.history is None else self.history.initial_state(batch_size)
        return MultiSensorState(NoiseState.initial(batch_size, self.device), memory)

    def with_seeds(self, state: MultiSensorState, seed: Tensor) -> MultiSensorState:
        """Return the state with every row's noise drawn from its seed (B,)."""
        return replace(state, noise=state.noise.with_seeds(seed))

    def forward(self, sample: TimelineSample) -> LossTerms:
        """Return the loss terms of the action head, at all frames of a sequence if there is a temporal encoder."""
        if self.history is None or self.config.temporal is None:
            seen = self.encoder(sample.context, sample.seed)
            plan, view = sample.future[ACTION_KEY], self._view(seen)
            terms = self._terms(seen, self._features(seen, view, sample.context), plan, sample.seed)
            return {**terms, **self.supervision(seen, seen.bev, sample.context)}
        offsets, batch = self.config.temporal.offsets, sample.batch_size
        keys = [key for key in self.observation_keys() if key in sample.context.now]
        observed = frames_observed(sample.context, keys, offsets) if keys else _nothing(batch, offsets, self.device)
        index = FrameIndex.where(_at_least_one(observed), offsets)
        context = frame_context(sample.context, index)
        seed = mix_seed(sample.seed[index.row], _FRAME_STREAM + index.place)
        seen = self.encoder(context, seed)
        view = self._view(seen)
        assert view is not None
        pose, known = self._pose(context)
        views, poses, poses_known = (index.scatter(value, batch) for value in (view, pose, known))
        view = self.history.sequence(views, poses, poses_known, index)
        terms = self._terms(seen, self._features(seen, view, context), self._plans(sample, index), seed)
        return {**terms, **self.supervision(seen, None if seen.bev is None else view, context)}

    def act(self, context: Context, state: MultiSensorState) -> tuple[ActionChunk, MultiSensorState]:
        """Return a trajectory as a chunk of normalised waypoints (B, H, 3)."""
        seed, noise = state.noise.decide(context.first)
        context = replace(context, past={})
        seen, view, memory = self._seen(context, state.memory)
        features = self._features(seen, view, context)
        numbers = self.action_head.random_numbers(seed)
        chunk = self.action_head.sample_with(features, numbers).view(context.batch_size, self.horizon, -1)
        chunk = chunk / self._scale(chunk)
        occupancy = self.supervision.occupancy
        if self.brake is not None and occupancy is not None and seen.bev is not None and view is not None:
            rate, probability = self.config.rate_hz, occupancy(view).sigmoid()
            braked = normalized_poses(self.brake(metric_waypoints(chunk, rate), probability), rate)
            chunk = torch.where(seen.mapped[:, None, None], braked, chunk)  # a view of no sensor tells nothing
        if self.config.smooth_plan:
            chunk = self._smooth(chunk, context)
        return ActionChunk.of(chunk, range(self.horizon)), MultiSensorState(noise, memory)

    @torch.no_grad()
    def trajectories(self, context: Context, state: MultiSensorState) -> tuple[Trajectories, MultiSensorState]:
        """Return all trajectories that the policy predicts with their probabilities, and the state that `act` returns.

        A head without modes predicts one trajectory, which is that of `act`. Modes are returned as they are predicted:
        `act` drives the most probable one after it has given way (`brake_threshold`) and was smoothed (`smooth_plan`).
        """
        if not isinstance(self.action_head, ModesActionHead):
            chunk, after = self.act(context, state)
            waypoints = metric_waypoints(chunk.value, self.config.rate_hz)[:, None]
            return Trajectories(waypoints, torch.ones_like(waypoints[:, :, 0, 0])), after
        _, noise = state.noise.decide(context.first)
        context = replace(context, past={})
        seen, view, memory = self._seen(context, state.memory)
        features = self._features(seen, view, context)
        chunks, probability = self.action_head.modes(features)
        waypoints = metric_waypoints(chunks / self._scale(chunks), self.config.rate_hz)
        return Trajectories(waypoints, probability), MultiSensorState(noise, memory)

    @torch.no_grad()
    def perceived(self, context: Context, state: MultiSensorState) -> tuple[dict[str, Metric], MultiSensorState]:
        """Return how much of its surroundings the policy recognises, and the state that `act` returns.

        Args:
            context: observations, and of the streams that only teach those that are to be recognised.
            state: of the rows.

        Returns:
            By name the metrics of training, such as `occupancy_iou`; none of what was not learned or is not given.
        """
        _, noise = state.noise.decide(context.first)
        context = replace(context, past={})
        seen, view, memory = self._seen(context, state.memory)
        told = self.supervision(seen, None if seen.bev is None else view, context)
        found = {name: term for name, term in told.items() if isinstance(term, Metric)}
        return found, MultiSensorState(noise, memory)

    def after_step(self, train_step: int) -> None:
        """Nothing moves between steps."""

    def shard_units(self) -> list[nn.Module]:
        """Return the layers of the language model, whose weights FSDP puts together one at a time."""
        return [] if self.language is None else list(outermost_layers(self.language))

    def _view(self, seen: Seen) -> Tensor | None:
        """What a temporal encoder reads of a frame: the bird's eye view, or the fused tokens (B, L, D)."""
        fusion = self.encoder.token_fusion
        return seen.bev if fusion is None else seen.tokens[:, : fusion.num_tokens]

    def _seen(self, context: Context, memory: FrameMemory | None) -> tuple[Seen, Tensor | None, FrameMemory | None]:
        """What the sensors tell now, the view of it with the past, and the memory with the present frame."""
        seen = self.encoder(context)
        view = with_past = self._view(seen)
        if self.history is not None and memory is not None and view is not None:
            pose, known = self._pose(context)
            memory = memory.reset(context.first)
            with_past = self.history(view, pose, known, memory)
            memory = memory.pushed(view, pose, known)
        return seen, with_past, memory

    def _features(self, seen: Seen, view: Tensor | None, context: Context) -> Tensor:
        """The features (B, F) of frames, from their views, their other tokens and their words."""
        tokens = seen.tokens
        if view is not None:
            first = view if self.bev_tokens is None else self.bev_tokens(view)
            others = tokens[:, view.shape[1] :] if self.bev_tokens is None else tokens
            tokens = torch.cat([first, others.to(first.dtype)], dim=1)
        ids, told = context.now[TOKENS_KEY].at(0)
        there = told[:, None] & (ids >= 0)
        if self.language is None:
            words = mean_of_valid(self.words(torch.where(there, ids, 0)), there)
            tokens = torch.cat([tokens.to(words.dtype), words[:, None]], dim=1)
        else:
            output = self.language(torch.where(there, ids, 0), there, tokens)
            hidden = self.norm(in_dtype_of(self.norm, output.hidden))
            tokens = torch.where(output.valid[..., None], hidden, 0.0)
            words = mean_of_valid(tokens[:, -there.shape[1] :], there)
        features: Tensor = self.readout(in_dtype_of(self.readout, tokens))
        return features if self.instruct is None else self.instruct(features, words)

    def _terms(self, seen: Seen, features: Tensor, plan: Track, seed: Tensor) -> LossTerms:
        terms = self.action_head.loss_terms(features, plan.value * self._scale(plan.value), plan.valid, seed)
        return terms if seen.depth is None else {**terms, "depth_loss": seen.depth}

    def _scale(self, like: Tensor) -> Tensor:
        """By what the action head's waypoints (..., 3) are larger: errors of the way forward count more by it."""
        return like.new_tensor((self.config.forward_weight**0.5, *[1.0] * (self.config.action_dim - 1)))

    def _pose(self, context: Context) -> tuple[Tensor, Tensor]:
        """The poses (B, 3) of now, and which (B,) are known; where not, 0."""
        if POSE_KEY not in context.now:
            rows = context.batch_size
            return torch.zeros(rows, 3, device=context.device), _nothing(rows, (0,), context.device)[:, 0]
        pose, known = context.now[POSE_KEY].at(0)
        return torch.where(known[:, None], pose.float(), 0.0), known

    def _plans(self, sample: TimelineSample, index: FrameIndex) -> Track:
        """The normalised waypoints (N, H, 3) from each frame on; those of now were made of steps by the transform."""
        rate, future = self.config.rate_hz, sample.future[ACTION_KEY]
        waypoints = torch.where(future.valid[..., None], metric_waypoints(future.value, rate), 0.0)
        raw = replace(future, value=steps_of(waypoints))
        whole = replace(sample, future={**sample.future, ACTION_KEY: raw})
        steps = frame_actions(whole, index, self.horizon)
        valid = valid_waypoints(steps.valid)
        clean = torch.where(valid[..., None], steps.value, 0.0)
        return Track.of(normalized_waypoints(clean, rate), range(self.horizon), valid)

    def _smooth(self, chunk: Tensor, context: Context) -> Tensor:
        """The trajectory with the first step that the vehicle takes when it follows the whole."""
        rate = self.config.rate_hz
        waypoints = metric_waypoints(chunk, rate)
        speed = waypoints[:, 0, :2].norm(dim=-1) * rate
        if self.config.reads_state and STATE_KEY in context.now:
            status, known = context.now[STATE_KEY].at(0)
            speed = torch.where(known, status[:, 0].to(speed.dtype), speed)
        first = self.controller.first_step(waypoints, speed.clamp(min=0.0))
        offset, scale = waypoint_scaling(self.horizon, rate, like=chunk)
        return torch.cat([((first - offset[0]) / scale[0])[:, None], chunk[:, 1:]], dim=1)


def _nothing(rows: int, offsets: Sequence[int], device: torch.device) -> Tensor:
    return torch.zeros(rows, len(offsets), dtype=torch.bool, device=device)


def _at_least_one(chosen: Tensor) -> Tensor:
    """Return the frames (B, T) to encode; if no row has any, one frame, from which nothing is learned."""
    if bool(chosen.any()):
        return chosen
    newest = torch.zeros_like(chosen)
    newest[0, -1] = True
    return newest
