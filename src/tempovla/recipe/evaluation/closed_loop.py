"""Evaluate a checkpoint in a simulator."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import torch

from tempovla.control.controller import Actor
from tempovla.control.load_actor import open_policy
from tempovla.control.new_words import warn_of_new_words
from tempovla.env.defaults import InitStates, sensors_on
from tempovla.env.protocol import LimitsChunks, Navigated, SimulatorConfig
from tempovla.env.registry import simulator_name
from tempovla.model.vla.registry import check_body, check_has_learned_to_act
from tempovla.recipe.evaluation.disturbed import disturbance_of, in_words, with_disturbance
from tempovla.recipe.evaluation.goals import GoalOptions, goal_in_words, towards_goal
from tempovla.recipe.evaluation.journal import EpisodeJournal
from tempovla.recipe.evaluation.library import choose_library
from tempovla.recipe.evaluation.outputs import JOURNAL_SUFFIX, Outputs
from tempovla.recipe.evaluation.pictures import blank_cameras, drawn_for
from tempovla.recipe.evaluation.progress import EvaluationProgress
from tempovla.recipe.evaluation.scores import in_their_place, scores_of
from tempovla.recipe.evaluation.videos import FilmKind, film_episodes
from tempovla.recipe.evaluation.wrong_instruction import other_tasks
from tempovla.recipe.results import command, machine, versions
from tempovla.recipe.stage_log import cpu_seconds
from tempovla.rollout.evaluate import EvaluationConfig, evaluation_specs, run_specs
from tempovla.rollout.recorder import RolloutRecorder
from tempovla.rollout.runner import EpisodeResult, EpisodeSpec, choose_execution_horizon, chunk_length
from tempovla.storage.json_files import write_json
from tempovla.timeline import Bundle
from tempovla.timeline.arguments import brief, with_noun
from tempovla.timeline.keys import (
    ACTION_KEY,
    DEPTH_KEY_PREFIX,
    ENVIRONMENT_STATE_KEY,
    IMAGE_KEY_PREFIX,
    POINTS_KEY_PREFIX,
    STATE_KEY,
    newest_known,
)
from tempovla.transform.join import joins_of, raw_size

LOGGER = logging.getLogger(__name__)

TIMING_SUFFIX = ".timing.json"


def evaluate_checkpoint(
    checkpoint: str | Path,
    env_config: SimulatorConfig,
    tasks: Sequence[str],
    config: EvaluationConfig,
    *,
    init_states: InitStates = "random",
    instruction: str | Mapping[str, str] | None = None,
    wrong_instruction: bool = False,
    dataset_name: str | None = None,
    device: str | None = None,
    library: str | Path | None = None,
    model: Mapping[str, Any] | None = None,
    goal: str | Path | GoalOptions | None = None,
    outputs: Outputs | None = None,
) -> dict[str, Any]:
    """Run fresh episodes of each task, and count successes or average returns, whichever is the simulator's score.

    Args:
        checkpoint: folder that training saved, or a file that was exported of it.
        env_config: the simulator, and how its pictures are made; the cameras are the policy's.
        tasks: the simulator's names.
        config: how many episodes, and how.
        init_states: `benchmark` begins episode i at the benchmark's i-th initial state, `random` draws it by the seed.
        instruction: one instruction for all tasks, or one by task, in place of the tasks' own.
        wrong_instruction: give the policy the next task's instruction, or that of another task of the simulator
            where only one is evaluated. Success is still counted on the scene's own task. A simulator whose instruction
            changes within an episode says the wrong ones itself (`Navigated.wrong_commands`).
        dataset_name: of a policy that learned from several datasets, whose body it is to move; None: the simulator's.
        device: where it decides, `cpu` or `cuda`; None takes CUDA where there is one. Exported files decide on the CPU.
        library: earlier episodes for a policy that retrieves, instead of those in its checkpoint: a dataset, or a file
            of `EpisodicMemory.save`.
        model: other values of settings that control alone reads; see `with_model_settings`.
        goal: what a policy with a world model plans towards, instead of what it learned; see `GoalOptions`.
        outputs: what to write.

    Returns:
        The figures that the seeds determine, as docs/systems/report.md lists them for results.json: `tasks`, `mean` and
        more, and `episodes`, one by one.

    Raises:
        ValueError: if the checkpoint is broken, of phase 1 or of another robot, a task is unknown, the benchmark has
            fewer initial states than episodes, the folder for recordings is not empty, an instruction is given and to
            be wrong, an output cannot be written, the library does not fit the policy or the place, the policy may not
            be asked every `config.execution_horizon` steps, the tasks are of different sizes, there is no such device,
            or the policy cannot plan towards the goal.
        WorkerDiedError: if a simulator crashed.
    """
    outputs = Outputs() if outputs is None else outputs
    if not isinstance(outputs, Outputs):
        raise ValueError(f"outputs={brief(outputs)} is no Outputs; give one, such as Outputs(results='results.json')")
    if type(wrong_instruction) is not bool:
        raise ValueError(f"wrong_instruction={brief(wrong_instruction)} must be True or False")
    told_words = instruction.values() if isinstance(instruction, Mapping) else [instruction]
    if wrong := [words for words in told_words if not (words is None or isinstance(words, str))]:
        raise ValueError(f"instruction={brief(wrong[0])} is no text; give the words, or the words by task")
    outputs.check(checkpoint)
    if wrong_instruction and instruction is not None:
        raise ValueError(f"instruction {brief(instruction)} and wrong_instruction exclude each other; give one of them")
    if init_states not in get_args(InitStates):
        raise ValueError(f"init_states={init_states!r}; choose from {', '.join(get_args(InitStates))}")
    if isinstance(instruction, Mapping) and (others := [task for task in instruction if task not in tasks]):
        raise ValueError(f"instruction: {others[0]!r} is none of the tasks {list(tasks)}")
    for task in tasks:
        env_config.check_task(task)
        if init_states == "benchmark":
            _check_init_states(env_config, task, config.episodes)
    env_config = in_their_place(env_config, tasks)
    policy = open_policy(checkpoint, dataset_name, env_config, device, model)
    bundle = policy.bundle
    check_acts_here(bundle, str(checkpoint), env_config)
    controller = policy.actor()
    looked_up = choose_library(controller, library, bundle, env_config)
    with repeatable():
        controller, aimed = towards_goal(controller, goal, bundle)
    config = replace(config, execution_horizon=_execution_horizon(controller, env_config, config))
    views = env_config.cameras
    env_config = replace(_as_seen(env_config, bundle), max_steps=config.max_steps or env_config.max_steps)
    env_config = with_disturbance(env_config, config)
    navigated = isinstance(env_config, Navigated)
    if navigated and wrong_instruction:
        env_config = replace(env_config, **{"wrong_commands": True})
        LOGGER.info("the navigator says another turn than the route takes: wrong_commands is true now")
    if instruction is None and navigated:
        told = {}  # the simulator says it, step by step
    elif instruction is None:
        told = _told(env_config, tasks, bundle.provenance, wrong_instruction)
    elif isinstance(instruction, str):
        told = dict.fromkeys(tasks, instruction)
        warn_of_new_words([instruction], bundle.provenance)
    else:
        told = _told(env_config, [task for task in tasks if task not in instruction], bundle.provenance, False)
        told = {task: instruction.get(task, told.get(task, "")) for task in tasks}
    specs = evaluation_specs(tasks, config, told, fixed_states=init_states == "benchmark")
    follows_from = {
        **policy.identity,
        **({"dataset_name": bundle.provenance["dataset_name"]} if "dataset_name" in bundle.provenance else {}),
        "simulator": {"name": simulator_name(env_config), "init_states": init_states} | _settings(env_config),
        "execution_horizon": config.execution_horizon,
        **looked_up,
        **aimed,
        **({} if config.temporal_ensemble is None else {"temporal_ensemble": config.temporal_ensemble}),
        "versions": versions(*env_config.packages),
    }
    with repeatable(), outputs.held(), _journal(outputs, follows_from | {"device": policy.device}) as journal:
        episodes, timing = _play(controller, specs, drawn_for(env_config, bundle, outputs), config, outputs, journal)
        results = {
            "title": f"{bundle.policy} on {env_config.title}",
            "summary": _summary(env_config, len(tasks), config.episodes, init_states, wrong_instruction)
            + goal_in_words(aimed)
            + ".",
            **scores_of(env_config.score, episodes, told),
            "seed": config.seed,
            "checkpoint": str(checkpoint),
            **follows_from,
            "episodes": [episode.to_json() for episode in episodes],
        }
        if outputs.results is not None:
            write_json(Path(outputs.results).with_suffix(TIMING_SUFFIX), timing)
            write_json(Path(outputs.results), results)  # last: where it is, all is there
        if outputs.videos is not None:
            kind: FilmKind = "wrong_instruction" if wrong_instruction else "policy"
            filmed: Any = replace(env_config, cameras=env_config.cameras or views)  # a policy may see no pictures
            film_episodes(
                episodes, filmed, Path(outputs.videos), controller, config.workers, kind, config.execution_horizon or 1
            )
    return results


def _as_seen(env_config: SimulatorConfig, bundle: Bundle) -> SimulatorConfig:
    """The simulator with the policy's cameras, and with the sensors that it reads."""
    keys = [window.key for window in bundle.windows]
    seen = [key.removeprefix(IMAGE_KEY_PREFIX) for key in keys if key.startswith(IMAGE_KEY_PREFIX)]
    measured = [key.removeprefix(DEPTH_KEY_PREFIX) for key in keys if key.startswith(DEPTH_KEY_PREFIX)]
    read = {"depth": bool(measured), "environment_state": ENVIRONMENT_STATE_KEY in keys}
    read |= {name: POINTS_KEY_PREFIX + name in keys for name in env_config.sensors if name not in read}
    sensors: dict[str, Any] = {name: True for name, is_read in read.items() if is_read and name in env_config.sensors}
    return replace(env_config, cameras=tuple(dict.fromkeys(seen + measured)), **sensors)


