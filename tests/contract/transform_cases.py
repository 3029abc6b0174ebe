"""What the transforms that the laws are run over are fitted to and made of."""

from __future__ import annotations

import torch
from tests.contract.policy_cases import WRIST
from tests.contract.samples import EMBODIMENT
from tests.contract.toys import ACTION, STATE

from tempovla.transform.align import AlignStreams, MissingStream, Padding
from tempovla.transform.image import ResizeImages
from tempovla.transform.normalize import NormalizationConfig, Normalize
from tempovla.transform.pipeline import DatasetView, TransformPipeline

DEPTH = "observation.depth.front"
CLOUD = "observation.points.lidar"

STATISTICS = {
    key: {
        "mean": torch.tensor(mean).double().numpy(),
        "std": torch.tensor(std).double().numpy(),
        "min": torch.tensor(mean).double().numpy() - 2.0,
        "max": torch.tensor(mean).double().numpy() + 1.0,
        "q01": torch.tensor(mean).double().numpy() - 1.5,
        "q99": torch.tensor(mean).double().numpy() + 0.5,
    }
    for key, mean, std in ((STATE, [0.5, -3.0, 100.0], [0.1, 2.0, 0.0]), (ACTION, [0.2, -1.0], [0.03, 5.0]))
}


def normalize(mode: str, keep: tuple[int, ...] = ()) -> Normalize:
    """Normalisation of state and action."""
    return Normalize.fit(STATISTICS, {STATE: NormalizationConfig(mode), ACTION: NormalizationConfig(mode, keep)})


def view(mode: str, align: AlignStreams) -> DatasetView:
    """How the rows of one dataset become rows like those of the other."""
    return DatasetView(EMBODIMENT, TransformPipeline([ResizeImages(8), normalize(mode)]), align)


GAP = {WRIST: MissingStream((3, 8, 8), (-1, 0, 1))}
LEFT = AlignStreams({}, GAP, {STATE: Padding.of(3, 5), ACTION: Padding.of(2, 4, gripper=True)})
RIGHT = AlignStreams({}, GAP, {STATE: Padding.of(3, 5), ACTION: Padding.of(2, 4)})
