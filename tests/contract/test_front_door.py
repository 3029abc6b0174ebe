"""The verbs of `import tempovla` take what users mean, or refuse it in one line with the value and a remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests import recordings, tiny
from tests.contract.policy_cases import WRIST
from tests.contract.toys import FRONT, STATE
from tests.unit.export.bundles import INSTRUCTIONS, save

import tempovla
from tempovla.export.exporter import ExportConfig, export_checkpoint
from tempovla.recipe.diagnosis.memory import DiagnosisConfig, diagnose_memory
from tempovla.recipe.evaluation.outputs import Outputs
from tempovla.recipe.settings.recipe_parser import read_recipe
from tempovla.recipe.systems.registry import find_system
from tempovla.rollout.evaluate import EvaluationConfig

PICTURE = np.random.default_rng(0).integers(0, 256, (21, 27, 3), np.uint8)
ONE = {FRONT: PICTURE, WRIST: PICTURE[:16, :16], STATE: np.zeros(3), "task": INSTRUCTIONS[0]}
TWO = {key: value if key == "task" else np.stack([value] * 2) for key, value in ONE.items()}
LEFT_OUT = object()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("run"), "gaussian")


@pytest.fixture(scope="module")
def loaded(checkpoint) -> Any:
    return tempovla.load(checkpoint, device="cpu")


@pytest.fixture
def policy(loaded) -> Any:
    loaded.reset()
    loaded.seed(0)
    return loaded


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a dataset and a config that learns it in a step."""
    folder = tmp_path_factory.mktemp("place")
    recordings.record(folder / "data")
    (folder / "mine.yaml").write_text(f"system: vla\n{tiny.vla_yaml()}")
    return folder


def refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def seen(**changes: Any) -> dict[str, Any]:
    """An observation of one robot with some of its parts replaced; s, f and w are its state and its cameras."""
    names = {"s": STATE, "f": FRONT, "w": WRIST}
    changed = ONE | {names.get(name, name): value for name, value in changes.items()}
    return {key: value for key, value in changed.items() if value is not LEFT_OUT}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "^device 'gpu': torch knows no such device; give cpu or cuda$"),
        ({"device": 0}, "^device 0: is no name of a device; give cpu or cuda$"),
        ({"device": ""}, "^device '': torch knows no such device"),
        ({"device": "meta"}, "^device meta: torch cannot compute on it on this machine; leave it out, or give cpu$"),
        ({"dtype": "int8"}, "^dtype='int8' is none of float32, bfloat16, float16$"),
        ({"dtype": torch.int8}, "^dtype=torch.int8 is none of float32"),
        ({"dataset_name": 3}, "learned from one dataset; leave out dataset_name=3$"),
        ({"ensemble": "0.01"}, "^ensemble='0.01' must be a finite number of at least 0; ACT's is 0.01$"),
        ({"ensemble": True}, "^ensemble=True must be"),
        ({"ensemble": -1}, "^ensemble=-1 must be"),
        ({"execution_horizon": "3"}, "^execution_horizon='3' must be a whole number$"),
        ({"execution_horizon": 3.0}, "^execution_horizon=3.0 must be a whole number$"),
        ({"execution_horizon": True}, "^execution_horizon=True must be a whole number$"),
        ({"execution_horizon": 9}, "^execution_horizon=9 exceeds the policy's chunk of 5; give 5 at the most"),
        ({"transforms_from": "x"}, "has its own transforms; leave out transforms_from='x'$"),
        ({"local_files_only": "no"}, "^local_files_only='no' must be True or False$"),
    ],
)
def test_options_of_load_that_are_refused(checkpoint, options, message):
    refused(lambda: tempovla.load(checkpoint, **options), message)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "^source=None is no path; give that of a checkpoint or of an exported file$"),
        (3, "^source=3 is no path"),
        ("", "^source='' is no path"),
        (b"x", "^source=b'x' is no path"),
        (["x"], r"^source=\['x'\] is no path"),
        (
            "mine.yaml",
            r"^mine.yaml: a config, .* tempovla.train\('mine.yaml'\), or `tempovla train .* give the checkpoint",
        ),
        ("vla_metaworld", r"^vla_metaworld: a config, from which a policy is trained"),
        ("data", "^data: a dataset, on which a policy is trained; give the checkpoint"),
        ("data/meta/info.json", "^data/meta/info.json: no file that `tempovla export` wrote, whose names end in .onnx"),
        ("absent.onnx", "^absent.onnx: no such file; give one that `tempovla export` wrote"),
        ("absent", "^absent/bundle.json: no such file; give the folder that training saved$"),
    ],
)
def test_sources_of_load_that_are_no_policies(place, monkeypatch, source, message):
    monkeypatch.chdir(place)
    refused(lambda: tempovla.load(source), message)