@contextmanager
def repeatable() -> Iterator[None]:
    """Make torch repeat results from the same seeds: one thread, deterministic kernels."""
    threads, deterministic = torch.get_num_threads(), torch.backends.cudnn.deterministic
    torch.set_num_threads(1)
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.deterministic = deterministic


def _told(
    env_config: SimulatorConfig,
    tasks: Sequence[str],
    provenance: Mapping[str, Any],
    wrong_instruction: bool,
) -> dict[str, str]:
    """By task, its words or another's; warns of those that the policy never heard, where its instructions are known."""
    trained = provenance.get("instructions", ())
    others = {task: task for task in tasks}

    def wording(task: str) -> str:
        return env_config.words(task, trained)

    if wrong_instruction:
        spare = sorted(env_config.task_names(), key=lambda task: wording(task) not in trained)  # what it knows, first
        others = other_tasks(tasks, spare, wording)
    told = {task: wording(other) for task, other in others.items()}
    warn_of_new_words(told.values(), provenance)
    return told


def _journal(outputs: Outputs, identity: Mapping[str, Any]) -> AbstractContextManager[EpisodeJournal | None]:
    """What keeps episodes until the results are written; None where no results are."""
    if outputs.results is None:
        return nullcontext()
    if outputs.recordings is not None:
        identity = {**identity, "recordings": str(Path(outputs.recordings).resolve())}
        identity |= {"cameras": list(outputs.cameras)} if outputs.cameras else {}
    return EpisodeJournal(Path(outputs.results).with_suffix(JOURNAL_SUFFIX), identity)


