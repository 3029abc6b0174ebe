"""A checkpoint's name that leads nowhere is answered by what does."""

from __future__ import annotations

import shutil

import pytest

from tempovla.timeline.bundle_path import check_path


def test_where_nothing_was_held_out_the_latest_is_named_in_place_of_the_best(tmp_path):
    check_path(tmp_path / "checkpoint_best")  # no run at all, which whoever reads it tells
    (tmp_path / "checkpoint_latest").mkdir()
    told = rf"checkpoint_best: no such checkpoint, as no episodes were held out .*; give {tmp_path}/checkpoint_latest$"
    with pytest.raises(ValueError, match=told):
        check_path(tmp_path / "checkpoint_best")
    (tmp_path / "checkpoint_best").symlink_to("checkpoint_latest")
    check_path(tmp_path / "checkpoint_best")


def test_a_link_to_nothing_is_told_with_the_newest_checkpoint_or_how_to_copy(tmp_path):
    latest = tmp_path / "checkpoint_latest"
    latest.symlink_to("checkpoints/step_00000030")
    for step in (9, 20):
        (tmp_path / f"checkpoints/step_{step:08d}").mkdir(parents=True)
        (tmp_path / f"checkpoints/step_{step:08d}/bundle.json").touch()
    (tmp_path / "checkpoints/step_00000025").mkdir()  # empty
    what = rf"^{latest}: is a link to checkpoints/step_00000030, which is not there; "
    with pytest.raises(ValueError, match=rf"{what}give {tmp_path}/checkpoints/step_00000020$"):
        check_path(latest)
    for step in (9, 20):
        shutil.rmtree(tmp_path / f"checkpoints/step_{step:08d}")
    with pytest.raises(ValueError, match=rf"{what}start the run anew without --checkpoint"):
        check_path(latest)
    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.raises(ValueError, match=rf"{what}copy the run again with what its links lead to \(`cp -rL`\)$"):
        check_path(latest)