def test_a_file_of_a_checkpoint_is_told_with_its_folder(checkpoint):
    refused(
        lambda: tempovla.load(checkpoint / "bundle.json"), f"a file of a checkpoint; give its folder, {checkpoint}$"
    )


def test_numbers_and_types_of_numpy_and_torch_are_options_of_load(checkpoint):
    options = {"execution_horizon": np.int64(3), "dtype": torch.float32, "device": torch.device("cpu")}
    assert tempovla.load(checkpoint, **options).execution_horizon == 3
    ensemble = tempovla.load(checkpoint, device="cpu", ensemble=np.float32(0.5))
    assert (ensemble.ensemble, ensemble.step(ONE).shape) == (0.5, (4,))


@pytest.mark.parametrize(
    "changes",
    [
        {"s": [0, 0, 0]},
        {"s": (0.0, 0.0, 0.0)},
        {"s": torch.zeros(3, dtype=torch.float64, requires_grad=True)},
        {"s": torch.zeros(3).to_sparse()},
        {"s": np.zeros(3, np.int8)},
        {"f": PICTURE / 255},
        {"f": torch.from_numpy(PICTURE)},
        {"f": PICTURE.transpose(2, 0, 1)},
        {"task": np.str_(INSTRUCTIONS[0])},
        {"task": np.array(INSTRUCTIONS[0])},
        {"observation.images.top": "not read"},
    ],
)
def test_the_same_observation_in_another_form_gives_the_same_actions(policy, changes):
    expected = policy.act(ONE)
    policy.reset()
    np.testing.assert_array_equal(np.asarray(policy.act(seen(**changes))), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"s": "abc"}, "^the observation's 'observation.state' is 'abc'; give an array of numbers$"),
        ({"s": None}, "is None; give an array of numbers$"),
        ({"s": [[1, 2], [3]]}, r"is \[\[1, 2\], \[3\]\]; give an array of numbers$"),
        ({"s": ["1", "2", "3"]}, "give an array of numbers$"),
        ({"s": [object()] * 3}, "give an array of numbers$"),
        ({"s": {"x": 1}}, "give an array of numbers$"),
        ({"s": np.zeros(3, complex)}, "give an array of numbers$"),
        ({"s": np.zeros(3, "datetime64[s]")}, "give an array of numbers$"),
        ({"s": 1.0}, "has 1 dimensions, but the policy learned with 3"),
        ({"s": []}, "has 0 dimensions, but the policy learned with 3"),
        ({"s": np.zeros(4)}, "has 4 dimensions, but the policy learned with 3"),
        ({"s": np.zeros((1, 3))}, "does not tell how many robots it is of"),
        ({"s": np.zeros((1, 1, 3))}, r"is \(1, 1, 3\); give a vector \(D,\), or \(B, D\) for a batch$"),
        ({"s": [np.nan, 0, 0]}, "has nan in dimension 0; give finite numbers"),
        ({"s": [0, 1e300, 0]}, "has inf in dimension 1; give finite numbers"),
        ({"f": "a.png"}, "is 'a.png'; give an array of numbers$"),
        ({"f": np.zeros((0, 0, 3), np.uint8)}, r"is \(0, 0, 3\) uint8 and has no pixels; give \(height, width, RGB\)"),
        ({"f": np.zeros((3, 0, 5), np.float32)}, "has no pixels"),
        ({"f": PICTURE[..., 0]}, r"^the picture '.*front' is \(21, 27\) uint8, without an axis of colours; give"),
        ({"f": PICTURE[..., :1]}, "has no axis of three colours"),
        ({"f": PICTURE[None, None]}, "give one step of it, not a sequence of steps$"),
        ({"f": PICTURE.astype(np.float32)}, "has floats from 0 to 255"),
        ({"f": PICTURE.astype(np.int64)}, "int64; give"),
        ({"f": np.full((21, 27, 3), np.nan)}, "holds nan"),
        ({"f": [PICTURE, PICTURE[:5]]}, "give an array of numbers$"),
        ({"task": 3}, "^the observation's 'task' is 3; give an instruction in words, or a list of them$"),
        ({"task": b"open"}, "is b'open'; give an instruction in words"),
        ({"task": {"a": 1}}, "give an instruction in words"),
        ({"task": ["open"]}, "does not tell how many robots"),
        ({"f": LEFT_OUT, "front": PICTURE}, "; rename 'front' to 'observation.images.front'$"),
        ({"f": LEFT_OUT, "observation.images.fornt": PICTURE}, "; rename 'observation.images.fornt' to '.*front'$"),
        (
            {"s": LEFT_OUT, "environment_state": 1},
            r"lacks \['observation.state'\].* and the policy reads .*, and 'task'$",
        ),
    ],
)
def test_observations_that_are_refused(policy, changes, message):
    refused(lambda: policy.act(seen(**changes)), message)
    refused(lambda: policy.step(seen(**changes)), message)
    assert policy.act(ONE).shape == (5, 4)


