"""Suggestions for an unknown option or key: the same setting under this command's name for it.

Commands and other codebases call one setting by several names: the steps of a training are `train_steps` here, and
`steps` or `max_steps` elsewhere. The suggestion is this command's own name.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from jsonargparse import ArgumentParser

from tempovla.recipe.settings.config_values import config_options

ONE_SETTING: tuple[tuple[str, ...], ...] = (
    (
        "train_steps",
        "max_steps",
        "num_steps",
        "steps",
        "num_train_steps",
        "max_train_steps",
        "total_steps",
        "phase1_steps",
    ),
    ("learning_rate", "lr", "max_lr", "peak_lr", "optimizer_lr"),
    ("num_epochs", "epochs", "n_epochs", "max_epochs"),
    ("batch_size", "bs", "batch", "train_batch_size", "per_device_train_batch_size"),
    ("tasks", "task", "task_name", "task_id", "task_ids", "env_name"),
    ("suite", "task_suite", "task_suite_name"),
    (
        *("episodes", "demos_per_task", "num_episodes", "n_episodes", "num_demos", "n_demos", "episodes_per_task"),
        *("trials", "num_trials", "n_trials", "num_trials_per_task", "num_rollouts", "n_rollouts", "eval_episodes"),
        *("demonstrations", "evaluation_episodes"),
    ),
    ("out", "json", "output_dir", "output", "outputs", "output_path", "save_dir", "run_dir", "logdir", "results"),
    (
        *("dataset", "data_directory", "data", "dataset_path", "dataset_dir", "data_dir", "data_path", "root"),
        *("dataset_root", "source", "repo_id"),
    ),
    (
        *("checkpoint", "ckpt", "checkpoint_path", "ckpt_path", "checkpoint_dir", "resume", "policy", "policy_path"),
        *("policy.path", "model", "model_path", "pretrained_path", "weights"),
    ),
    ("workers", "num_workers", "n_workers", "num_envs", "n_envs"),
    ("videos", "video", "video_dir", "render", "record_video"),
    ("record", "recordings", "record_dir"),
    (
        *("action_horizon", "chunk_size", "action_seq_len", "horizon", "chunk", "chunk_length", "n_action_steps"),
        *("pred_horizon", "execution_horizon", "action_chunk_size", "num_open_loop_steps"),
    ),
    ("temporal_ensemble", "ensemble", "temporal_agg", "temporal_ensemble_coeff"),
    ("robot_state_dim", "state_dim", "proprio_dim"),
    ("device", "gpu", "gpus", "cuda"),
    ("seed", "random_seed", "env_seed"),
    ("save_interval_steps", "save_freq", "save_every", "save_steps", "checkpoint_interval"),
    ("validation_interval", "eval_freq", "eval_interval", "val_interval", "eval_every", "eval_steps"),
    ("log_interval", "log_freq", "log_every", "logging_steps"),
    ("num_threads", "threads", "n_threads"),
    ("train_split", "split", "val_split", "validation_split", "val_ratio"),
    ("cameras", "camera", "camera_names", "image_keys"),
    ("instruction", "question", "prompt", "text", "language_instruction"),
    ("image", "images", "picture"),
    ("image_size", "resolution", "img_size", "image_resolution"),
    ("gradient_accumulation", "grad_accum", "accumulate_grad_batches", "gradient_accumulation_steps"),
    ("gradient_clip", "grad_clip", "max_grad_norm", "grad_clip_norm"),
    ("weight_ema_decay", "ema", "ema_decay"),
    ("precision", "dtype", "mixed_precision", "bf16", "fp16", "amp"),
    ("warmup_steps", "warmup", "lr_warmup_steps", "num_warmup_steps"),
    ("max_instruction_tokens", "max_token_len", "tokenizer_max_length"),
)
"""Names of one setting, in commands of this package and elsewhere."""
LEAST_LIKENESS = 0.75
"""Share of equal letters from which on a misspelt name is taken for another."""
MOST_SUGGESTIONS = 3
"""With more of them none is said to be meant."""
BOTH_OF = {
    "phase1_steps": ("phase1_steps", "phase2_steps"),
    "evaluation_episodes": ("demonstrations", "evaluation_episodes"),
}
"""One setting elsewhere that is two settings of the demo."""


def suggest(key: str, group: Sequence[str], parser: ArgumentParser, *, in_config: bool) -> list[str]:
    """Return the options that resemble an unknown one, as they are spelled.

    Args:
        key: the unknown option or key, with underscores.
        group: of a key in a config file, the names of the groups around it.
        parser: of the command.
        in_config: whether the key is one of a config file, where options have their full names alone.
    """
    known = known_options(parser, in_config=in_config)
    groups = {option.rpartition(".")[0] for option in known}
    single = [option for option in known if option not in groups]
    path = ".".join([*group, key])
    found = [option for option in known if option.endswith(f".{key}")]
    found = found or _same_setting(path, _of_one_name(parser, known, single))
    found = found or _shortest_names(parser, known, _closest(path, single))
    if found:
        return [known[option] for option in found]
    return _nested(path, parser) or [known[option] for option in _longer_or_shorter(key, known, groups)]


def _nested(path: str, parser: ArgumentParser) -> list[str]:
    """Keys of values that are configs of their own, such as `model.context`, that resemble an unknown one."""
    configs = [(action.dest, config) for action, kinds in config_options(parser) for config in kinds]
    keys = list(dict.fromkeys(key for place, config in configs for key in _keys_of(config, place)))
    found = [key for key in keys if key.endswith(f".{path}")] or _closest(path, keys)
    return found if len(found) <= MOST_SUGGESTIONS else []


def _keys_of(config: type[Any], place: str) -> Iterator[str]:
    """The keys of a config, and of those that it holds, each once."""
    hints = typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        key, hint = f"{place}.{field.name}", hints[field.name]
        yield key
        held = [option for option in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(option)]
        yield from dict.fromkeys(inner for option in held for inner in _keys_of(cast(type[Any], option), key))


def _closest(path: str, options: Sequence[str]) -> list[str]:
    """Return the options that are spelled most like `path`, or whose last name is; none where all differ much."""

    def likeness(option: str) -> float:
        last = option.rpartition(".")[2] if "." not in path else option
        return max(difflib.SequenceMatcher(None, path, name).ratio() for name in (option, last))

    scores = {option: likeness(option) for option in options}
    best = max(scores.values(), default=0.0)
    return [option for option, score in scores.items() if score == best] if best >= LEAST_LIKENESS else []


def known_options(parser: ArgumentParser, *, in_config: bool) -> dict[str, str]:
    """Return the options of a command, with underscores, and how they are spelled; in a config by full names alone."""
    actions = parser._option_string_actions
    spelled = [option[2:] for option in actions if option.startswith("--")]
    if in_config:
        spelled = [option for option in spelled if actions[f"--{option}"].option_strings[0] == f"--{option}"]
    return {option.replace("-", "_"): option for option in spelled}


def _shortest_names(parser: ArgumentParser, known: Mapping[str, str], options: Sequence[str]) -> list[str]:
    """The options, each by its shortest name."""
    names: dict[int, str] = {}
    for option in sorted(options, key=len):
        names.setdefault(id(parser._option_string_actions[f"--{known[option]}"]), option)
    return [option for option in options if option in names.values()]


def _of_one_name(parser: ArgumentParser, known: Mapping[str, str], options: Sequence[str]) -> list[str]:
    """The options without the other names of those that have a short one of their own."""
    own = {option: parser._option_string_actions[f"--{known[option]}"].option_strings[0] for option in options}
    return [option for option in options if "." in own[option] or own[option] == f"--{known[option]}"]


def _same_setting(key: str, known: Iterable[str]) -> list[str]:
    """The options by which this command calls the same setting."""
    prefix, _, name = key.rpartition(".")
    settings = [setting for setting in ONE_SETTING if key in setting or name in setting]
    names = {other for setting in settings for other in setting} - {key}
    found = [option for option in known if option.rpartition(".")[2] in names]
    nearer = [option for option in found if option.rpartition(".")[0] == prefix]
    inside = [option for option in found if option.startswith(f"{prefix}.")]
    best = _nearest(name, nearer or inside or found)
    return [option for other in best for option in BOTH_OF.get(other, (other,))]


def missing_position(key: str, parser: ArgumentParser) -> str | None:
    """Return the argument of this command that needs no option's name and is the same setting; None without one."""
    names = {other for setting in ONE_SETTING if key in setting for other in setting}
    for action in parser._actions:
        if not action.option_strings and (action.dest == key or action.dest in names):
            return str(action.metavar or action.dest)
    return None


def _nearest(name: str, options: Sequence[str]) -> list[str]:
    """Those of the options whose last name is most like this one."""
    last = {option: option.rpartition(".")[2] for option in options}
    if not last:
        return []
    likeness = {other: difflib.SequenceMatcher(None, name, other).ratio() for other in last.values()}
    best = max(likeness.values())
    return [option for option, other in last.items() if likeness[other] == best]


def _longer_or_shorter(key: str, known: Mapping[str, str], groups: Collection[str]) -> list[str]:
    """Options such as `output_dir` for `out`; none of a group."""
    shared = [
        (option, *sorted((key, option), key=len)) for option in known if "." not in option and option not in groups
    ]
    return [option for option, short, long in shared if len(short) > 2 and long.startswith(short)][:1]
