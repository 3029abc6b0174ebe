"""A frozen encoder says the same of an observation in every epoch: encode each once, and train on what it said."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tempovla.data.loader import collate
from tempovla.data.memory import StepSource
from tempovla.data.mixture import Mixture
from tempovla.data.sampler import SampleBatch
from tempovla.model.vla.statevla import StateVLA
from tempovla.recipe.progress import CountProgress
from tempovla.timeline import EpisodeSource, Window
from tempovla.timeline.keys import ACTION_KEY, ENCODING_KEY
from tempovla.timeline.source import StreamInfo
from tempovla.train import distributed
from tempovla.train.config import TrainConfig
from tempovla.transform.pipeline import TransformPipeline


def encode(
    source: EpisodeSource, policy: StateVLA, transform: TransformPipeline, training: TrainConfig
) -> EpisodeSource:
    """The same episodes with two streams: the actions, and z as `ENCODING_KEY`, valid where all observations were.

    Batches are as large as those of training, and computed in its precision and threads. Several processes share
    the work.

    Args:
        source: the dataset.
        policy: whose encoder has its final weights.
        transform: what training does to observations.
        training: of phase 2.

    Raises:
        DatasetError: if an episode is damaged.
    """
    if training.num_threads is not None:
        torch.set_num_threads(training.num_threads)
    table = _encode_steps(Mixture([source]), policy, transform, training).cpu().numpy()
    readings = [source.read(i, ACTION_KEY, range(source.episode(i).length)) for i in range(len(source))]
    action, action_valid = (np.concatenate(parts) for parts in zip(*readings, strict=True))
    return StepSource(
        source,
        {
            ACTION_KEY: source.streams[ACTION_KEY],
            ENCODING_KEY: StreamInfo("state", (policy.config.state_dim,), "float32", source.rate_hz),
        },
        {ACTION_KEY: action, ENCODING_KEY: table[:, :-1]},
        {ACTION_KEY: action_valid, ENCODING_KEY: table[:, -1] > 0},
    )


def encoded_windows(windows: Sequence[Window]) -> tuple[Window, ...]:
    """Windows on observations and actions as windows on an encoded source."""
    observed = next(window.offsets for window in windows if window.key != ACTION_KEY)
    return (Window(ENCODING_KEY, observed), *(window for window in windows if window.key == ACTION_KEY))


@torch.no_grad()
def _encode_steps(mixture: Mixture, policy: StateVLA, transform: TransformPipeline, training: TrainConfig) -> Tensor:
    """(N, state_dim + 1) float32: z of every control step, and 1 where it is valid, else 0."""
    (steps,), size = mixture.lengths, training.batch_size
    windows = [window for window in policy.windows() if window.key != ACTION_KEY]
    table = torch.zeros(steps, policy.config.state_dim + 1, device=policy.device)
    starts = range(distributed.rank() * size, steps, distributed.world_size() * size)
    with CountProgress("batches encoded", len(starts), silent=distributed.rank() > 0) as progress:
        for start in starts:
            # The last batch is filled up from the front: what a row rounds to depends on the size of its batch.
            index = np.arange(start, start + size) % steps
            sample = collate(mixture, windows, SampleBatch(np.zeros_like(index), index, torch.from_numpy(index)))
            context = transform.forward_context(sample.context.to(policy.device))
            with torch.autocast(policy.device.type, torch.bfloat16, enabled=training.precision == "bfloat16"):
                z, observed = policy.encode(context)
            own = slice(start, min(start + size, steps))
            table[own] = torch.cat([z.float(), observed[:, None].float()], dim=1)[: own.stop - start]
            progress.advance()
    return distributed.add_up(table)