@pytest.mark.parametrize("observation", [None, [1], "x", (1, 2), torch.zeros(3)])
def test_what_is_no_mapping_is_no_observation(policy, observation):
    refused(lambda: policy.act(observation), "^the observation is a .*; give a mapping of names to arrays$")


@pytest.mark.parametrize(
    ("executed", "message"),
    [
        ("x", "^executed is 'x'; give an array of numbers$"),
        (object(), "give an array of numbers$"),
        ([[0.0], [1, 2]], "give an array of numbers$"),
        (np.zeros((1, 4), complex), "give an array of numbers$"),
        (3, r"^executed is \(\); give \(n, 4\), what was done since then$"),
        (np.zeros(4), r"^executed is \(4,\); give \(n, 4\)"),
        (np.zeros((0, 4)), r"^executed is \(0, 4\); give \(n, 4\)"),
        (np.zeros((1, 5)), r"^executed is \(1, 5\); give \(n, 4\)"),
        (np.full((1, 4), np.nan), "has nan in dimension 0 of 'executed'"),
    ],
)
def test_executed_actions_that_are_refused(policy, executed, message):
    policy.act(ONE)
    refused(lambda: policy.act(ONE, executed), message)
    assert policy.act(ONE, [[0.0] * 4]).shape == (5, 4)


def test_rows_and_seeds_may_be_single_numbers_of_numpy(policy):
    policy.seed(np.int64(3))
    first = policy.act(TWO)
    policy.reset(1)
    policy.reset(np.int64(0))
    np.testing.assert_array_equal(policy.act(TWO), first)
    refused(lambda: policy.reset(2), r"^reset\(rows=2\): there is no row 2 in a batch of 2$")
    refused(lambda: policy.seed([1, 2, 3]), "3 seeds were given for 2 rows; give one seed, or one a row$")
    refused(lambda: policy.seed("3"), "^seed='3': no whole numbers; give a whole number")
    policy.reset()
    np.testing.assert_array_equal(policy.act(TWO), first)  # a seed that was refused leaves the last one


