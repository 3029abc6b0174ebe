"""Readings of many sensors at one control step as a bird's eye view and as tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.fusion.bev import BEVFusion
from tempovla.model.fusion.bev_config import BEVFusionConfig
from tempovla.model.fusion.lift_splat import LiftSplat, build_lift
from tempovla.model.fusion.modality_dropout import keep_modalities
from tempovla.model.fusion.point_depth import projected_depth
from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.layers.mlp import mlp
from tempovla.model.sensor.calibrations import view_cameras
from tempovla.model.sensor.camera_backbone import CameraBackbone, Residual
from tempovla.model.sensor.imu_encoder import IMUEncoder
from tempovla.model.sensor.pillars import PillarEncoder
from tempovla.model.sensor.radar_encoder import RadarPillars
from tempovla.model.vla.light_head import NUM_STATES, FrontView, LightHead, evidence
from tempovla.model.vla.multi_sensor_config import POINT_STREAMS, MultiSensorVLAConfig
from tempovla.model.vla.own_sensor_config import own_key
from tempovla.model.vla.token_fusion import SCENE, VISION, TokenFusion, TokenSet, points_of_now
from tempovla.timeline import Context, LossTerm, Track
from tempovla.timeline.driving import LIDAR_NAMES, STATE_NAMES
from tempovla.timeline.keys import STATE_KEY
from tempovla.timeline.noise import mix_seed, row_uniform

_MODALITY_STREAM, _STATE_STREAM = 0x4D4F, 0x5354
STATE_SCALES = (10.0, 3.0, 0.5, 0.3)
"""By what the ego status is divided: speed [m/s], acceleration [m/s2], yaw rate [rad/s] and steering angle [rad]."""
FRONT, LIGHT, IMU, STATE = "front", "light", "imu", "state"
"""Groups of tokens beside the bird's eye view, and further sensors by their names."""
_TAKEN_NAMES = ("cameras", *POINT_STREAMS, FRONT, LIGHT, STATE, VISION, SCENE)
"""What further sensors cannot be called, as parts of the policy are."""


@dataclass(frozen=True)
class Seen:
    """What is made of single frames.

    Attributes:
        bev: (B, C, rows, columns); None where the policy reads no sensor that is seen in it, or fuses tokens.
        tokens: (B, L, D) of everything else.
        mapped: (B,) bool, whether any sensor that is seen in the bird's eye view was there.
        front: (B,) bool, whether the tokens of the front camera, which come first of all, are those of a picture.
        view: what the front camera sees; None where it gives no tokens.
        depth: what the depths of the cameras' features learn from; None where nothing.
    """

    bev: Tensor | None
    tokens: Tensor
    mapped: Tensor
    front: Tensor
    view: FrontView | None = None
    depth: LossTerm | None = None


class CameraFeatures(NamedTuple):
    """Features of n cameras (B, n, C, h, w), which of them are valid (B, n), and their calibrations: intrinsics
    (B, n, 3, 3) and poses (B, n, 4, 4).
    """

    features: Tensor
    valid: Tensor
    intrinsics: Tensor
    poses: Tensor


