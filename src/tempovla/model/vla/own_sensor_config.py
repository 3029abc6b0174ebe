"""A sensor of one's own, as the config of a driving policy names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tempovla.timeline.keys import OBSERVATION_PREFIX
from tempovla.timeline.source import StreamKind


@dataclass(frozen=True)
class OwnSensorConfig:
    """A further sensor, whose encoder is registered in `SENSOR_ENCODER_REGISTRY`.

    Attributes:
        encoder: name of the encoder in the registry.
        output_dim: width of the features that it gives.
        kind: kind of the stream.
        shape: shape of one value of the stream; of points only the last number matters.
        key: key of the stream; if it is empty, `observation.` and the sensor's name.
        options: further keywords of the encoder's constructor.
    """

    encoder: str
    output_dim: int
    kind: StreamKind = "state"
    shape: tuple[int, ...] = ()
    key: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


def own_key(name: str, own: OwnSensorConfig | None) -> str:
    """Return the key of the stream of a further sensor."""
    if own is not None and own.key:
        return own.key
    return name if name.startswith(OBSERVATION_PREFIX) else OBSERVATION_PREFIX + name