def _play(
    controller: Actor,
    specs: list[EpisodeSpec],
    env_config: SimulatorConfig,
    config: EvaluationConfig,
    outputs: Outputs,
    journal: EpisodeJournal | None,
) -> tuple[list[EpisodeResult], dict[str, Any]]:
    """The episodes, those that the journal lacks being played now; and what they cost."""
    cpu_s, wall_s = cpu_seconds(), time.monotonic()
    with ExitStack() as stack:
        recorder = None
        if outputs.recordings is not None:
            specs = [replace(spec, record=True) for spec in specs]
            earlier = [] if journal is None else list(journal.episodes.values())
            recorder = RolloutRecorder(outputs.recordings, controller.embodiment, _pictures(env_config), earlier)
            stack.enter_context(recorder)
            if journal is not None:
                journal.keep_first(recorder.recorded)
        kept = {} if journal is None else {spec: journal.episodes[spec] for spec in specs if spec in journal.episodes}
        waiting = [spec for spec in specs if spec not in kept]
        progress = stack.enter_context(EvaluationProgress(len(specs), list(kept.values()), env_config.score))

        def on_end(result: EpisodeResult) -> EpisodeResult:
            progress.add(result)
            small = replace(
                result, recording=None, final=None, instructions=None
            )  # all recordings would fill the memory
            if journal is not None:
                journal.add(small)
            if recorder is not None:  # last: an episode counts where both have it, and a journal can be shortened
                recorder.add(result)
            return small

        played = iter(run_specs(controller, waiting, env_config, config, on_end) if waiting else [])
    episodes = [kept[spec] if spec in kept else next(played) for spec in specs]
    spent = {"cpu_seconds": round(cpu_seconds() - cpu_s, 2), "wall_seconds": round(time.monotonic() - wall_s, 2)}
    timing = _timing(episodes, config, str(controller.device)) | spent | {"episodes_of_an_earlier_call": len(kept)}
    latency, at_once = timing["policy_latency_ms"]["median"], min(config.num_envs, len(specs))
    LOGGER.info("a decision took %.1f ms (median), for up to %s at once", latency, with_noun(at_once, "episode"))
    return episodes, timing


