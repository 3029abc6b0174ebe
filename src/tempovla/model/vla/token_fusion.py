"""Cameras, LiDAR and radar as tokens that attend to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.fusion.cross_modal import CrossModalFusion, FusedTokens
from tempovla.model.fusion.hierarchical import HierarchicalFusion
from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.layers.mlp import mlp
from tempovla.model.sensor.camera_backbone import CameraBackbone, Residual
from tempovla.model.sensor.lidar_encoder import PointCloudEncoder
from tempovla.model.sensor.radar_encoder import RadarEncoder
from tempovla.model.vla.multi_sensor_config import POINT_STREAMS, MultiSensorVLAConfig, Sensor
from tempovla.model.vla.token_fusion_config import TokenFusionConfig
from tempovla.model.vlm.vision_projector import PerceiverLayer
from tempovla.timeline import Context, Track
from tempovla.timeline.driving import LIDAR_NAMES

VISION, SCENE = "vision", "scene"


class TokenSet(NamedTuple):
    """Tokens (B, L, D), and which of them are there (B, L)."""

    tokens: Tensor
    valid: Tensor


class CameraTokens(nn.Module):
    """Features of several cameras as tokens, each with a learned position of its camera and its place in the picture.

    Args:
        dim: channels C of the features.
        width: width D of a token.
        sizes: rows and columns of each camera's tokens, by the camera's key.
    """

    def __init__(self, dim: int, width: int, sizes: Mapping[str, tuple[int, int]]) -> None:
        super().__init__()
        self.sizes = dict(sizes)
        self.count = sum(rows * columns for rows, columns in sizes.values())
        self.block = Residual(dim)
        self.project = nn.Linear(dim, width)
        self.position = nn.Parameter(0.02 * torch.randn(self.count, width))

    def forward(self, features: Tensor, valid: Tensor, cameras: Sequence[str]) -> TokenSet:
        """Return the tokens of all cameras; those of a camera that is not given are not there.

        Args:
            features: (B, n, C, h, w) of the cameras that are given.
            valid: (B, n) bool, which of them work.
            cameras: their n keys.
        """
        seen = self.block(in_dtype_of(self.block, features.flatten(0, 1))).unflatten(0, features.shape[:2])
        parts, there = [], []
        for camera, size in self.sizes.items():
            if camera in cameras:
                place = cameras.index(camera)
                pooled = F.adaptive_max_pool2d(seen[:, place], size).flatten(2).transpose(1, 2)
                works = valid[:, place]
            else:
                pooled = seen.new_zeros(len(seen), size[0] * size[1], seen.shape[2])
                works = torch.zeros_like(valid[:, 0])
            parts.append(pooled)
            there.append(works[:, None].expand(-1, pooled.shape[1]))
        return TokenSet(self.project(torch.cat(parts, dim=1)) + self.position, torch.cat(there, dim=1))


class TokenFusion(nn.Module):
    """Cameras, LiDAR and radar of one frame to tokens, which attend to each other by `model.fusion`.

    The result is the fused tokens of the cameras, learned queries over the fused tokens of points, and what one query
    finds in all tokens. Where there is nothing to see, learned vectors take their place.

    Args:
        config: sensors and sizes.
        others: names of further modalities, such as the ego status, that `cross_modal` fuses as well.
        width: width D of a token.

    Raises:
        ValueError: if the attention heads do not divide the width.
    """

    def __init__(self, config: MultiSensorVLAConfig, others: Sequence[str], width: int) -> None:
        super().__init__()
        self.config, sizes = config, config.token_fusion or TokenFusionConfig()
        if width % sizes.num_heads:
            raise ValueError(
                f"model.token_fusion.num_heads={sizes.num_heads} does not divide the width {width} of a token; choose "
                "one that does"
            )
        clouds = sizes.lidar
        self.extent, self.counts = clouds.extent, dict[str, int]()
        modalities = []
        if config.uses("cameras"):
            self.backbone = CameraBackbone(sizes.camera_dim)
            tokens = {
                camera: config.front_tokens if camera == config.front_camera else sizes.camera_tokens
                for camera in config.cameras
            }
            self.cameras = CameraTokens(sizes.camera_dim, width, tokens)
            modalities.append(VISION)
            self.counts[VISION] = self.cameras.count
        if config.uses("lidar"):
            self.lidar = PointCloudEncoder(len(LIDAR_NAMES), width, clouds)
            self.lidar_tokens = nn.Linear(self.lidar.token_dim, width)
            modalities.append("lidar")
        if config.uses("radar"):
            self.radar = RadarEncoder(width)
            modalities.append("radar")
        if config.uses("lidar") or config.uses("radar"):
            self.place = mlp((3, width, width))
            self.queries = nn.Parameter(torch.randn(sizes.num_queries, width))
            self.reader, self.reader_norm = PerceiverLayer(width, sizes.num_heads), nn.LayerNorm(width)
            self.counts[SCENE] = sizes.num_queries
        self.fusion: CrossModalFusion | HierarchicalFusion
        if config.fusion == "hierarchical":
            self.fusion = HierarchicalFusion(width, sizes.num_heads, sizes.num_layers)
        else:
            self.fusion = CrossModalFusion(width, sizes.num_heads, (*modalities, *others), sizes.num_layers)
        self.counts["all"] = 1
        absent = {name: nn.Parameter(0.02 * torch.randn(count, width)) for name, count in self.counts.items()}
        self.absent = nn.ParameterDict(absent)

    @property
    def num_tokens(self) -> int:
        """Number L of tokens, without those of further modalities."""
        return sum(self.counts.values())

    def forward(
        self, context: Context, there: Mapping[str, Tensor], others: Mapping[str, TokenSet]
    ) -> tuple[Tensor, dict[str, TokenSet]]:
        """Return the fused tokens (B, L, D), and the tokens of the further modalities, which may be fused, too.

        Args:
            context: of B rows, the present of each.
            there: which rows (B,) have each sensor.
            others: the tokens of further modalities.
        """
        sets = self._sets(context, there)
        fuses_others = isinstance(self.fusion, CrossModalFusion)
        given = {**sets, **others} if fuses_others else sets
        if not given:
            return self._absent(context.batch_size), dict(others)
        fused = self.fusion(
            {name: each.tokens for name, each in given.items()},
            valid={name: each.valid for name, each in given.items()},
        )
        changed = {
            name: TokenSet(fused.tokens[name], fused.valid[name]) if fuses_others else each
            for name, each in others.items()
        }
        return self._collected(fused), changed

    def _sets(self, context: Context, there: Mapping[str, Tensor]) -> dict[str, TokenSet]:
        """The tokens of the sensors that are given."""
        sets = {}
        given = [camera for camera in self.config.cameras if camera in context.now]
        if self.config.uses("cameras") and given:
            pictures, seen = zip(*(context.now[camera].at(0) for camera in given), strict=True)
            valid = torch.stack(seen, dim=1) & there["cameras"][:, None]
            features = self.backbone(torch.stack(pictures, dim=1).float() / 255.0, valid)
            sets[VISION] = self.cameras(features, valid, given)
        sensors: tuple[Sensor, ...] = ("lidar", "radar")
        for sensor in sensors:
            track = context.now.get(POINT_STREAMS[sensor][0])
            if self.config.uses(sensor) and track is not None:
                sets[sensor] = self._point_tokens(sensor, track, there[sensor])
        return sets

    def _point_tokens(self, sensor: Sensor, track: Track, there: Tensor) -> TokenSet:
        """Tokens of places, and one of all points, which tells where a sensor works and sees nothing."""
        encoder = self.lidar if sensor == "lidar" else self.radar
        seen = encoder.tokens(*points_of_now(track, there))
        features = (
            self.lidar_tokens(in_dtype_of(self.lidar_tokens, seen.features)) if sensor == "lidar" else seen.features
        )
        places = self.place(in_dtype_of(self.place, seen.positions / self.extent))
        tokens = torch.cat([features + places, encoder.summary(seen)[:, None].to(places.dtype)], dim=1)
        return TokenSet(tokens, torch.cat([seen.valid, there[:, None]], dim=1))

    def _collected(self, fused: FusedTokens) -> Tensor:
        """The tokens (B, L, D) in the order of `counts`."""
        like = fused.pooled
        absent = dict(zip(self.counts, self._absent(len(like)).split(list(self.counts.values()), dim=1), strict=True))
        parts = []
        for name, stand_in in absent.items():
            if name == SCENE:
                found = self._read(fused)
            elif name == VISION:
                found = (fused.tokens[name], fused.valid[name]) if name in fused.tokens else None
            else:
                found = like[:, None], fused.flat()[1].any(dim=1, keepdim=True)
            parts.append(stand_in.to(like.dtype) if found is None else _filled(*found, stand_in))
        return torch.cat(parts, dim=1)

    def _read(self, fused: FusedTokens) -> tuple[Tensor, Tensor] | None:
        """What the queries (B, Q, D) find in the tokens of points, and in which rows (B, 1) there are any."""
        names = [name for name in ("lidar", "radar", SCENE) if name in fused.tokens]
        if not names:
            return None
        tokens = torch.cat([fused.tokens[name] for name in names], dim=1)
        valid = torch.cat([fused.valid[name] for name in names], dim=1)
        some = valid.any(dim=1, keepdim=True)
        queries = self.queries.expand(len(tokens), -1, -1)
        read = self.reader(queries, in_dtype_of(self.reader, tokens), valid | ~some)  # no softmax over nothing
        return self.reader_norm(read), some

    def _absent(self, rows: int) -> Tensor:
        return torch.cat(list(self.absent.values()), dim=0).expand(rows, -1, -1)


def points_of_now(track: Track, there: Tensor) -> tuple[Tensor, Tensor]:
    """Return the points (B, N, F) of now, zero where absent, and which are there (B, N).

    Args:
        track: of points.
        there: (B,) bool, which rows have them.
    """
    value, valid = track.at(0)
    step = track.offset.tolist().index(0)
    assert track.element_valid is not None
    present = track.element_valid[:, step] & (valid & there)[:, None]
    return torch.where(present[..., None], value.float(), 0.0), present


def _filled(tokens: Tensor, valid: Tensor, absent: Tensor) -> Tensor:
    return torch.where(valid[..., None], tokens, absent.to(tokens.dtype))
