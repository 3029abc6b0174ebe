"""The choice of a body and its statistics, for a policy that learned from several datasets."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tempovla.env.protocol import SimulatorConfig
from tempovla.env.registry import simulator_name
from tempovla.timeline import Bundle
from tempovla.timeline.bundle import read_meta
from tempovla.timeline.keys import STATE_KEY
from tempovla.transform.per_dataset import bundle_for_dataset


def load_bundle(
    checkpoint: str | Path, dataset_name: str | None = None, env_config: SimulatorConfig | None = None
) -> Bundle:
    """Return a checkpoint for one body; see `choose_dataset`.

    Raises:
        ValueError: if it is broken, has no such dataset, or has several that fit.
    """
    bundle = Bundle.load(checkpoint)
    name = choose_dataset(bundle.provenance, str(checkpoint), dataset_name, env_config)
    return bundle if name is None else bundle_for_dataset(bundle, name)


def provenance_of(
    checkpoint: str | Path, dataset_name: str | None = None, env_config: SimulatorConfig | None = None
) -> Mapping[str, Any]:
    """Return what a checkpoint was trained on: `recording`, how its pictures were made, `instructions` and more, where
    known.

    Raises:
        ValueError: as `load_bundle`.
    """
    provenance: Mapping[str, Any] = read_meta(checkpoint)["provenance"]
    name = choose_dataset(provenance, str(checkpoint), dataset_name, env_config)
    return provenance if name is None else provenance["datasets"][name]


def choose_dataset(
    provenance: Mapping[str, Any],
    where: str,
    dataset_name: str | None = None,
    env_config: SimulatorConfig | None = None,
) -> str | None:
    """Return the dataset that is named, or the only one that fits the simulator; None for a policy that learned from
    one.

    A dataset fits if its body has the simulator's dimensions. Of several, one that was recorded in it goes first.

    Raises:
        ValueError: listing the datasets, if that does not leave one.
    """
    datasets: Mapping[str, Mapping[str, Any]] = provenance.get("datasets", {})
    if not datasets:
        if dataset_name is not None:
            raise ValueError(f"{where}: learned from one dataset; leave out dataset_name={dataset_name!r}")
        return None
    videos = sorted(name for name, facts in datasets.items() if facts.get("has_actions") is False)
    datasets = {name: facts for name, facts in datasets.items() if name not in videos}
    if dataset_name is not None:
        if dataset_name in videos:
            raise ValueError(
                f"{where}: learned no actions from the dataset {dataset_name!r}; choose from {sorted(datasets)}"
            )
        if dataset_name not in datasets:
            near = get_close_matches(str(dataset_name), datasets, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose from {sorted(datasets)}"
            raise ValueError(f"{where}: did not learn from a dataset {dataset_name!r}; {hint}")
        return dataset_name
    fitting = list(datasets)
    if env_config is not None:
        observation, action = env_config.spaces()
        here = (*(observation[STATE_KEY].shape or ()), *(action.shape or ()))
        sizes = {
            name: (facts.get("raw_state_dim", facts["embodiment"]["state_dim"]), facts["embodiment"]["action_dim"])
            for name, facts in datasets.items()
        }
        fitting = [name for name in datasets if sizes[name] == here]
        if not fitting:
            raise ValueError(
                f"{where}: made for bodies of (state, action) dimensions {sizes}, but {env_config.title}'s has {here}; "
                "give a checkpoint trained on it"
            )
        recorded = [
            name
            for name in fitting
            if datasets[name].get("recording", {}).get("simulator") == simulator_name(env_config)
        ]
        fitting = recorded or fitting
    if len(fitting) > 1:
        raise ValueError(f"{where}: learned from several datasets; say which with dataset_name=NAME: {sorted(fitting)}")
    return fitting[0]
