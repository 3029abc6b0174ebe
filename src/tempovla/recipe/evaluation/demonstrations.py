"""The episodes on which a checkpoint is measured offline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tempovla.data.mixture import Mixture
from tempovla.data.open import open_source
from tempovla.data.stream_keys import raw_state
from tempovla.model.vla.registry import check_has_learned_to_act
from tempovla.recipe.datasets.config import MemberConfig
from tempovla.recipe.datasets.dataset import load_dataset, split_source
from tempovla.recipe.datasets.dataset_mixture import open_member
from tempovla.recipe.datasets.fits import check_fits
from tempovla.recipe.datasets.same_body import check_same_body, remedied_by_another_dataset
from tempovla.recipe.datasets.streams import Streams
from tempovla.timeline import Bundle, EpisodeSource
from tempovla.timeline.arguments import with_noun
from tempovla.timeline.keys import STATE_KEY


def learned_online(recipe: Any) -> bool:
    """Return whether a policy learned in a simulator from rewards, so that there are no demonstrations of it."""
    return bool(getattr(getattr(recipe, "online", None), "env", ""))


def demonstrations(bundle: Bundle, recipe: Any, where: str, data: str | Path | None, split: str) -> Mixture:
    """Return the control steps to compare on, of one source.

    Args:
        bundle: the checkpoint.
        recipe: that it was trained with.
        where: the checkpoint, for messages.
        data: the dataset, if it has moved since training, or if training had none.
        split: `validation` for the episodes that the recipe held out, `all` for every one.

    Raises:
        ValueError: if the checkpoint is of phase 1, the dataset is missing or does not fit it, or nothing was held out.
    """
    check_has_learned_to_act(bundle, where)
    is_online = learned_online(recipe)
    member = None if is_online else _member(bundle, recipe)
    folder = str(data or ("" if is_online else member.data_directory if member else recipe.data.data_directory))
    if is_online:
        _check_recording_is_named(recipe, where, folder, split)
    if not folder:
        raise ValueError(f"{where}: does not say where its dataset is; name it with data=FOLDER")
    if data is None and not Path(folder).exists():
        raise ValueError(
            f"{folder}: no such file or folder, though {where} was trained on it; name it with data=FOLDER"
        )
    with remedied_by_another_dataset(where):
        if is_online:
            source = _recording(recipe.model, folder)
        elif member is not None:
            source = open_member(replace(member, data_directory=folder), recipe).source
        else:
            recipe = replace(recipe, data=replace(recipe.data, data_directory=folder, preload_bytes=0))
            source = load_dataset(recipe)
    check_same_body(where, bundle.embodiment, source, reads_state=Streams.of(recipe.model).robot_state_dim is not None)
    source = raw_state(source)  # observations are given as control gives them
    if split == "all":
        return Mixture([source])
    trained_on = bundle.provenance.get("episodes")
    if trained_on != len(source):
        raise ValueError(
            f"{folder}: has {with_noun(len(source), 'episode')}, not the {trained_on} that {where} was trained with, "
            "so which of them were held out is unknown; use split='all'"
        )
    validation = split_source(source, recipe)[1]
    if validation is None:
        raise ValueError(
            f"{where}: trained on all episodes (data.train_split={recipe.data.train_split}), none is held out; use "
            "split='all'"
        )
    return validation


def _member(bundle: Bundle, recipe: Any) -> MemberConfig | None:
    """What the recipe says of the dataset that was chosen of several."""
    name = bundle.provenance.get("dataset_name")
    return next((member for member in recipe.data.mixture if member.key == name), None)


def _check_recording_is_named(recipe: Any, where: str, folder: str, split: str) -> None:
    """Refuse a policy that learned in a simulator, without a recording to measure it on."""
    env = recipe.online.env
    if not folder:
        raise ValueError(
            f"{where}: learned in a simulator and from no dataset; record episodes with `tempovla eval {env} --record "
            "FOLDER`, and name them with data=FOLDER"
        )
    if split != "all":
        raise ValueError(
            f"{where}: learned in a simulator, so no episodes of {folder} are held out or learned from; use split='all'"
        )


def _recording(model: Any, folder: str) -> EpisodeSource:
    """Episodes that were recorded in the simulator, with the streams that the model reads."""
    streams, key = Streams.of(model), getattr(model, "state_key", STATE_KEY)
    if key != STATE_KEY and streams.robot_state_dim is not None:
        streams = replace(streams, robot_state_dim=None, vectors={key: streams.robot_state_dim})
    source = open_source(folder)
    check_fits(streams, source)
    return source
