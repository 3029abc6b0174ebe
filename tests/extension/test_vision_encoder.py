"""The vision encoder of the how-to page: known to the command line, trained and evaluated in a policy."""

from __future__ import annotations

from tests.extension.pages import BRIEFLY, Page

import tempovla as package

PAGE = Page("add-a-vision-encoder")


def test_the_encoder_of_the_page_passes_its_test(folder):
    PAGE.write(folder)
    assert PAGE.run_tests(folder) == 1


def test_the_command_line_trains_and_evaluates_it_and_python_loads_it(tabletop, folder, tempovla):
    PAGE.write(folder)
    PAGE.run_commands(tempovla, train=BRIEFLY)
    policy = package.load("outputs/tiles/checkpoint_latest")
    assert type(policy.actor.policy.vlm.vision.encoder).__name__ == "TileEncoder"
