"""A frozen encoder gives the same features in every epoch, so each observation is encoded once."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from tempovla.data.loader import collate
from tempovla.data.memory import StepSource
from tempovla.data.mixture import Mixture
from tempovla.data.sampler import SampleBatch
from tempovla.recipe.datasets.encoding_cache import EncodingCache, Encodings, encoding_key
from tempovla.recipe.progress import CountProgress
from tempovla.timeline import EncodingPolicy, EpisodeSource, Window
from tempovla.timeline.keys import ACTION_KEY, ENCODING_KEY
from tempovla.timeline.source import StreamInfo
from tempovla.training import distributed
from tempovla.training.config import TrainConfig
from tempovla.training.precision import autocast_dtype
from tempovla.transform.pipeline import TransformPipeline

LOGGER = logging.getLogger(__name__)


def encode(
    source: EpisodeSource,
    policy: EncodingPolicy,
    transform: TransformPipeline,
    training: TrainConfig,
    *,
    folder: str | None = None,
    shift_px: int = 0,
) -> EpisodeSource:
    """Return the same episodes with two streams: the actions, and z as `ENCODING_KEY`, valid where all observations
    were.

    Batches are as large as those of training, and computed in its precision and threads, without dropout. Several
    processes share the work. What lies in `folder` of the same encoder, data, transforms and precision is read instead.

    Args:
        source: the dataset.
        policy: whose encoder has its final weights.
        transform: what training does to observations.
        training: settings of the training on these encodings, its precision settled.
        folder: folder for the encodings; None does not store them.
        shift_px: random shift of pictures in training, which must be 0.

    Raises:
        ValueError: if encodings would change from epoch to epoch, are not one vector a step, or the folder cannot be
            used.
        DatasetError: if an episode is damaged.
    """
    _refuse_what_moves(policy, shift_px)
    if training.num_threads is not None:
        torch.set_num_threads(training.num_threads)
    encodings = _read_or_encode(source, policy, transform, training, folder)
    readings = [source.read(i, ACTION_KEY, range(source.episode(i).length)) for i in range(len(source))]
    action, action_valid = (np.concatenate(parts) for parts in zip(*readings, strict=True))
    return StepSource(
        source,
        {
            ACTION_KEY: source.streams[ACTION_KEY],
            ENCODING_KEY: StreamInfo("state", (policy.feature_dim,), "float32", source.rate_hz),
        },
        {ACTION_KEY: action, ENCODING_KEY: encodings.z},
        {ACTION_KEY: action_valid, ENCODING_KEY: encodings.valid},
        [window.key for window in _observed(policy)],
    )


def encoded_windows(windows: Sequence[Window]) -> tuple[Window, ...]:
    """Return a policy's windows as windows on an encoded source: z at every offset at which anything is observed."""
    offsets = {offset for window in windows if window.key != ACTION_KEY for offset in window.offsets}
    return (Window(ENCODING_KEY, tuple(sorted(offsets))), *(window for window in windows if window.key == ACTION_KEY))


def _refuse_what_moves(policy: EncodingPolicy, shift_px: int) -> None:
    """Raise where an encoding of now is not that of the next epoch."""
    if shift_px > 0:
        raise ValueError(
            f"transform.shift_px={shift_px} changes pictures in every epoch, but each is encoded only once; set it to 0"
        )
    for name, part in policy.encoder_parts().items():
        learning = [weight for weight, value in part.named_parameters() if value.requires_grad]
        if learning:
            raise ValueError(
                f"{name}.{learning[0]} learns, but each observation is encoded only once; freeze the encoder"
            )


def _read_or_encode(
    source: EpisodeSource,
    policy: EncodingPolicy,
    transform: TransformPipeline,
    training: TrainConfig,
    folder: str | None,
) -> Encodings:
    """Encodings of all control steps, from disk if every process finds them there; says where they came from."""
    cache = None
    if folder is not None:
        keys = [window.key for window in _observed(policy)]
        key = encoding_key(source, keys, policy.encoder_parts(), policy.encoder_config(), transform, training.precision)
        cache = EncodingCache(folder, key)
    mixture = Mixture([source])
    (steps,) = mixture.lengths
    found = None if cache is None else cache.read(steps, policy.feature_dim)
    everywhere = distributed.add_up(torch.tensor(float(found is not None), device=policy.device))
    if found is not None and everywhere == distributed.world_size():
        assert cache is not None
        LOGGER.info("%s are read from %s", _size(found), cache.path)
        return found
    if cache is not None:
        LOGGER.info("%s is not there yet: every observation is encoded", cache.path)
    table = _encode_steps(mixture, policy, transform, training).cpu().numpy()
    encodings = Encodings(np.ascontiguousarray(table[:, :-1]), table[:, -1] > 0)
    if cache is None:
        LOGGER.info("%s are in memory only; data.encoding_cache would keep them", _size(encodings))
    elif distributed.rank() == 0:
        about = {"batch_size": training.batch_size, "device": policy.device.type}
        if cache.write(encodings, about):
            LOGGER.info("%s are kept in %s", _size(encodings), cache.path)
    return encodings


def _size(encodings: Encodings) -> str:
    steps, width = encodings.z.shape
    return f"{steps} encodings of {width} numbers ({(encodings.z.nbytes + encodings.valid.nbytes) / 1e6:.1f} MB)"


def _observed(policy: EncodingPolicy) -> list[Window]:
    return [window for window in policy.windows() if window.key != ACTION_KEY]


@torch.no_grad()
def _encode_steps(
    mixture: Mixture, policy: EncodingPolicy, transform: TransformPipeline, training: TrainConfig
) -> Tensor:
    """(N, D + 1) float32: z of every control step, and 1 where it is valid, else 0."""
    (steps,), size, low = mixture.lengths, training.batch_size, autocast_dtype(training)
    windows = _observed(policy)
    table = torch.zeros(steps, policy.feature_dim + 1, device=policy.device)
    starts = range(distributed.rank() * size, steps, distributed.world_size() * size)
    silent = distributed.rank() > 0
    with _evaluating(policy), CountProgress("batches encoded", len(starts), silent=silent) as progress:
        for start in starts:
            # The last batch is filled up from the front: what a row rounds to depends on the size of its batch.
            index = np.arange(start, start + size) % steps
            sample = collate(mixture, windows, SampleBatch(np.zeros_like(index), index, torch.from_numpy(index)))
            context = transform.joined.forward_context(sample.context.to(policy.device))
            with torch.autocast(policy.device.type, low, enabled=low is not None):
                z, observed = policy.encode_features(context)
            own = slice(start, min(start + size, steps))
            table[own] = torch.cat([z.float(), observed[:, None].float()], dim=1)[: own.stop - start]
            progress.advance()
    return distributed.add_up(table)


@contextmanager
def _evaluating(policy: EncodingPolicy) -> Iterator[None]:
    """The encoder in evaluation mode, and each part of it back in its own mode afterwards."""
    modules = [module for part in policy.encoder_parts().values() for module in part.modules()]
    modes = [module.training for module in modules]
    try:
        for part in policy.encoder_parts().values():
            part.eval()
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
