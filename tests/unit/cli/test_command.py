"""What all subcommands share: both spellings of every option."""

from __future__ import annotations

import importlib

import pytest

from tempovla.cli.main import commands
from tempovla.recipe.settings.parser import ArgumentParser, build_parser


@pytest.mark.parametrize("name", commands())
def test_every_option_of_every_command_is_known_with_dashes_and_with_underscores(name):
    parser = importlib.import_module(commands()[name][0]).build(name, commands()[name][1])
    actions = parser._option_string_actions
    for option in (option for option in actions if option.startswith("--")):
        for spelling in (option[2:].replace("_", "-"), option[2:].replace("-", "_")):
            assert actions[parser.known_spelling(f"--{spelling}")] is actions[option]
            assert parser.known_spelling(f"--{spelling}=a-b_c").endswith("=a-b_c")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--num-trials", "3", "--batch.drop-last", "true", "--image_size", "64"],
        ["--num_trials=3", "--batch.drop_last=true", "--image-size=64"],
    ],
)
def test_spellings_parse_to_the_same(arguments):
    args = spelled_parser().parse_args(arguments)
    assert (args.num_trials, args.batch.drop_last, args.image_size) == (3, True, 64)


def test_values_and_the_users_own_keys_stay_as_they_are():
    args = spelled_parser().parse_args(
        ["--task-words=pick-up_the --num_trials", "--own.some-key=a-b_c", "--", "--image_size"]
    )
    assert args.task_words == "pick-up_the --num_trials"
    assert args.own == {"some-key": "a-b_c"}
    assert args.rest == "--image_size"


def test_help_shows_one_spelling_and_a_misspelled_option_is_unknown(tempovla, fails):
    page = tempovla("collect", "libero", "--help").out
    assert "--episodes-per-task" in page
    assert "--episodes_per_task" not in page
    line = fails("collect", "libero", "--episodes_per_tsk", "3")
    assert "did you mean --episodes-per-task?" in line


def test_a_bad_value_of_an_option_with_dashes_is_no_misspelling(fails):
    line = fails("collect", "libero", "--episodes_per_task", "many", "--dry_run")
    assert line.startswith('"episodes": expected int, got value: many; see')


def spelled_parser() -> ArgumentParser:
    parser = build_parser("eval toy", "Nothing.", "[options]", "tempovla eval toy")
    parser.add_argument("--num_trials", type=int)
    parser.add_argument("--batch.drop_last", type=bool)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--task_words")
    parser.add_argument("--own", type=dict[str, str])
    parser.add_argument("rest", nargs="?")
    return parser


@pytest.mark.parametrize("simulator", ["metaworld", "libero"])
def test_the_help_explains_depth_where_a_class_below_declares_it(tempovla, simulator):
    page = " ".join(tempovla("collect", simulator, "--help").out.split())
    assert "observe how far away each camera sees things, too, in whole millimetres; off by default" in page