def test_settings_of_numpy_and_recipes_with_paths_train(place, tmp_path):
    settings = {
        "training.train_steps": np.int64(1),
        "training.learning_rate": np.float32(1e-3),
        "training.gradient_clip": float("inf"),
        "model.cameras": np.array(["observation.images.front"]),
        "data.data_directory": place / "data",
    }
    assert tempovla.train(place / "mine.yaml", tmp_path / "run", settings=settings).train_step == 1
    recipe = read_recipe("vla", find_system("vla"), place / "mine.yaml", settings)
    training = replace(recipe.training, batch_size=np.int64(2), seed=np.int32(1), learning_rate=np.float32(1e-3))
    recipe = replace(recipe, training=training, data=replace(recipe.data, data_directory=place / "data"))
    result = tempovla.train(recipe, tmp_path / "again")
    resumed = tempovla.train(recipe, tmp_path / "again", resume=result.checkpoint)
    assert (result.train_step, resumed.train_step) == (1, 1)


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        (None, {}, "^NoneType is no recipe of a registered system; give a YAML file, the name of a packaged config"),
        ({"data": {}}, {}, "^dict is no recipe of a registered system"),
        ("", {}, "^recipe='' is no path; give that of a YAML file$"),
        ("absent", {}, "^absent: neither a file nor a config that comes with TempoVLA; there are "),
        ("vla_metawrld", {"system": "vla"}, "^vla_metawrld: neither a file nor .*; did you mean vla_metaworld"),
        ("absent.yaml", {}, "^absent.yaml: no such file; give a YAML file, or the name of a packaged config$"),
        ("data", {}, "^data: a folder, not a config; give a YAML file, or the name of a packaged config$"),
        ("mine.yaml", {"out": 3}, "^out=3 is no path; give that of the folder of the run$"),
        (
            "mine.yaml",
            {"out": "data"},
            "^data: is a dataset, in which no run can be kept; choose another folder for out$",
        ),
        (
            "mine.yaml",
            {"out": "data/data"},
            "^data/data: lies in the dataset data, in which no run can be kept; choose",
        ),
        ("mine.yaml", {"dataset": 3}, "^dataset=3 is no path; give that of the dataset$"),
        ("mine.yaml", {"resume": 3}, "^resume=3 is no path; give that of a checkpoint of the run$"),
        ("mine.yaml", {"system": 3}, "^system=3 is no text; give one, such as 'vla'$"),
        ("mine.yaml", {"device": "gpu"}, "^device 'gpu': torch knows no such device"),
        ("mine.yaml", {"base_checkpoint": 3}, "^base_checkpoint=3 is no path; give a folder, or a name on the hub$"),
        ("mine.yaml", {"settings": [1]}, r"^settings=\[1\]: give keys and values, such as {'training.batch_size': 8}$"),
        ("mine.yaml", {"settings": {3: 4}}, "^settings={3: 4}: give keys and values"),
        (
            "mine.yaml",
            {"settings": {"batch_size": object()}},
            "^settings: batch_size is <object .*; give a number, a te",
        ),
        ("mine.yaml", {"settings": {"batch_size": 2.5}}, "batch_size.*: expected int, got value: 2.5"),
        ("mine.yaml", {"settings": {"train_steps": True}}, "train_steps.*got value: true"),
    ],
)
def test_arguments_of_train_that_are_refused(place, monkeypatch, recipe, options, message):
    monkeypatch.chdir(place)
    refused(lambda: tempovla.train(recipe, **{"out": "run", **options}), message)
    assert not (place / "run").exists()


def test_a_run_is_not_kept_in_a_checkpoint(place, checkpoint):
    told = f"^{checkpoint}: is a checkpoint, in which no run can be kept; choose another folder for out$"
    refused(lambda: tempovla.train(place / "mine.yaml", checkpoint), told)
    told = f"^{checkpoint / 'sub'}: lies in the checkpoint {checkpoint}, in which no run can be kept; choose another"
    refused(lambda: tempovla.train(place / "mine.yaml", checkpoint / "sub"), told)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: diagnose_memory(None, "data"), "^checkpoint=None is no path; give that of a checkpoint$"),
        (lambda: diagnose_memory("run", 3), "^dataset=3 is no path; give that of demonstrations$"),
        (lambda: diagnose_memory("a.yaml", "data"), "^a.yaml: a config, from which a policy is trained"),
        (
            lambda: diagnose_memory("run", "data", {"episodes": 3}),
            "^config={'episodes': 3} is no DiagnosisConfig; give",
        ),
        (lambda: DiagnosisConfig(episodes="3"), "^episodes='3' must be a whole number$"),
        (lambda: DiagnosisConfig(episodes=1), "^episodes=1 must be at least 2$"),
        (lambda: export_checkpoint(None, "a.onnx"), "^checkpoint=None is no path; give that of a checkpoint$"),
        (lambda: export_checkpoint("run", 3), "^out=3 is no path; give that of the file to write$"),
        (lambda: export_checkpoint("a.yaml", "a.onnx"), "^a.yaml: a config, from which a policy is trained"),
        (lambda: export_checkpoint("run", "a.onnx", {"format": "onnx"}), "is no ExportConfig; give ExportConfig"),
        (lambda: ExportConfig(tolerance="a"), "^tolerance='a' must be a number above 0$"),
    ],
)
def test_diagnosis_and_export_refuse_what_they_cannot_use(call, message):
    refused(call, message)