class FrontTokens(nn.Module):
    """A camera's features as tokens of their own, for what has no place on the ground, such as traffic lights.

    Args:
        dim: channels C of the features.
        width: width D of a token.
        size: rows and columns of the tokens.
    """

    def __init__(self, dim: int, width: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size, self.count = size, size[0] * size[1]
        self.block = Residual(dim)
        self.project = nn.Linear(dim, width)
        self.position = nn.Parameter(0.02 * torch.randn(self.count, width))

    def cells(self, features: Tensor) -> Tensor:
        """Return what tokens and lights are made from, (B, C, h, w), of features (B, C, h, w)."""
        cells: Tensor = self.block(in_dtype_of(self.block, features))
        return cells

    def forward(self, cells: Tensor) -> Tensor:
        """Return tokens (B, rows * columns, D) of what `cells` returns."""
        pooled = F.adaptive_max_pool2d(cells, self.size)
        return self.project(pooled.flatten(2).transpose(1, 2)) + self.position


class MultiSensorEncoder(nn.Module):
    """All sensors of one frame. What is absent is replaced by learned vectors, and never by what its values hold.

    Args:
        config: sensors and sizes.
        own: encoders of further sensors, by the sensors' names; each has an `output_dim`.
        width: width D of a token.

    Raises:
        ValueError: if a further sensor has the name of another part, or a name with a dot.
    """

    def __init__(self, config: MultiSensorVLAConfig, own: Mapping[str, nn.Module], width: int) -> None:
        super().__init__()
        self.config, self.width, dim = config, width, config.bev_dim
        self.state_scales: Tensor
        self.maps = nn.ModuleDict()
        mapped = config.mapped
        if "cameras" in mapped:
            self.backbone = CameraBackbone(dim)
            self.maps["cameras"] = build_lift(config.grid, dim, config.lift, CameraBackbone.STRIDE)
        if "lidar" in mapped:
            self.maps["lidar"] = PillarEncoder(config.grid, dim, len(LIDAR_NAMES))
        if "radar" in mapped:
            self.maps["radar"] = RadarPillars(config.grid, dim)
        self.fusion, self.front_backbone, self.light = None, None, None
        if mapped:
            widths: dict[str, int] = {
                sensor: config.lift.output_dim if sensor == "cameras" else dim for sensor in mapped
            }
            self.fusion = BEVFusion(widths, BEVFusionConfig(dim, config.bev_blocks))
        for name in own:
            _check_own_name(name)
        self.own = nn.ModuleDict(own)
        self.counts: dict[str, int] = {}
        self.groups = nn.ModuleDict()
        if "cameras" in mapped and config.front_camera is not None:
            front = FrontTokens(dim, width, config.front_tokens)
            self._add(FRONT, front, front.count)
            if config.front_size is not None:
                self.front_backbone = CameraBackbone(dim)
            if config.finds_lights:
                self.light = LightHead(dim, width)
                self._add(LIGHT, nn.Linear(NUM_STATES, width))
        if config.uses("imu"):
            self._add(IMU, nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width)))
            self.imu = IMUEncoder(width, num_layers=1)
        for name, encoder in own.items():
            self._add(name, nn.Linear(_output_dim(name, encoder), width))
        if config.reads_state:
            self._add(STATE, mlp((len(STATE_NAMES), width, width)))
            self.register_buffer("state_scales", torch.tensor(STATE_SCALES), persistent=False)
        absent = {name: nn.Parameter(0.02 * torch.randn(count, width)) for name, count in self.counts.items()}
        self.absent = nn.ParameterDict(absent)
        self.token_fusion = None if config.fusion == "bev" else TokenFusion(config, tuple(self.groups), width)

    def _add(self, name: str, module: nn.Module, count: int = 1) -> None:
        self.groups[name], self.counts[name] = module, count

    @property
    def num_tokens(self) -> int:
        """Number L of tokens beside the bird's eye view."""
        return sum(self.counts.values()) + (0 if self.token_fusion is None else self.token_fusion.num_tokens)

    def forward(self, context: Context, seed: Tensor | None = None) -> Seen:
        """Return the view and the tokens of the present frames.

        Args:
            context: of B rows, the present of each.
            seed: (B,) int64 seeds of the rows in training, from which it follows what is dropped; None drops nothing.
        """
        there = self._dropped(self._present(context), seed)
        groups, nowhere = self._felt(context, there), torch.zeros_like(context.first)
        if self.token_fusion is not None:
            fused, sets = self.token_fusion(context, there, self._group_tokens(groups))
            tokens = torch.cat([fused, self._tokens(context, sets).to(fused.dtype)], dim=1)
            return Seen(None, tokens, mapped=nowhere, front=nowhere)
        maps: dict[str, Tensor | None] = {}
        depth, view = None, None
        if self.config.uses("cameras"):
            seen, view = self._see_cameras(context, there["cameras"], maps, groups)
            depth = None if seed is None else self._depth_term(context, seen)
        for sensor in ("lidar", "radar"):
            key = POINT_STREAMS[sensor][0]
            if sensor in self.maps and key in context.now:
                points, valid = points_of_now(context.now[key], there[sensor])
                maps[sensor] = self.maps[sensor](points, valid).features
        mapped = torch.stack([nowhere, *(there[sensor] for sensor in self.config.mapped)]).any(dim=0)
        front = groups[FRONT][1] if FRONT in groups else nowhere
        tokens = self._tokens(context, self._group_tokens(groups))
        return Seen(self._fused(context, maps, there), tokens, mapped, front, view, depth)

    def _felt(self, context: Context, there: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """What the IMU, further sensors and the ego status say, (B, 1, F), and in which rows (B,) they say it."""
        groups = {}
        if self.config.uses("imu") and POINT_STREAMS["imu"][0] in context.now:
            readings, valid = points_of_now(context.now[POINT_STREAMS["imu"][0]], there["imu"])
            felt = self.imu(readings[..., 1:], readings[..., 0], valid)
            groups[IMU] = felt[:, None], there["imu"]
        for name, encoder in self.own.items():
            track = context.now.get(own_key(name, self.config.own_sensors.get(name)))
            if track is not None:
                groups[name] = _encoded(encoder, track, there[name])[:, None], there[name]
        if self.config.reads_state and STATE_KEY in context.now:
            status = torch.where(there[STATE][:, None], context.now[STATE_KEY].at(0)[0].float(), 0.0)
            groups[STATE] = (status / self.state_scales)[:, None], there[STATE]
        return groups

    def _present(self, context: Context) -> dict[str, Tensor]:
        """Which rows (B,) have each sensor, and the ego status."""
        keys: dict[str, tuple[str, ...]] = {"cameras": self.config.cameras}
        keys |= {sensor: (POINT_STREAMS[sensor][0],) for sensor in POINT_STREAMS}
        keys = {sensor: named for sensor, named in keys.items() if sensor in self.config.sensors}
        keys |= {name: (own_key(name, self.config.own_sensors.get(name)),) for name in self.own}
        if self.config.reads_state:
            keys[STATE] = (STATE_KEY,)
        nowhere = torch.zeros(context.batch_size, dtype=torch.bool, device=context.device)
        found = {}
        for sensor, named in keys.items():
            seen = [context.now[key].at(0)[1] for key in named if key in context.now]
            found[sensor] = torch.stack(seen).any(dim=0) if seen else nowhere
        return found

    def _dropped(self, there: dict[str, Tensor], seed: Tensor | None) -> dict[str, Tensor]:
        """The same without what is left out of this sample in training."""
        if seed is None or not self.training:
            return there
        kept, sensors = dict(there), [name for name in there if name != STATE]
        if self.config.modality_dropout and sensors:
            present = torch.stack([there[name] for name in sensors], dim=1)
            left = keep_modalities(present, self.config.modality_dropout, mix_seed(seed, _MODALITY_STREAM))
            kept |= dict(zip(sensors, left.unbind(dim=1), strict=True))
        if self.config.state_dropout and STATE in there:
            kept[STATE] = there[STATE] & (row_uniform(mix_seed(seed, _STATE_STREAM)) >= self.config.state_dropout)
        return kept

    def _see_cameras(
        self,
        context: Context,
        there: Tensor,
        maps: dict[str, Tensor | None],
        groups: dict[str, tuple[Tensor, Tensor]],
    ) -> tuple[CameraFeatures | None, FrontView | None]:
        """Add the map of the cameras and the tokens of the front one, and return their features, if any is given."""
        given = [camera for camera in self.config.cameras if camera in context.now]
        if not given:
            return None, None
        pictures, seen = zip(*(context.now[camera].at(0) for camera in given), strict=True)
        valid = torch.stack(seen, dim=1) & there[:, None]
        images = torch.stack([self._small(picture) for picture in pictures], dim=1)
        features = self.backbone(images.float() / 255.0, valid)
        size = (images.shape[-2], images.shape[-1])
        cameras = view_cameras(
            context.task, given, size, needs_intrinsics=True, needs_extrinsics=True, device=context.device
        )
        assert cameras.intrinsics is not None
        assert cameras.extrinsics is not None
        maps["cameras"] = self.maps["cameras"](features, cameras.intrinsics, cameras.extrinsics, valid).features
        view = None
        if self.config.front_camera in given and FRONT in self.groups:
            place = given.index(self.config.front_camera)
            picture, there = pictures[place], valid[:, place]
            view = self._see_front(picture, features[:, place], there)
            groups[FRONT] = view.cells, there
            if view.logits is not None:
                groups[LIGHT] = evidence(view.logits)[:, None].sigmoid(), there
        return CameraFeatures(features, valid, cameras.intrinsics, cameras.extrinsics), view

    def _small(self, picture: Tensor) -> Tensor:
        """A picture (B, 3, H, W) at the size at which it comes into the bird's eye view."""
        size = self.config.image_size
        if self.front_backbone is None or picture.shape[-2:] == size:
            return picture
        return F.interpolate(picture.float(), size, mode="bilinear", align_corners=False, antialias=True)

    def _see_front(self, picture: Tensor, features: Tensor, valid: Tensor) -> FrontView:
        """What the front camera sees, of its picture (B, 3, H, W), its features there and in which rows it is there."""
        front = self.groups[FRONT]
        assert isinstance(front, FrontTokens)
        if self.front_backbone is not None:
            features = self.front_backbone(picture[:, None].float() / 255.0, valid[:, None])[:, 0]
        cells = front.cells(features)
        logits = None if self.light is None else self.light(cells)
        return FrontView(cells, logits, (picture.shape[-2], picture.shape[-1]))

    def _depth_term(self, context: Context, seen: CameraFeatures | None) -> LossTerm | None:
        """What the depths of the cameras' features learn from: the points of the LiDAR that fall into them."""
        lift, key = self.maps["cameras"], POINT_STREAMS["lidar"][0]
        if seen is None or not self.config.depth_weight or key not in context.now or not isinstance(lift, LiftSplat):
            return None
        points, present = points_of_now(context.now[key], torch.ones_like(context.first))
        size, stride = seen.features.shape[-2:], CameraBackbone.STRIDE
        depth = projected_depth(points, present, seen.intrinsics, seen.poses, size, stride, seen.valid)
        classes, known = lift.depth_classes(depth)
        logits = lift.depth_logits(seen.features)
        return LossTerm(logits, classes, known, self.config.depth_weight, "cross_entropy")

    def _fused(self, context: Context, maps: dict[str, Tensor | None], there: Mapping[str, Tensor]) -> Tensor | None:
        """The view of all sensors that are seen in it."""
        if self.fusion is None:
            return None
        if not maps:  # none of them is given: what stands for absent sensors is all that there is
            grid, like = self.config.grid, self.fusion.absent
            first = self.config.mapped[0]
            width = self.config.lift.output_dim if first == "cameras" else self.config.bev_dim
            shape = (context.batch_size, width, grid.rows, grid.columns)
            maps = {first: like.new_zeros(()).expand(shape)}
        return self.fusion(maps, {sensor: there[sensor] for sensor in maps})

    def _group_tokens(self, groups: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, TokenSet]:
        """The tokens of groups that are given."""
        found = {}
        for name, (value, valid) in groups.items():
            module = self.groups[name]
            tokens = module(in_dtype_of(module, value))
            found[name] = TokenSet(tokens, valid[:, None].expand(-1, tokens.shape[1]))
        return found

    def _tokens(self, context: Context, sets: Mapping[str, TokenSet]) -> Tensor:
        """All groups of tokens (B, L, D) in order, with learned ones for those that are absent."""
        rows, parts = context.batch_size, []
        for name in self.groups:
            absent = self.absent[name].expand(rows, -1, -1)
            if name in sets:
                tokens, valid = sets[name]
                absent = torch.where(valid[..., None], tokens, absent.to(tokens.dtype))
            parts.append(absent)
        return torch.cat(parts, dim=1) if parts else torch.zeros(rows, 0, self.width, device=context.device)


def _encoded(encoder: nn.Module, track: Track, there: Tensor) -> Tensor:
    """Features (B, output_dim) of a further sensor; rows without it are encoded as zeros."""
    if track.element_valid is not None:
        return encoder(*points_of_now(track, there))
    value = track.at(0)[0]
    return encoder(torch.where(there.view(-1, *[1] * (value.dim() - 1)), value, torch.zeros_like(value)))


def _check_own_name(name: str) -> None:
    if name in _TAKEN_NAMES:
        raise ValueError(f"a sensor of your own is called {name!r}, as is a part of the policy; choose another name")
    if not name or "." in name:
        raise ValueError(
            f"a sensor of your own is called {name!r}; choose a name without dots, and name a stream other than "
            "observation.NAME as model.own_sensors.NAME.key"
        )


def _output_dim(name: str, encoder: nn.Module) -> int:
    width = getattr(encoder, "output_dim", None)
    if not isinstance(width, int):
        raise ValueError(
            f"sensor_encoders[{name!r}]: {type(encoder).__name__} has no attribute output_dim; set it to the number of "
            "features that it gives"
        )
    return width
