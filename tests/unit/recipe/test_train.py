"""Training from Python: recipes, config files and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests import recordings, tiny

import tempovla
from tempovla.recipe.settings.config_files import PACKAGED
from tempovla.recipe.systems.smolvla_config import SmolVLARecipe
from tempovla.recipe.train import _system_of
from tempovla.timeline import Bundle
from tempovla.training.result import FitResult


@pytest.fixture
def dataset(tmp_path):
    recordings.record(tmp_path / "dataset")
    return tmp_path / "dataset"


@pytest.fixture
def config(tmp_path):
    (tmp_path / "vla_of_mine.yaml").write_text(tiny.vla_yaml())
    return tmp_path / "vla_of_mine.yaml"


def test_a_config_file_trains_as_on_the_command_line(tmp_path, config, dataset):
    settings = {"training.train_steps": 2, "model.cameras": ["observation.images.front"], "batch_size": 2}
    result = tempovla.train(config, tmp_path / "run", dataset=dataset, settings=settings)
    assert isinstance(result, FitResult)
    assert result.train_step == 2
    recipe = Bundle.load(result.checkpoint).provenance["recipe"]
    assert (recipe["training"]["batch_size"], recipe["data"]["data_directory"]) == (2, str(dataset))
    resumed = tempovla.train(
        config, tmp_path / "run", system="vla", dataset=dataset, settings=settings, resume=result.checkpoint
    )
    assert resumed.train_step == 2


def test_a_config_says_what_it_trains_whatever_its_name(tmp_path, dataset):
    config = tmp_path / "mine.yaml"
    config.write_text(f"system: vla\n{tiny.vla_yaml()}")
    assert tempovla.train(config, tmp_path / "run", dataset=dataset, settings={"train_steps": 1}).train_step == 1
    with pytest.raises(ValueError, match=r"mine.yaml: is for `tempovla train vla`, not for `tempovla train smolvla`"):
        tempovla.train(config, tmp_path / "other", system="smolvla")


def test_a_recipe_finds_its_system_and_one_of_two_phases_returns_both(tmp_path):
    from tests.gripper_recordings import record

    results = tempovla.train(tiny.tiny_recipe(record(tmp_path / "dataset")), tmp_path / "run")
    assert {phase: result.train_step for phase, result in results.items()} == {"phase1": 6, "phase2": 6}
    policy = tempovla.load(results["phase2"].checkpoint)
    assert policy.embodiment.action_dim == 3


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("vla_metawrld",), {}, "vla_metawrld: neither a file nor .* did you mean vla_metaworld"),
        (
            ("mine.yaml",),
            {},
            "mine.yaml: no such file; give a YAML file, or the name of a packaged config",
        ),
        (
            ("vla_metaworld",),
            {"settings": {"batch_sise": 2}},
            r"^settings: 'batch_sise' is no setting of vla; did you mean 'batch_size'\?$",
        ),
        (
            ("vla_metaworld",),
            {"settings": {"training.train_stps": 1}},
            r"^settings: 'training.train_stps' is no setting of vla; did you mean 'training.train_steps'\?$",
        ),
        (
            ("vla_metaworld",),
            {"settings": {"wandb": 1}},
            "^settings: 'wandb' is no setting of vla; see the fields of VLARecipe$",
        ),
        (
            ("vla_metaworld",),
            {"settings": {"training": None}},
            "^settings: training is nothing; give it keys and values, or leave it out$",
        ),
        (
            ("vla_metaworld",),
            {"settings": {"train_steps": "x"}},
            '^"training.train_steps": expected int or null, got value: x; see the fields of VLARecipe$',
        ),
        (("vla_metaworld",), {"phase": 2}, "vla has no option 'phase'; it has pretrained_vlm, base_checkpoint"),
        (
            ("sagr_metaworld",),
            {"checkpoint": "run/checkpoint_latest"},
            "^sagr has no option 'checkpoint'; it has pretrained_vlm; to go on from a checkpoint, give resume=CHECK",
        ),
        (
            ("vla_metaworld",),
            {"system": "sagr"},
            "vla_metaworld.yaml: is for `tempovla train vla`, not for `tempovla train sagr`$",
        ),
        ((SmolVLARecipe(),), {"system": "vla"}, "vla is trained from a VLARecipe, not from a SmolVLARecipe"),
        ((SmolVLARecipe(),), {"dataset": "x"}, "settings and dataset are for a YAML file"),
        (
            (json,),
            {},
            "module is no recipe of a registered system; give a YAML file, .* or add the system to SYSTEM_REGISTRY",
        ),
        (("vla_metaworld",), {"system": "vlaa"}, "system 'vlaa' is unknown; did you mean vla"),
    ],
)
def test_what_cannot_be_trained_is_named_in_one_line(arguments, options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        tempovla.train(*arguments, **options)
    assert "\n" not in str(caught.value)


def systems_said() -> dict[str, str]:
    """Systems by the names of the packaged configs that say theirs."""
    lines = {config.stem: config.read_text().splitlines() for config in PACKAGED.glob("*.yaml")}
    said = {name: [line for line in each if line.startswith("system:")] for name, each in lines.items()}
    return {name: found[0].partition(":")[2].strip() for name, found in said.items() if found}


@pytest.mark.parametrize(("name", "system"), sorted(systems_said().items()))
def test_the_system_of_a_packaged_config_is_what_its_file_says(name, system):
    assert _system_of(Path(name)) == system
