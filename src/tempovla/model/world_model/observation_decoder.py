"""Observations from the state of a recurrent state-space model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from tempovla.model.layers.normed_mlp import NormedMLP
from tempovla.model.world_model.checks import check_features
from tempovla.model.world_model.observation_encoder import DOUBLINGS, SMALLEST_PX
from tempovla.model.world_model.two_hot import symexp, symlog
from tempovla.timeline.keys import IMAGE_KEY_PREFIX, STATE_KEY

CAMERA = IMAGE_KEY_PREFIX + "agentview_rgb"
"""The camera that is seen where nothing else is said, as in other policies."""


class ObservationDecoder(nn.Module):
    """Transposed convolutions for pictures of 64 px, and a perceptron for the symlog of the robot's state.

    Args:
        state_dim: size of the features that observations are decoded from, such as `RSSM.feature_dim`.
        robot_state_dim: dimensions of the robot's state; None where it is not read.
        cameras: keys of the pictures.
        hidden_dim: width of the perceptron.
        num_layers: of the perceptron.
        channels: of the last layer but one; each layer before has twice as many as the next.
        state_key: key of the state.
    """

    def __init__(
        self,
        state_dim: int,
        robot_state_dim: int | None = None,
        cameras: Sequence[str] = (CAMERA,),
        hidden_dim: int = 512,
        num_layers: int = 2,
        channels: int = 32,
        state_key: str = STATE_KEY,
    ) -> None:
        super().__init__()
        self.state_dim, self.cameras, self.state_key = state_dim, tuple(cameras), state_key
        widths = (hidden_dim,) * num_layers
        self.state = None if robot_state_dim is None else NormedMLP((state_dim, *widths, robot_state_dim))
        self.pictures = nn.ModuleList(_deconvolutions(state_dim, channels) for _ in self.cameras)

    def raw(self, features: Tensor) -> dict[str, Tensor]:
        """Return by stream what is compared: the symlog of the state (..., F), and pictures (..., 3, 64, 64) around 0.

        Args:
            features: (..., state_dim).
        """
        check_features(features, self.state_dim)
        found = {} if self.state is None else {self.state_key: self.state(features)}
        for camera, network in zip(self.cameras, self.pictures, strict=True):
            flat = network(features.reshape(-1, features.shape[-1]))
            found[camera] = flat.unflatten(0, features.shape[:-1])
        return found

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return observations by stream from features (..., state_dim): the state, and pictures in [0, 1]."""
        raw = self.raw(features)
        return {
            key: symexp(value.float()) if key == self.state_key else (value.float() + 0.5).clamp(0.0, 1.0)
            for key, value in raw.items()
        }

    def losses(self, features: Tensor, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return by stream the squared error (...) float32, summed over all numbers of an observation.

        Args:
            features: (..., state_dim).
            values: what was seen (..., *F), pictures in bytes.
        """
        found = {}
        for key, raw in self.raw(features).items():
            target = symlog(values[key].float()) if key == self.state_key else values[key].float() / 255.0 - 0.5
            apart = (raw.float() - target).square()
            found[key] = apart.sum(dim=-1) if key == self.state_key else apart.sum(dim=(-3, -2, -1))
        return found


def _deconvolutions(inputs: int, channels: int) -> nn.Sequential:
    """From features (N, inputs) to pictures (N, 3, 64, 64)."""
    width = channels * 2 ** (DOUBLINGS - 1)
    layers: list[nn.Module] = [
        nn.Linear(inputs, width * SMALLEST_PX**2),
        nn.Unflatten(1, (width, SMALLEST_PX, SMALLEST_PX)),
    ]
    for _ in range(DOUBLINGS - 1):
        layers += [nn.GroupNorm(1, width), nn.Mish(), nn.ConvTranspose2d(width, width // 2, 4, 2, 1)]
        width //= 2
    return nn.Sequential(*layers, nn.GroupNorm(1, width), nn.Mish(), nn.ConvTranspose2d(width, 3, 4, 2, 1))
