"""The temporal core of the how-to page: lawful, known to the command line, a part of a policy."""

from __future__ import annotations

from tests.extension.pages import BRIEFLY, Page

import tempovla as package
from tempovla.model.temporal.core.registry import TEMPORAL_REGISTRY

PAGE = Page("add-a-temporal-core")
SHORT = ["--model.context.sequence_length", "3", "--model.action_horizon", "4"]


def test_the_core_of_the_page_keeps_the_laws(folder):
    PAGE.write(folder)
    assert PAGE.run_tests(folder) == 2


def test_the_command_line_trains_and_evaluates_it_and_python_loads_it(tabletop, folder, tempovla):
    PAGE.write(folder)
    PAGE.run_commands(tempovla, train=[*BRIEFLY, *SHORT])
    policy = package.load("outputs/average_core/checkpoint_latest")
    core = policy.actor.policy.context.parts["temporal"].encoder.core
    assert isinstance(core, TEMPORAL_REGISTRY["average"])


def test_the_command_line_refuses_a_core_that_is_not_registered(folder, fails):
    core = ["--model.context.temporal.encoder_type", "average"]
    message = fails("train", "vla", "--config", "vla_metaworld", "--dataset", "outputs/data", *core)
    assert "encoder_type='average' is unknown; choose one of transformer, lstm, gru, mamba, frames" in message
