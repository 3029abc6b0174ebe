"""Finding subcommands, and what users read when they err."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tempovla.cli import main as cli
from tempovla.env.libero import LiberoConfig
from tempovla.env.registry import simulator_class
from tempovla.recipe.demo import Demo
from tempovla.storage.extras import install_command
from tempovla.timeline import plugins
from tempovla.training.divergence import DivergedError
from tempovla.training.interrupt import TrainingInterrupted


@pytest.mark.parametrize("name", cli.commands())
def test_every_command_imports_and_shows_help_with_examples(name, tempovla):
    module = importlib.import_module(cli.commands()[name][0])
    assert callable(module.run)
    answer = tempovla(*name.split(), "--help")
    assert answer.code == 0
    assert answer.out.startswith(f"usage: tempovla {name} ")
    assert "examples:\n  tempovla " in answer.out


def test_help_lists_the_commands_without_importing_torch():
    script = (
        "import sys; from tempovla.cli.main import main; code = main(['--help']);"
        "heavy = {'torch', 'numpy', 'jsonargparse', 'mujoco', 'yaml', 'av', 'pyarrow'} & set(sys.modules);"
        "assert not heavy, heavy; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for name in cli.commands():
        assert f"  {name} " in done.stdout


def test_help_of_a_group_lists_its_commands_alone(tempovla):
    answer = tempovla("data")
    assert answer.code == 0
    assert "data inspect" in answer.out
    assert "train" not in answer.out.split("commands:")[1]


def test_version(tempovla):
    assert tempovla("--version").out.startswith("tempovla 0.")


def test_a_simulator_or_system_that_may_be_a_plugins_is_told_so(fails):
    message = fails("eval", "pointmass", "--checkpoint", "x")
    assert message.startswith("no command 'eval pointmass'; choose from compare, ")
    assert message.endswith(", or name the module that adds it with --plugin")


def test_a_misspelled_command_is_corrected(fails):
    assert fails("trian") == "no command 'trian'; did you mean train?"
    assert fails("data", "inspct", "x") == "no command 'data inspct'; did you mean inspect?"
    known = "demo, init, collect, data, convert, check, train, diagnose, eval, ask, export, report"
    assert fails("xyz") == f"no command 'xyz'; choose from {known}"


def test_a_missing_argument_is_named(fails):
    assert "required: --episode, --frame, --window, --out;" in fails("data", "sample", "ROOT")
    assert "required: ROOT, --episode, --frame, --window, --out;" in fails("data", "sample")


@pytest.mark.parametrize("name", cli.commands())
def test_options_mean_the_same_in_every_command(name):
    """Every command has `--json`; one that trains or collects has both names of its folder, and a dataset one name."""
    module, summary = cli.commands()[name]
    parser = importlib.import_module(module).build(name, summary)
    options = set(parser._option_string_actions)
    assert "--json" in options
    if name.split()[0] in ("demo", "train", "collect", "diagnose"):
        assert {"--out", "--output-dir"} <= options
    if name.split()[0] in ("train", "diagnose", "eval", "export") and name != "eval compare":
        assert "--device" in options
    if name.split()[0] in ("train", "diagnose") or name == "eval offline":
        assert "--dataset" in options
    if name.split()[0] == "eval" and name != "eval compare":
        assert {"--checkpoint", "--dataset-name"} <= options


def test_the_outcome_goes_to_stdout_or_into_a_file(dataset, tempovla, tmp_path):
    printed = json.loads(tempovla("data", "inspect", dataset, "--json").out)
    answer = tempovla("data", "inspect", dataset, "--json", tmp_path / "new" / "facts.json")
    assert answer.out.startswith(str(dataset))
    assert json.loads((tmp_path / "new" / "facts.json").read_text()) == printed


def test_a_config_of_an_earlier_version_is_read(tmp_path, tempovla):
    """It called the folder `output_dir`, and `--json` was yes or no."""
    (tmp_path / "old.yaml").write_text("output_dir: outputs/old\njson: false\n")
    printed = yaml.safe_load(tempovla("train", "vla", "--config", tmp_path / "old.yaml", "--print_config").out)
    assert printed["out"] == "outputs/old"
    assert "output_dir" not in printed


def test_the_help_of_a_training_describes_the_dataset_by_its_short_name(tempovla):
    assert re.search(
        r"--data\.data_directory \w+, --dataset \w+\s+root of a LeRobot dataset", tempovla("train", "vla", "-h").out
    )


def test_errors_show_their_traceback_on_demand(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="not a LeRobot dataset"):
        cli.main(["data", "inspect", str(tmp_path), "--debug"])
    monkeypatch.setenv("TEMPOVLA_DEBUG", "1")
    with pytest.raises(ValueError, match="not a LeRobot dataset"):
        cli.main(["data", "inspect", str(tmp_path)])


def test_ctrl_c_ends_in_one_line_with_code_130(monkeypatch, tempovla):
    def stop(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run_command", stop)
    answer = tempovla("report", "x")
    assert (answer.code, answer.out, answer.err) == (130, "", "tempovla: interrupted\n")


def test_ctrl_c_tells_how_a_training_goes_on_and_how_a_demo_does(monkeypatch, tempovla, tmp_path):
    def stop(*_: object) -> int:
        raise TrainingInterrupted(Path("run/checkpoint_latest"))

    monkeypatch.setattr(cli, "run_command", stop)
    answer = tempovla("train", "vla")
    assert (answer.code, answer.err) == (130, "tempovla: interrupted; go on with --checkpoint run/checkpoint_latest\n")
    monkeypatch.undo()
    monkeypatch.setattr(Demo, "run", stop)
    answer = tempovla("demo", "--out", tmp_path)
    assert (answer.code, answer.err) == (130, "tempovla: interrupted; the same command goes on from here\n")


def test_a_missing_extra_is_named(monkeypatch, fails):
    def lacking(*_: object) -> int:
        raise ModuleNotFoundError("No module named 'metaworld'", name="metaworld")

    monkeypatch.setattr(cli, "run_command", lacking)
    assert fails("demo") == f"metaworld is not installed; install it with `{install_command('sim')}`"


def test_an_error_of_many_lines_is_told_on_one(monkeypatch, fails):
    def break_down(*_: object) -> int:
        raise ValueError("first\n  second")

    monkeypatch.setattr(cli, "run_command", break_down)
    assert fails("demo") == "first second"


def test_settings_that_remedy_an_error_are_told_as_options(monkeypatch, fails):
    def refuse(*_: object) -> int:
        raise ValueError("model.cameras=[] is empty; set model.a.b=c, or model.d=e, and give transform.f")

    monkeypatch.setattr(cli, "run_command", refuse)
    assert fails("demo") == "model.cameras=[] is empty; set --model.a.b=c, or --model.d=e, and give transform.f"


def test_training_that_diverged_ends_with_a_code_of_its_own(monkeypatch, tempovla):
    def diverge(*_: object) -> int:
        raise DivergedError("step 3: loss term 'action' is nan")

    monkeypatch.setattr(cli, "run_command", diverge)
    answer = tempovla("train", "vla")
    assert (answer.code, answer.err) == (3, "tempovla: error: step 3: loss term 'action' is nan\n")


def test_json_goes_to_stdout_and_messages_to_stderr(dataset, tempovla):
    answer = tempovla("data", "convert", dataset.parent / "absent", dataset.parent / "copy")
    assert answer.code == 2
    assert answer.out == ""
    assert json.loads(tempovla("data", "inspect", dataset, "--json").out)["episodes"] == 3


def test_a_plugin_is_imported_first_and_only_because_it_was_asked_for(tempovla, fails, tmp_path, monkeypatch):
    (tmp_path / "my_robot.py").write_text(
        "from tempovla.cli.main import COMMANDS\nCOMMANDS['dance'] = ('x', 'dance')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(cli, "COMMANDS", dict(cli.COMMANDS))
    monkeypatch.setattr(plugins, "_in_use", {})
    assert "dance" not in tempovla("--help").out
    assert "  dance " in tempovla("--plugin", "my_robot", "--help").out
    assert "  --plugin MODULE  import a module of your own first" in tempovla("--plugin=my_robot").out
    assert fails("--plugin", "no_such_robot", "data") == (
        "--plugin no_such_robot: No module named 'no_such_robot'; install it, or name its folder in PYTHONPATH"
    )
    assert fails("--plugin", "../evil.py") == (
        "--plugin '../evil.py' is no name of a module; give one such as my_robot.policies"
    )
    assert fails("data", "--plugin") == "--plugin '' is no name of a module; give one such as my_robot.policies"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("training: {num_threads: -1}", "training.num_threads=-1 must be at least 1"),
        ("model: {cameras: {a: {b: []}}}", "model.cameras"),
        ("model: {vlm: {vision: 7}}", "model.vlm.vision is 7; give it keys and values, or leave it out"),
    ],
)
def test_what_is_wrong_in_a_config_names_it(tmp_path, fails, text, told):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    message = fails("train", "vla", "--config", path, "--dataset", tmp_path)
    assert message.startswith(f"{path}: ")
    assert told in message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("training: {num_threads: -1}", "training.num_threads=-1 must be at least 1"),
        ("training: {batch_size: two}", '"training.batch_size": expected int, got value: two; see'),
        ("model: {vlm: {vision: 7}}", "model.vlm.vision is 7; give it keys and values"),
        ("training: \xff", "line 1 is not UTF-8"),
    ],
)
def test_of_several_configs_the_one_that_is_wrong_is_named(tmp_path, fails, text, told):
    good, wrong = tmp_path / "good.yaml", tmp_path / "wrong one.yaml"
    good.write_text("training: {log_interval: 2}")
    wrong.write_text(text, encoding="latin-1")
    for configs in ((good, wrong), (wrong, good)):
        given = [argument for path in configs for argument in ("--config", path)]
        assert fails("train", "vla", *given, "--dataset", tmp_path).startswith(f"{wrong}: {told}")


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"path": "x"}, "an entry of it has no key 'path'; it may have data_directory, weight, "),
        ({"data_directory": "x", "wieght": 2}, "an entry of it has no key 'wieght'; did you mean weight?; see"),
        ({"data_directory": "x", "weight": "two"}, 'of an entry of it: "weight": expected float, got value: two; see'),
        ("x", "an entry of it is not keys and values, but x"),
    ],
)
def test_a_wrong_entry_of_a_mixture_is_told_without_classes(tmp_path, fails, entry, told):
    message = fails("train", "vla", "--data.mixture", json.dumps([entry]))
    assert message.startswith(f'"data.mixture": {told}')
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps({"data": {"mixture": [entry]}}))
    assert fails("train", "vla", "--config", path) == f"{path}: {message}"


def test_what_is_wrong_on_the_command_line_does_not_blame_the_config(tmp_path, fails):
    path = tmp_path / "recipe.yaml"
    path.write_text("training: {batch_size: 2}")
    message = fails("train", "vla", "--config", path, "--dataset", tmp_path, "--training.num_threads", "-1")
    assert message.startswith("training.num_threads=-1 must be at least 1")


def test_a_config_that_is_no_text_and_a_very_long_value_take_one_short_line(tmp_path, fails):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"training: \xff")
    assert "recipe.yaml: line 1 is not UTF-8" in fails("train", "vla", "--config", path)
    path.write_text(f"model: {{action_head: {'y' * 200_000}}}")
    assert len(fails("train", "vla", "--config", path)) < 2_000


@pytest.mark.parametrize("name", [name for name in cli.commands() if name.startswith("train ")])
def test_the_short_name_that_the_help_of_a_training_gives_as_an_example_is_one(name, tempovla):
    assert "\nan option may be given by the end of its name" in tempovla(*name.split(), "--help").out
    parser = importlib.import_module(cli.commands()[name][0]).build(name, "")
    assert parser.parse_args(["--batch_size", "7"]).training.batch_size == 7


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("run: learned from one; leave out dataset_name='a b'", "run: learned from one; leave out --dataset-name a b"),
        ("say which with dataset_name=NAME: ['a']", "say which with --dataset-name NAME: ['a']"),
        ("name it with data=FOLDER", "name it with --dataset FOLDER"),
        (
            "none is held out (data.train_split=1.0); use split='all'",
            "none is held out (data.train_split=1.0); use --split all",
        ),
        ("set model.freeze_encoder=true", "set --model.freeze_encoder=true"),
    ],
)
def test_arguments_that_messages_advise_read_as_options(told, expected):
    assert cli.as_options(told) == expected


def test_the_help_of_world_models_and_of_collecting_says_what_is_needed(tempovla):
    assert "(--env NAME --task NAME | --dataset ROOT) --out DIR" in tempovla("train", "world-model", "--help").out
    words = " ".join(tempovla("collect", "metaworld", "--help").out.split())
    assert "the simulator's own: 0.5 in metaworld and memory, 0.3 in libero" in words
    defaults = {name: simulator_class(name)().experts().noise.max_sigma for name in ("metaworld", "memory")}
    assert defaults == {"metaworld": 0.5, "memory": 0.5}
    assert LiberoConfig(suite="libero_object").experts().noise.max_sigma == 0.3
