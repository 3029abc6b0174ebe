"""The library of a policy that retrieves: earlier episodes, seen through the policy's own features."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tempovla.control.controller import Actor, Controller
from tempovla.data.episodic import EpisodicMemory
from tempovla.data.loader import collate
from tempovla.data.mixture import Mixture
from tempovla.data.open import open_source
from tempovla.data.sampler import SampleBatch
from tempovla.data.stream_keys import StreamKeys
from tempovla.model.vla.context_policy import ContextPolicy
from tempovla.timeline import EpisodeSource, Window
from tempovla.timeline.arguments import path_argument
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.transform.pipeline import TransformPipeline

FRAMES_AT_ONCE = 64
FILE_SUFFIX = ".safetensors"
"""Of the files that `EpisodicMemory.save` writes."""

Library = str | Path | EpisodicMemory
"""A dataset, a file of `EpisodicMemory.save`, or what either gives."""


def retrieves(policy: Any) -> bool:
    """Return whether a policy looks up earlier episodes."""
    return isinstance(policy, ContextPolicy) and policy.context.retrieval is not None


def give_library(actor: Actor, library: Library, provenance: Mapping[str, Any]) -> Mapping[str, Any]:
    """Let a policy look up these episodes, and no others.

    Args:
        actor: the policy behind its transforms.
        library: a dataset, which is encoded; or an episodic memory of this policy's features, or its file.
        provenance: facts about the policy's training, for the keys of state and action in its datasets.

    Returns:
        How the episodes were recorded, as far as it is known.

    Raises:
        ValueError: if the policy does not retrieve, is an exported file, or the library does not fit it.
    """
    name = str(library) if isinstance(library, str | Path) else "an EpisodicMemory"
    if not isinstance(actor, Controller):
        raise ValueError(
            f"library={name}: an exported file keeps the library that it was exported with; leave it out, or give the "
            "checkpoint"
        )
    if not retrieves(actor.policy):
        raise ValueError(
            f"library={name}: {actor.origin or 'this policy'} looks up no earlier episodes; leave the library out, or "
            "train a policy with model.context.retrieval"
        )
    policy: Any = actor.policy
    if isinstance(library, EpisodicMemory):
        hold(policy, library, name)
        return {}
    place = path_argument("library", library, "a dataset or of EpisodicMemory.save")
    if place.suffix == FILE_SUFFIX:
        hold(policy, EpisodicMemory.load(place), name)
        return {}
    data = provenance.get("recipe", {}).get("data", {})
    source = open_source(place, keys=StreamKeys.parse(data.get("state_key"), data.get("action_key"), "data."))
    hold(policy, encode_episodes(source, policy, actor.transform), name)
    return source.recording


def library_sha256(policy: ContextPolicy) -> str:
    """64 hexadecimal digits of the episodes that a policy looks up."""
    part, digest = policy.context.retrieval, hashlib.sha256()
    assert part is not None
    for tensor in (part.features, part.actions, part.valid):
        digest.update(tensor.detach().float().cpu().contiguous().numpy().data)
    return digest.hexdigest()


@torch.no_grad()
def encode_episodes(source: EpisodeSource, policy: ContextPolicy, transform: TransformPipeline) -> EpisodicMemory:
    """Return every `frame_stride`-th frame of a dataset's episodes, and the actions that followed it.

    Args:
        source: the dataset.
        policy: computes the features of a frame, which are the observations of the episodic memory.
        transform: prepares observations and actions as in training.

    Raises:
        ValueError: if the dataset lacks a stream that the policy reads, or is of another body or control rate.
    """
    stride, keys = policy.frame_stride, policy.base.observation_keys()
    windows = (*(Window(key, (0,)) for key in keys), Window(ACTION_KEY, tuple(range(stride))))
    mixture = Mixture([source], ends=lambda length: range(0, length, stride))
    mixture.require([window.key for window in windows])
    _check_body(source, policy)
    (total,) = mixture.lengths
    lengths = [-(-source.episode(index).length // stride) for index in range(len(source))]
    last = set(np.cumsum(lengths) - 1)
    memory = EpisodicMemory(
        policy.base.feature_dim, policy.context.action_width, len(lengths), max(lengths), policy.base.feature_dim
    )
    was_training = policy.training
    policy.eval()
    for start in range(0, total, FRAMES_AT_ONCE):
        index = np.arange(start, min(start + FRAMES_AT_ONCE, total))
        sample = collate(mixture, windows, SampleBatch(np.zeros_like(index), index, torch.from_numpy(index)))
        prepared, future = transform.joined.forward(sample.context.to(policy.device), sample.to(policy.device).future)
        features, observed = policy.summarize(prepared)
        done = future[ACTION_KEY]
        actions = torch.where(done.valid[..., None], done.value, 0.0).flatten(1)
        if not bool(observed.all()):
            raise ValueError(f"{source.name}: not every frame has all observations; give episodes without gaps")
        for step, feature, action in zip(index.tolist(), features.float().cpu(), actions.float().cpu(), strict=True):
            memory.add_transition(feature, action, reward=0.0, done=step in last)
    policy.train(was_training)
    return memory


def hold(policy: ContextPolicy, memory: EpisodicMemory, name: str = "library") -> None:
    """Put the finished episodes of an episodic memory into a policy's library.

    Raises:
        ValueError: if it is empty, of another size than the policy's features or actions, or too large.
    """
    part = policy.context.retrieval
    assert part is not None
    found, wanted = memory.sizes, (part.feature_dim, part.action_width)
    if (found.obs_dim, found.action_dim) != wanted:
        raise ValueError(
            f"{name}: frames have {found.obs_dim} features and {found.action_dim} numbers of action, but this policy's "
            f"have {wanted[0]} and {wanted[1]}; give a library that it encoded, or the dataset itself"
        )
    if len(memory) == 0:
        raise ValueError(f"{name}: holds no finished episode; record some first")
    steps = memory.get_all_transitions()
    features, actions = (torch.from_numpy(steps[key]) for key in ("obs", "action"))
    episode = torch.from_numpy(steps["episode"]).long()
    step = torch.from_numpy(steps["step"]).long()
    finished = episode < len(memory)
    try:
        part.hold(*_padded(features[finished], actions[finished], episode[finished], step[finished]))
    except ValueError as problem:
        raise ValueError(f"{name}: {problem}") from None


def _padded(features: Tensor, actions: Tensor, episode: Tensor, step: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows by episode and step, (E, F, ...), and which of them there are."""
    size = (int(episode.max()) + 1, int(step.max()) + 1)
    valid = torch.zeros(size, dtype=torch.bool)
    valid[episode, step] = True
    padded = []
    for rows in (features, actions):
        padded.append(rows.new_zeros(*size, rows.shape[-1]))
        padded[-1][episode, step] = rows
    return padded[0], padded[1], valid


def _check_body(source: EpisodeSource, policy: ContextPolicy) -> None:
    """Refuse actions of another size."""
    wanted, found = policy.base.config.action_dim, source.streams[ACTION_KEY].shape
    if found != (wanted,):
        raise ValueError(
            f"{source.name}: has actions of shape {found}, but this policy's are {(wanted,)}; give episodes of its body"
        )


def shared_episode(library: EpisodeSource, training: EpisodeSource) -> tuple[int, int] | None:
    """Return an episode of the library and one of the training data with the same states and actions, or None."""
    keys = [key for key in (ACTION_KEY, STATE_KEY) if key in library.streams and key in training.streams]
    known = {digest: index for index, digest in enumerate(_digests(training, keys))}
    found = enumerate(_digests(library, keys))
    return next(((index, known[digest]) for index, digest in found if digest in known), None)


def _digests(source: EpisodeSource, keys: Sequence[str]) -> list[bytes]:
    digests = []
    for index in range(len(source)):
        digest, steps = hashlib.sha256(), range(source.episode(index).length)
        for key in keys:
            digest.update(np.ascontiguousarray(source.read(index, key, steps).value).data)
        digests.append(digest.digest())
    return digests
