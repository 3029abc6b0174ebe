"""Check of a config and a mixture: does training on them see now and k steps later, and are the samples right?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from tempovla.data.temporal.config import TemporalDataConfig
from tempovla.data.temporal.mixtures import MixtureTable, TemporalMember
from tempovla.recipe.checks.findings import Findings
from tempovla.recipe.checks.temporal_plan import TemporalPlan
from tempovla.recipe.checks.temporal_runtime import IN_A_MIXTURE, check_dataset, check_metadata, open_dataset
from tempovla.recipe.checks.temporal_static import check_mixture, check_plan
from tempovla.recipe.settings.config_files import OPTION, with_packaged_configs
from tempovla.recipe.settings.recipe_parser import read_recipe
from tempovla.recipe.settings.values_only import load_yaml
from tempovla.recipe.systems.registry import find_system
from tempovla.recipe.systems.temporal_mixtures import read_mixtures
from tempovla.storage.json_files import read_text
from tempovla.timeline.arguments import brief, path_argument, whole_number
from tempovla.timeline.lazy import Lazy, loaded

CONFIG_OPTION = "--config-yaml"
OPEN_OPTIONS = ("demos_per_task", "max_len_data", "default_instruction", "libero_images")
"""Keys of a config's data section by which datasets are opened."""
OF_ONE_DATASET = ("depth_unit",)
"""Such keys that hold for a dataset alone."""
DEFAULT_SYSTEM = "sagr"
"""What a config trains that does not say it."""


@dataclass(frozen=True)
class TemporalCheckConfig:
    """How a config and a mixture are checked.

    Attributes:
        check_runtime: also look at real samples of every dataset.
        max_trajectories: number of episodes of each dataset whose timestamps and samples are looked at.
        seed: determines the choice of these episodes.
        future_action_window_size: number of actions behind the first one; it replaces the config's.
    """

    check_runtime: bool = False
    max_trajectories: int = 8
    seed: int = 42
    future_action_window_size: int | None = None

    def __post_init__(self) -> None:
        whole_number("max_trajectories", self.max_trajectories, 1)
        whole_number("seed", self.seed, 0)
        if self.future_action_window_size is not None:
            whole_number("future_action_window_size", self.future_action_window_size, 0)


def check_temporal(
    config_yaml: str | Path,
    data_mix: str | None = None,
    config: TemporalCheckConfig | None = None,
    *,
    data_root_dir: str | Path | None = None,
    mixtures: str | Path | None = None,
    dataset: str | Path | None = None,
) -> Findings:
    """Check a config of a training against a mixture, and on request the mixture's data.

    Args:
        config_yaml: a config of `tempovla train sagr`, or the name of one that comes with the package.
        data_mix: name of the mixture; None takes the config's `data.data_mix`, or else its `data.data_directory`.
        config: how; None takes the defaults.
        data_root_dir: folder of all datasets; None takes the config's `data.data_root_dir`.
        mixtures: YAML file with mixtures and types of robots of one's own; None takes the config's `data.mixtures`.
        dataset: a dataset that is trained on alone, in the place of a mixture.

    Returns:
        The findings. Everything that a config or a dataset contradicts is one, however it shows.

    Raises:
        ValueError: in one line, if the input cannot be used: a file that is no YAML, or a name that is not given.
    """
    config = config or TemporalCheckConfig()
    if dataset and data_mix:
        raise ValueError(f"--dataset {dataset} and --data-mix {data_mix} exclude each other; leave out one of them")
    path = _config_path(config_yaml)
    system = _read_yaml(path).get("system", DEFAULT_SYSTEM)
    if not isinstance(system, str):
        raise ValueError(f"{path}: system is {brief(system)}; give the name of one, such as {DEFAULT_SYSTEM}")
    found, findings = find_system(system), Findings()
    try:
        recipe = read_recipe(system, found, path, {})
    except ValueError as problem:
        findings.require("config", str(problem), "")
        findings.skip(["mixture", "runtime"], "the config cannot be used")
        return findings
    plan = plan_of(recipe, str(path))
    findings.require("config", None, f"{path}: {plan.action_horizon} actions, k = {plan.k}")
    if config.future_action_window_size is not None:
        plan = replace(plan, action_horizon=config.future_action_window_size + 1)
    check_plan(plan, findings)
    if found.check is not None:
        unfit = _problem_of_model(found.check, recipe, plan.action_horizon)
        findings.require("model", unfit, "the model can be built")
    alone = dataset or ("" if data_mix or getattr(recipe.data, "data_mix", "") else recipe.data.data_directory)
    remedy = IN_A_MIXTURE
    if alone:
        found_in = {Path(alone).absolute().name: (Path(alone), _steps_of(plan), recipe.data.stream_keys)}
        findings.require("mixture", None, f"{alone}, a dataset of its own")
        own = {name: getattr(recipe.data, name) for name in OF_ONE_DATASET}
        plan = replace(plan, open_options={**plan.open_options, **own})
        remedy = "give the folder of a dataset with --dataset"
        remedy += "" if dataset else ", or set data.data_directory to it"
    else:
        mixture = _given("--data-mix", data_mix, recipe.data, "data_mix")
        known = _check_mixture(plan, mixture, mixtures or getattr(recipe.data, "mixtures", None), findings)
        root = _given("--data-root-dir", data_root_dir, recipe.data, "data_root_dir") if config.check_runtime else ""
        found_in = {member.dataset: (Path(root) / member.dataset, steps, member.stream_keys) for member, steps in known}
    if not config.check_runtime:
        for name, (where, steps, keys) in found_in.items() if alone else ():
            plan = replace(plan, open_options={**plan.open_options, "keys": keys})
            source = open_dataset(plan, name, where, findings, remedy)
            if source is not None:
                check_metadata(plan, name, steps, source, findings)
        findings.skip(["runtime"], "real samples are looked at with --check-runtime")
        return findings
    for name, (where, steps, keys) in found_in.items():
        plan = replace(plan, open_options={**plan.open_options, "keys": keys})
        chosen = {"max_trajectories": config.max_trajectories, "seed": config.seed}
        check_dataset(plan, name, where, steps, findings, remedy=remedy, **chosen)
    if not found_in:
        findings.skip(["runtime"], "no dataset of the mixture is known")
    return findings


