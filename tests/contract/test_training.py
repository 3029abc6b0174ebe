"""Law 7 over whole policies: dataset, loader, transforms, augmentation and model together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests import drives, recordings
from tests.contract.registry import POLICIES
from tests.contract.samples import VOCABULARY
from tests.contract.toys import ACTION, STATE

from tempovla.data.layout import Feature
from tempovla.data.lerobot import open_dataset
from tempovla.data.loader import LoaderConfig, SampleLoader
from tempovla.data.mixture import Mixture
from tempovla.recipe.systems.driving import sensor_transforms
from tempovla.timeline import Bundle, EpisodeSource, laws, training_windows, window_ends
from tempovla.timeline.config import config_to_json
from tempovla.timeline.keys import REWARD_KEY, TERMINATED_KEY
from tempovla.training.checkpoint import Checkpoint
from tempovla.training.config import TrainConfig
from tempovla.training.fit import fit
from tempovla.transform.augment import RandomShift
from tempovla.transform.image import ResizeImages
from tempovla.transform.normalize import NormalizationConfig, Normalize
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.text import EmbedInstruction, HashedNgramEmbedder
from tempovla.transform.tokenize import TokenizeInstruction
from tempovla.transform.tokenizer import WordTokenizer
from tempovla.transform.waypoints import Waypoints

CONFIG = TrainConfig(train_steps=3, batch_size=4, learning_rate=1e-3, weight_ema_decay=0.9, save_interval=0, seed=3)
FEATURES = {
    **recordings.FEATURES,
    ACTION: Feature("float32", (4,)),
    REWARD_KEY: Feature("float32", (1,)),
    TERMINATED_KEY: Feature("bool", (1,)),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Two episodes of 8 steps in all, so that a third batch is of the second epoch."""
    folder = tmp_path_factory.mktemp("recording") / "data"
    recordings.record(folder, lengths=(5, 3), features=FEATURES)
    return folder


def material(name: str, dataset: Path) -> tuple[EpisodeSource, TransformPipeline]:
    """What a policy learns from, and its transforms."""
    words = TokenizeInstruction(WordTokenizer(VOCABULARY), 6)
    if name.startswith("driving"):
        model = POLICIES[name].build().config
        return drives.drives(2, 4), TransformPipeline([*sensor_transforms(model), Waypoints(model.rate_hz), words])
    source = open_dataset(dataset)
    modes = {STATE: NormalizationConfig(), ACTION: NormalizationConfig(keep=(3,))}
    normalize = Normalize.fit(source.statistics, modes)
    return source, TransformPipeline([ResizeImages(16), normalize, EmbedInstruction(HashedNgramEmbedder(12)), words])


@pytest.mark.parametrize("name", [name for name in sorted(POLICIES) if name != "toy"])
def test_training_a_policy_with_a_stop_equals_training_in_one_go(name, dataset, tmp_path):
    source, transform = material(name, dataset)
    augment = RandomShift(2)

    def train(run: str, config: TrainConfig, resume: str | None = None) -> object:
        policy = POLICIES[name].build()
        result = fit(
            policy,
            SampleLoader(
                Mixture([source], ends=window_ends(policy)),
                training_windows(policy),
                LoaderConfig(batch_size=4),
                seed=3,
            ),
            config,
            tmp_path / run,
            bundle=lambda weights: Bundle(
                "statevla", config_to_json(policy.config), policy.windows(), source.embodiment, {"steps": []}, weights
            ),
            prepare=lambda sample: augment(transform.forward_sample(sample)),
            resume=None if resume is None else tmp_path / resume,
        )
        saved = Checkpoint.load(result.checkpoint)
        return saved.tensors, [saved.record[key] for key in ("train_step", "batches")]

    def legs(steps: tuple[int, ...]) -> object:
        if len(steps) == 1:
            return train("whole", replace(CONFIG, keep_every=2))
        return train("resumed", CONFIG, resume=f"whole/checkpoints/step_{steps[0]:08d}")

    laws.check_resume(legs, 2, 1)
    start, end = (
        POLICIES[name].build().state_dict(),
        Checkpoint.load(tmp_path / "whole/checkpoint_latest").part("weights"),
    )
    assert any(not torch.equal(start[key], end[key]) for key in start)
