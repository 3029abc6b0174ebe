"""A resumed policy goes on with the data that it has learned from, or with others where that is accepted."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.gripper_recordings import record
from tests.tiny import vla_recipe
from tests.unit.recipe.mixtures import LARGE, SMALL, mixed_recipe, record_body

from tempovla.data.writer_meta import tasks_table
from tempovla.recipe.systems.vla import train_vla
from tempovla.recipe.systems.vla_config import VLARecipe
from tempovla.training.checkpoint import Checkpoint

TASKS = "meta/tasks.parquet"


def say_something_else(root: Path) -> None:
    pq.write_table(tasks_table({index: f"not task {index}" for index in range(2)}), root / TASKS)


def accepting(recipe: VLARecipe) -> VLARecipe:
    return replace(recipe, training=replace(recipe.training, accept_changed_data=True))


def test_other_words_and_further_episodes_are_refused_and_may_be_accepted(tmp_path):
    root = record(tmp_path / "dataset")
    recipe = vla_recipe(root)
    halfway = train_vla(recipe, tmp_path / "run").checkpoint.parent / "step_00000003"
    shutil.move(root, tmp_path / "moved")
    moved = replace(recipe, data=replace(recipe.data, data_directory=str(tmp_path / "moved")))
    assert train_vla(moved, tmp_path / "same", resume=halfway).train_step == 6
    shutil.rmtree(tmp_path / "moved")
    record(root, episodes=6)
    with pytest.raises(ValueError, match=rf"{root}: data/chunk-000/file-000.parquet has changed, .*restore them"):
        train_vla(recipe, tmp_path / "other", resume=halfway)
    result = train_vla(accepting(recipe), tmp_path / "grown", resume=halfway)
    history = Checkpoint.load(result.checkpoint).record["data_history"]
    assert [entry["train_step"] for entry in history] == [0, 3]
    say_something_else(root)
    with pytest.raises(ValueError, match=rf"{root}: meta/tasks.parquet has changed; restore them"):
        train_vla(recipe, tmp_path / "grown", resume=result.checkpoint)


def test_of_a_mixture_the_changed_dataset_is_named(tmp_path):
    for body in (SMALL, LARGE):
        record_body(tmp_path / body, body)
    recipe = mixed_recipe(tmp_path)
    halfway = train_vla(recipe, tmp_path / "run").checkpoint.parent / "step_00000003"
    say_something_else(tmp_path / LARGE)
    with pytest.raises(ValueError, match=rf"from; {tmp_path / LARGE}: meta/tasks.parquet has changed; restore them"):
        train_vla(recipe, tmp_path / "again", resume=halfway)
    assert train_vla(accepting(recipe), tmp_path / "again", resume=halfway).train_step == 6