def _problem_of_model(check: Lazy[Callable[[Any], None]], recipe: Any, action_horizon: int) -> str | None:
    """Return why the model of a recipe cannot be built for chunks of this length; None if it can."""
    try:
        if action_horizon != recipe.model.action_horizon:
            recipe = replace(recipe, model=replace(recipe.model, action_horizon=action_horizon))
        loaded(check)(recipe)
    except ValueError as problem:
        return " ".join(str(problem).split())
    return None


def _check_mixture(
    plan: TemporalPlan, mixture: str, own: str | Path | None, findings: Findings
) -> list[tuple[TemporalMember, TemporalDataConfig]]:
    """Check a mixture; return the datasets whose type of robot is known, with their steps."""
    table = MixtureTable.registered()
    if own is not None:
        _read_yaml(Path(own))
        try:
            table = read_mixtures(own)
        except ValueError as problem:
            findings.require("mixtures", str(problem), "")
            findings.skip(["mixture"], "the file of mixtures cannot be used")
            return []
    return check_mixture(plan, table, mixture, findings)


def _steps_of(plan: TemporalPlan) -> TemporalDataConfig:
    """The steps of a dataset that is trained on alone: what the model asks for."""
    return TemporalDataConfig((0, *sorted(plan.later)), tuple(range(plan.action_horizon)), temporal_delta_k=plan.k)


def plan_of(recipe: Any, where: str) -> TemporalPlan:
    """Return what a recipe asks of its samples.

    Args:
        recipe: with the fields of an SA-GR recipe.
        where: the config, for messages.

    Raises:
        ValueError: if it is of a system that predicts nothing.
    """
    data, model = recipe.data, recipe.model
    if not hasattr(model, "temporal_delta_k"):
        raise ValueError(
            f"{where}: trains a {type(model).__name__}, which has no temporal_delta_k; give a config of "
            f"`tempovla train {DEFAULT_SYSTEM}`"
        )
    state_dim = getattr(model, "robot_state_dim", None)
    included = getattr(data, "include_state", None)
    vision = getattr(getattr(model, "vlm", None), "vision", None)
    plan = TemporalPlan(
        k=model.temporal_delta_k,
        action_horizon=model.action_horizon,
        action_dim=getattr(model, "action_dim", None),
        state_dim=state_dim,
        include_state=state_dim is not None if included is None else included,
        observation_indices=_steps(data, "observation_indices"),
        action_indices=_steps(data, "action_indices"),
        decides_every_k=getattr(model, "remembers", False),
        replans=getattr(model, "replan", False),
        unlearned=getattr(model, "unlearned", None),
        cameras=getattr(model, "cameras", None),
        horizons=getattr(model, "horizons", ()),
        predicts=getattr(model, "uses_future", True),
        depths=getattr(model, "depths", ()),
        needs_poses=getattr(getattr(model, "geometry", None), "frame", None) == "world",
        open_options={name: getattr(data, name) for name in OPEN_OPTIONS},
    )
    size = getattr(vision, "image_size", None)
    return plan if size is None else replace(plan, image_size=size)


def _steps(data: Any, name: str) -> tuple[int, ...] | None:
    """Steps that a config's data section names; None if it names none."""
    return tuple(getattr(data, name, None) or ()) or None


def _config_path(config_yaml: str | Path) -> Path:
    """Return the path of a config, which may be given by its name.

    Raises:
        ValueError: if there is none of that name.
    """
    given = str(path_argument("config_yaml", config_yaml, "a config"))
    try:
        return Path(with_packaged_configs([OPTION, given])[1])
    except ValueError as problem:
        raise ValueError(str(problem).replace(f"{OPTION} ", f"{CONFIG_OPTION} ")) from None


def _read_yaml(path: Path) -> Mapping[str, Any]:
    """Return what a file says.

    Raises:
        ValueError: if it is not there, or cannot be read.
    """
    try:
        settings = load_yaml(read_text(path, remedy="give a YAML file"))
    except yaml.YAMLError as problem:
        raise ValueError(f"{path}: no YAML ({' '.join(str(problem).split())}); mend the file") from None
    if not isinstance(settings, Mapping):
        raise ValueError(f"{path}: holds {brief(settings)}, where a config holds keys and values; give another file")
    return settings


def _given(option: str, value: Any, data: Any, name: str) -> str:
    """Return what was given to an option, or else the config's own value.

    Raises:
        ValueError: if there is neither.
    """
    found = value or getattr(data, name, None)
    if not found:
        other = ", or --dataset" if name == "data_mix" else ""
        raise ValueError(f"{option} is not given, and the config has no data.{name}; give one of them{other}")
    return str(found)
