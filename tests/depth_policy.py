"""A small policy that reads the state and depth: its own, and a geometry encoder's tokens of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tempovla.model.sensor import DepthGeometryConfig, PointTokensConfig, build_geometry, view_cameras
from tempovla.timeline import ActionChunk, Context, LossTerm, TimelineSample, Window
from tempovla.timeline.streams import StreamSpec

STATE, ACTION, DEPTH = "observation.state", "action", "observation.depth.corner2"


@dataclass(frozen=True)
class DepthConfig:
    """Sizes of a `DepthPolicy`.

    Attributes:
        depth: the stream of depth.
        image_size: side of the depth that it sees [px].
        frame: of the points.
    """

    depth: str = DEPTH
    image_size: int = 8
    frame: str = "world"
    state_dim: int = 4
    action_dim: int = 4
    horizon: int = 3

    def streams(self) -> dict[str, StreamSpec]:
        return {
            STATE: StreamSpec("state", (self.state_dim,)),
            self.depth: StreamSpec("depth"),
            ACTION: StreamSpec("action", (self.action_dim,)),
        }


class DepthPolicy(nn.Module):
    """Actions as a linear function of the state and of the mean token of the depth."""

    def __init__(self, config: DepthConfig) -> None:
        super().__init__()
        self.config = config
        tokens = PointTokensConfig(grid=4, output_dim=6, hidden_dim=8, num_bands=2)
        self.geometry = build_geometry(DepthGeometryConfig(tokens=tokens, frame=config.frame))
        self.head = nn.Linear(config.state_dim + 6, config.horizon * config.action_dim)

    def windows(self) -> tuple[Window, ...]:
        horizon = tuple(range(self.config.horizon))
        return Window(STATE, (0,)), Window(self.config.depth, (0,)), Window(ACTION, horizon)

    def initial_state(self, batch_size: int) -> None:
        return None

    def seen(self, context: Context) -> Tensor:
        """(B, 6) the mean token."""
        depth, valid = context.now[self.config.depth].at(0)
        size, geometry = self.config.image_size, self.geometry
        cameras = view_cameras(
            context.task,
            [self.config.depth],
            (size, size),
            needs_intrinsics=geometry.needs_intrinsics,
            needs_extrinsics=geometry.needs_extrinsics,
        )
        images = torch.zeros(len(depth), 1, 3, size, size)
        out = geometry.encode(
            images,
            valid[:, None],
            intrinsics=cameras.intrinsics,
            extrinsics=cameras.extrinsics,
            depth=torch.where(valid[:, None, None, None], depth, 0.0)[:, None],
        )
        features, mask = out.flat()
        return features.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)

    def predict(self, context: Context) -> Tensor:
        state, valid = context.now[STATE].at(0)
        state = torch.where(valid[:, None], state, 0.0)
        actions = self.head(torch.cat([state, self.seen(context)], dim=1))
        return actions.unflatten(1, (self.config.horizon, self.config.action_dim))

    def forward(self, sample: TimelineSample) -> dict[str, LossTerm]:
        action = sample.future[ACTION]
        return {"action_loss": LossTerm(self.predict(sample.context), action.value, action.valid)}

    def act(self, context: Context, state: None) -> tuple[ActionChunk, None]:
        return ActionChunk.of(self.predict(context), range(self.config.horizon)), state

    def after_step(self, train_step: int) -> None:
        pass