def check_acts_here(bundle: Bundle, where: str, env_config: SimulatorConfig) -> None:
    """Refuse a policy of another robot than the simulator's, and one that has not learned to act yet.

    Raises:
        ValueError: naming the checkpoint and the remedy.
    """
    check_has_learned_to_act(bundle, where)
    check_body(bundle, where)
    observation, action = env_config.spaces()
    body, here = bundle.embodiment, (*(observation[STATE_KEY].shape or ()), *(action.shape or ()))
    forms = [form for join in joins_of(bundle.transform) for form in join.forms.get(STATE_KEY, ())]
    state_dim = raw_size(forms, STATE_KEY, body.state_dim)
    if state_dim == 0 and all(window.key != STATE_KEY for window in bundle.windows):
        state_dim = here[0]  # its dataset has none, and it reads none
    if (state_dim, body.action_dim) != here:
        raise ValueError(
            f"{where}: made for {body.name or 'a robot'} with {state_dim} state and {body.action_dim} action "
            f"dimensions, but {env_config.title}'s has {here[0]} and {here[1]}; give a checkpoint trained on it"
        )
    _check_streams(bundle, where, env_config, {*observation})


def _check_streams(bundle: Bundle, where: str, env_config: SimulatorConfig, given: set[str]) -> None:
    """Refuse a policy that reads streams of other names than a simulator gives; a camera is told when it is made."""
    joined = [forms for join in joins_of(bundle.transform) for forms in join.forms.values()]  # no pictures among them
    given |= {STATE_KEY, ACTION_KEY, *blank_cameras(bundle)}
    given |= {ENVIRONMENT_STATE_KEY} if "environment_state" in env_config.sensors else set()
    given |= {POINTS_KEY_PREFIX + name for name in env_config.sensors}
    pictures = (IMAGE_KEY_PREFIX, DEPTH_KEY_PREFIX) if "depth" in env_config.sensors else (IMAGE_KEY_PREFIX,)
    given |= {part.key for forms in joined for form in forms for part in form}
    read = [window.key for window in bundle.windows if min(window.offsets) <= newest_known(window.key)]
    strange = [key for key in read if key not in given and not key.startswith(pictures)]
    if strange:
        cameras = [IMAGE_KEY_PREFIX + camera for camera in env_config.cameras]
        raise ValueError(
            f"{where}: reads {strange}, but {env_config.title} gives {[STATE_KEY, *cameras]}; train on a dataset with "
            "these names"
        )