def test_a_value_of_another_type_in_a_recipe_is_named(place):
    recipe = read_recipe("vla", find_system("vla"), place / "mine.yaml", {"dataset": place / "data"})
    recipe = replace(recipe, data=replace(recipe.data, preload_bytes=1.5))
    refused(
        lambda: tempovla.train(recipe, place / "run"), "^recipe.data.preload_bytes is 1.5; it must be a whole number$"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint": None}, "^checkpoint=None is no path; give that of a checkpoint or of an exported file$"),
        ({"checkpoint": "mine.yaml"}, "^mine.yaml: a config, from which a policy is trained"),
        ({"simulator": None}, "^simulator=None is no text; give one, such as 'metaworld'$"),
        ({"tasks": 3}, r"^tasks=3: give a list of names, such as \['"),
        ({"tasks": [3]}, r"^tasks=\[3\]: give a list of names"),
        ({"config": {"episodes": 3}}, "^config={'episodes': 3} is no EvaluationConfig; give one, such as"),
        ({"settings": [1]}, r"^settings=\[1\]: give names and values"),
        ({"init_states": 3}, "^init_states=3; choose from benchmark, random$"),
        ({"instruction": 3}, "^instruction=3 is no text; give the words, or the words by task$"),
        ({"wrong_instruction": "yes"}, "^wrong_instruction='yes' must be True or False$"),
        ({"outputs": "results.json"}, r"^outputs='results.json' is no Outputs; give one, such as Outputs\(results="),
        ({"device": "gpu"}, "^device 'gpu': torch knows no such device"),
        ({"dataset_name": "x"}, "learned from one dataset; leave out dataset_name='x'$"),
    ],
)
def test_arguments_of_evaluate_that_are_refused(checkpoint, options, message):
    pytest.importorskip("gymnasium")
    refused(lambda: tempovla.evaluate(**{"checkpoint": checkpoint, "simulator": "memory", **options}), message)


def test_settings_of_evaluations_are_checked_where_they_are_made():
    config = EvaluationConfig(episodes=np.int64(3), seed=np.int32(1), temporal_ensemble=np.float32(0.5))
    assert config == EvaluationConfig(episodes=3, seed=1, temporal_ensemble=0.5)
    assert {type(value) for value in (config.episodes, config.seed)} == {int}
    refused(lambda: EvaluationConfig(episodes="3"), "^episodes='3' must be a whole number$")
    refused(lambda: EvaluationConfig(seed=None), "^seed=None must be a whole number$")
    refused(lambda: Outputs(results=3), "^results=3 is no path; give that of a file$")


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        (None, {}, "^path=None is no path; give that of a dataset$"),
        ("", {}, "^path='' is no path"),
        ("absent", {}, "^absent: no such file or folder; give that of a LeRobot dataset, or of LIBERO's"),
        ("data", {"demos_per_task": "3"}, "^demos_per_task is '3'; it must be positive and a whole number"),
        ("data", {"max_len_data": 0}, "^max_len_data is 0; it must be positive and a whole number"),
        ("data", {"keys": "a"}, r"^keys is 'a'; give what StreamKeys.parse\(state_key, action_key\) returns$"),
        ("data", {"depth_unit": 3}, "^depth_unit=3 is no text; give one, such as 'mm'$"),
        ("data", {"default_instruction": None}, "^default_instruction=None is no text"),
        ("data", {"libero_images": "up"}, "^libero_images='up' is unknown; choose from auto, bottom_first"),
    ],
)
def test_arguments_of_open_dataset_that_are_refused(place, monkeypatch, path, options, message):
    monkeypatch.chdir(place)
    refused(lambda: tempovla.open_dataset(path, **options), message)
    assert len(tempovla.open_dataset("data", demos_per_task=np.int64(1))) == 2
