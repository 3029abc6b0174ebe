"""Diagnosis of memory: a policy runs on demonstrations with its past cut, shuffled, or taken from another episode."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tempovla.control.controller import Controller, first_decision
from tempovla.control.load_actor import check_may_act, open_policy
from tempovla.data.open import open_source
from tempovla.data.split import split_episodes
from tempovla.data.stream_keys import raw_state
from tempovla.data.words import episode_words
from tempovla.model.vla.context_policy import ContextPolicy
from tempovla.model.vla.registry import check_has_learned_to_act
from tempovla.recipe.datasets.dataset import Recipe
from tempovla.recipe.datasets.fits import check_fits
from tempovla.recipe.datasets.same_body import check_same_body, remedied_by_another_dataset
from tempovla.recipe.datasets.streams import Streams
from tempovla.recipe.diagnosis.figures import Bootstrap, EpisodeErrors, copycat
from tempovla.recipe.diagnosis.frames import Decisions, Demonstrations, EncodedFrames, decide, encode
from tempovla.recipe.diagnosis.past import Past, act_on, donors_of, last_frames, of_another, shuffled
from tempovla.recipe.diagnosis.verdict import foreseen, verdict
from tempovla.recipe.progress import CountProgress
from tempovla.recipe.results import command, versions
from tempovla.recipe.systems.registry import recipe_of
from tempovla.timeline import Bundle, EpisodeSource
from tempovla.timeline.arguments import brief, path_argument, whole_number, with_noun
from tempovla.timeline.bundle import read_meta

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class DiagnosisConfig:
    """How a policy is diagnosed.

    Attributes:
        episodes: number of demonstrations, spread over the instructions; held-out ones go first.
        stride: control steps between two decisions of a policy without a context; one with a context has its own.
        seed: determines the choice of episodes, the policy's noise, the orders, the other episodes and the bootstrap.
        resamples: number of resamples of the bootstrap.
        batch_size: how many frames are encoded, and decisions taken, at a time.
    """

    episodes: int = 40
    stride: int = 4
    seed: int = 0
    resamples: int = 1000
    batch_size: int = 64

    def __post_init__(self) -> None:
        for name, least in (("episodes", 2), ("stride", 1), ("resamples", 100), ("batch_size", 1), ("seed", None)):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), least))


@dataclass(frozen=True)
class Conditions:
    """The actions of the policy, (N, k, A), with every kind of past.

    Attributes:
        by_name: by the name of the condition, `full` first.
        by_length: number of frames seen, and the actions then; the last one saw all frames.
    """

    by_name: Mapping[str, Tensor]
    by_length: tuple[tuple[int, Tensor], ...]


def diagnose_memory(
    checkpoint: str | Path, dataset: str | Path, config: DiagnosisConfig | None = None, *, device: str | None = None
) -> dict[str, Any]:
    """Step a policy through demonstrations as control would, and compare its actions with those without their past.

    Args:
        checkpoint: folder that training saved.
        dataset: demonstrations, in any format that training reads.
        config: how; None takes the defaults.
        device: where it decides, `cpu` or `cuda`; None takes CUDA where there is one.

    Returns:
        The figures that docs/systems/diagnosis.md lists under `diagnosis.json`.

    Raises:
        ValueError: if the checkpoint is broken, of phase 1, of several datasets or an exported file, or if the dataset
            cannot be read, has fewer than two episodes or does not fit, or there is no such device.
    """
    config = DiagnosisConfig() if config is None else config
    if not isinstance(config, DiagnosisConfig):
        raise ValueError(
            f"config={brief(config)} is no DiagnosisConfig; give DiagnosisConfig(episodes=40), for example"
        )
    check_may_act(path_argument("checkpoint", checkpoint, "a checkpoint"))
    path_argument("dataset", dataset, "demonstrations")
    if Path(checkpoint).is_file():
        raise ValueError(f"{checkpoint}: an exported file keeps no features; give the checkpoint that it was made of")
    _check_learned_from_one(checkpoint)
    opened = open_policy(checkpoint, device=device)
    bundle = opened.bundle
    check_has_learned_to_act(bundle, str(checkpoint))
    recipe = recipe_of(bundle, str(checkpoint))
    with remedied_by_another_dataset(str(checkpoint)):
        source = open_source(
            dataset,
            keys=recipe.data.stream_keys,
            default_instruction=recipe.data.default_instruction,
            libero_images=recipe.data.libero_images,
        )
        check_fits(recipe.model, source)
    reads_state = Streams.of(recipe.model).robot_state_dim is not None
    check_same_body(str(checkpoint), bundle.embodiment, source, reads_state=reads_state)
    source = raw_state(source)  # observations are given as control gives them
    held_out = _held_out(bundle, recipe, source)
    episodes = choose_episodes(source, config, held_out)
    controller = Controller.from_bundle(bundle, opened.device)
    has_context = isinstance(controller.policy, ContextPolicy)
    stride = controller.policy.frame_stride if isinstance(controller.policy, ContextPolicy) else config.stride
    demonstrations = Demonstrations(source, episodes, bundle.windows, controller.transform, stride, config.seed)
    instructions = [episode_words(source, episode) for episode in episodes]
    for line in foreseen(has_context, len(episodes)):
        LOGGER.warning("%s", line)
    with first_decision(bundle.origin):
        decisions, conditions = _look(controller.policy, demonstrations, instructions, config)
    figures = figures_of(decisions, conditions, instructions, config)
    return {
        "title": f"Does history help {bundle.policy}?",
        "checkpoint": str(checkpoint),
        **opened.identity,
        "dataset": {
            "name": source.name,
            "episodes": list(episodes),
            "held_out": None if held_out is None else len({*episodes} & {*held_out}),
            "recording": dict(source.recording),
        },
        "context": has_context,
        "stride": stride,
        "seed": config.seed,
        "resamples": config.resamples,
        **figures,
        "verdict": verdict(figures, has_context, len(episodes)),
        "device": opened.device,
        "versions": versions(),
        "command": command(),
    }


def _check_learned_from_one(checkpoint: str | Path) -> None:
    datasets = read_meta(checkpoint)["provenance"].get("datasets", {})
    if datasets:
        raise ValueError(
            f"{checkpoint}: learned from several datasets ({', '.join(sorted(datasets))}); give a checkpoint of one"
        )


def _held_out(bundle: Bundle, recipe: Recipe, source: EpisodeSource) -> list[int] | None:
    """Return the episodes that training did not see; None where that is unknown."""
    facts = bundle.provenance
    if facts.get("episodes") != len(source) or Path(facts.get("dataset", "")).name != Path(source.name).name:
        return None
    return split_episodes(len(source), round(1.0 - recipe.data.train_split, 9), recipe.training.seed)[1]


def choose_episodes(source: EpisodeSource, config: DiagnosisConfig, held_out: list[int] | None) -> tuple[int, ...]:
    """Choose episodes at random, spread over the instructions, held-out ones first.

    Raises:
        ValueError: if the dataset has only one.
    """
    if len(source) < 2:
        raise ValueError(
            f"{source.name}: has {with_noun(len(source), 'episode')}; at least 2 are needed to compare pasts"
        )
    order = np.random.default_rng(config.seed).permutation(len(source)).tolist()
    groups: dict[str, list[int]] = defaultdict(list)
    for episode in sorted(order, key=lambda episode: episode not in (held_out or ())):
        groups[episode_words(source, episode)].append(episode)
    ranked = sorted(
        (rank, instruction, episode) for instruction, group in groups.items() for rank, episode in enumerate(group)
    )
    return tuple(sorted(episode for _, _, episode in ranked[: config.episodes]))


def context_lengths(longest: int) -> list[int]:
    """Return 1, 2, 4, ... frames up to the number of the longest episode, which is the last."""
    return [*(2**power for power in range(longest.bit_length()) if 2**power < longest), longest]


def _look(
    policy: Any, demonstrations: Demonstrations, instructions: list[str], config: DiagnosisConfig
) -> tuple[Decisions, Conditions]:
    if not isinstance(policy, ContextPolicy):
        decisions, predicted = decide(demonstrations, policy, config.batch_size)
        return decisions, Conditions({"full": predicted}, ((1, predicted),))
    decisions, encoded = encode(demonstrations, policy, config.batch_size)
    return decisions, conditions_of(policy, decisions, encoded, instructions, config)


def conditions_of(
    policy: ContextPolicy,
    decisions: Decisions,
    encoded: EncodedFrames,
    instructions: list[str],
    config: DiagnosisConfig,
) -> Conditions:
    """Return the actions of a policy with every kind of past; `instructions` has one entry an episode."""
    everything = last_frames(decisions)
    donors = donors_of(instructions, config.seed)
    lengths = context_lengths(decisions.longest)
    pasts: dict[str | int, Past] = {
        **{length: last_frames(decisions, length) for length in lengths},
        "shuffled": shuffled(everything, config.seed),
        "another": of_another(everything, decisions, donors),
    }
    done: dict[str | int, Tensor] = {}
    with CountProgress("kinds of past", len(pasts)) as progress:
        for name, past in pasts.items():
            done[name] = act_on(policy, decisions, encoded, past, config.batch_size)
            progress.advance()
    by_name = {"full": done[lengths[-1]], "shuffled": done["shuffled"], "removed": done[1], "another": done["another"]}
    return Conditions(by_name, tuple((length, done[length]) for length in lengths))


def figures_of(
    decisions: Decisions, conditions: Conditions, instructions: list[str], config: DiagnosisConfig
) -> dict[str, Any]:
    """Return errors by condition, length and instruction (one an episode), and the copycat score."""
    episode, target, valid, last_valid, last = (
        tensor.cpu().numpy()
        for tensor in (
            decisions.episode,
            decisions.target,
            decisions.target_valid,
            decisions.last_valid,
            decisions.last,
        )
    )

    def errors(predicted: Tensor) -> EpisodeErrors:
        absolute = np.abs(predicted.cpu().numpy().astype(np.float64) - target)
        return EpisodeErrors.of(absolute, valid, episode, decisions.episodes)

    bootstrap = Bootstrap.draw(decisions.episodes, config.resamples, config.seed)
    by_name = {name: errors(predicted) for name, predicted in conditions.by_name.items()}
    full = by_name["full"]
    judged = last_valid & valid[:, 0]
    policy = conditions.by_name["full"].cpu().numpy()
    return {
        "decisions": len(episode),
        "steps": int(valid.sum()),
        "longest": decisions.longest,
        "conditions": _compared(by_name, bootstrap),
        "mean_action": _errors_of_mean_action(target, valid, episode, decisions.episodes).figures(bootstrap, full),
        "lengths": [
            {"frames": length} | errors(predicted).figures(bootstrap, full)
            for length, predicted in conditions.by_length
        ],
        "tasks": _by_task(by_name, instructions, config),
        "copycat": copycat(
            last[judged].astype(np.float64),
            target[judged, 0].astype(np.float64),
            policy[judged, 0].astype(np.float64),
            episode[judged],
            bootstrap,
            config.seed,
        ),
    }


def _errors_of_mean_action(
    target: NDArray[np.float32], valid: NDArray[np.bool_], episode: NDArray[np.int64], episodes: int
) -> EpisodeErrors:
    """Return the errors of always answering the mean of the demonstrated actions (N, k, A) where `valid` (N, k)."""
    wanted = target.astype(np.float64)
    return EpisodeErrors.of(np.abs(wanted - wanted[valid].mean(axis=0)), valid, episode, episodes)


def _compared(by_name: Mapping[str, EpisodeErrors], bootstrap: Bootstrap) -> dict[str, Any]:
    full = by_name["full"]
    return {name: each.figures(bootstrap, None if name == "full" else full) for name, each in by_name.items()}


def _by_task(
    by_name: Mapping[str, EpisodeErrors], instructions: list[str], config: DiagnosisConfig
) -> dict[str, dict[str, Any]]:
    """Compare the conditions on the episodes of each instruction."""
    tasks = {}
    for task in sorted({*instructions}):
        rows = np.flatnonzero(np.array(instructions) == task)
        bootstrap = Bootstrap.draw(len(rows), config.resamples, config.seed)
        chosen = {name: each.chosen(rows) for name, each in by_name.items()}
        tasks[task] = {"episodes": len(rows), "conditions": _compared(chosen, bootstrap)}
    return tasks