def _execution_horizon(controller: Actor, env_config: SimulatorConfig, config: EvaluationConfig) -> int:
    """What is executed of a chunk, which both the policy and the simulator have a say in."""
    chunk, ensemble = chunk_length(controller.windows), config.temporal_ensemble
    chosen = choose_execution_horizon(config.execution_horizon, controller.frame_stride, chunk, ensemble)
    if isinstance(env_config, LimitsChunks):
        env_config.check_execution_horizon(chosen if ensemble is None else chunk or chosen)  # a mean plays whole chunks
    return chosen


def _check_init_states(env_config: SimulatorConfig, task: str, episodes: int) -> None:
    count = env_config.init_state_count(task)
    if episodes > count:
        raise ValueError(
            f"{task}: the benchmark has {count} initial states, but {episodes} episodes are asked for; run at most "
            f"{count}, or draw initial states at random"
        )


def _summary(
    env_config: SimulatorConfig, tasks: int, episodes: int, init_states: InitStates, wrong_instruction: bool
) -> str:
    """The evaluation in one sentence, without its end."""
    start = "the benchmark's fixed initial states" if init_states == "benchmark" else "initial states drawn at random"
    suite = getattr(env_config, "suite", env_config.title)
    misled = "by a navigator that is wrong" if isinstance(env_config, Navigated) else "to do another task"
    told = f", told {misled}" if wrong_instruction else ""
    played = with_noun(episodes, "episode")
    moved = in_words(disturbance_of(env_config))
    return f"{played} of {'one task' if tasks == 1 else f'each of {tasks} tasks'} of {suite}, from {start}{moved}{told}"


def _settings(env_config: SimulatorConfig) -> dict[str, Any]:
    """What episodes depend on, beside the task; of sensors that are off nothing is said."""
    unsaid = {"task", "assets", *env_config.sensors} - sensors_on(env_config).keys()
    if disturbance_of(env_config) is None:
        unsaid.add("disturbance")
    return {key: value for key, value in asdict(env_config).items() if key not in unsaid}


def _pictures(env_config: SimulatorConfig) -> dict[str, Any]:
    """How pictures are made, as a dataset's `recording` says it."""
    no_pictures = ("cameras", "max_steps", "settle_steps", "joint_noise_rad", "terminate_on_success", "render")
    settings = {key: value for key, value in _settings(env_config).items() if key not in no_pictures}
    return {"simulator": simulator_name(env_config)} | settings


def _timing(episodes: Sequence[EpisodeResult], config: EvaluationConfig, device: str) -> dict[str, Any]:
    """What the seeds do not determine: where it ran, and how long decisions took."""
    means_ms = [1e3 * episode.policy_s / max(episode.policy_calls, 1) for episode in episodes]
    return {
        "command": command(),
        "machine": machine() | {"device": torch.cuda.get_device_name() if device == "cuda" else "cpu"},
        "num_envs": config.num_envs,
        "workers": config.workers,
        "policy_latency_ms": {
            "mean": round(statistics.fmean(means_ms), 3),
            "median": round(statistics.median(means_ms), 3),
            "max": round(max(means_ms), 3),
        },
        "episodes": [
            {
                "task": episode.spec.task,
                "seed": episode.spec.seed,
                "init_state": episode.spec.init_state,
                "policy_calls": episode.policy_calls,
                "policy_latency_ms": round(mean_ms, 3),
            }
            for episode, mean_ms in zip(episodes, means_ms, strict=True)
        ],
    }
