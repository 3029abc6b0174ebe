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
    with pytest.raises(ValueError, match=rf"{what}the run has no checkpoint to go on from yet, so start it anew"):
        check_path(latest)
    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.raises(ValueError, match=rf"{what}remove it, and copy .* with what links lead to \(`cp -rL`\)$"):
        check_path(latest)


def run_with_checkpoints(folder, steps=(9, 20)):
    for step in steps:
        (folder / f"checkpoints/step_{step:08d}").mkdir(parents=True)
        (folder / f"checkpoints/step_{step:08d}/bundle.json").touch()
    (folder / "checkpoint_latest").symlink_to(f"checkpoints/step_{max(steps):08d}")
    return folder


def test_a_link_that_was_copied_out_of_its_run_is_to_be_copied_with_what_it_leads_to(tmp_path):
    run_with_checkpoints(tmp_path / "other")
    (tmp_path / "checkpoints/vla").mkdir(parents=True)  # where runs lie by default
    for link in (tmp_path / "copied", tmp_path / "checkpoint_latest", tmp_path / "other/copied"):
        link.symlink_to("checkpoints/step_00000030")
        with pytest.raises(ValueError, match=r"is not there; remove it, and copy the checkpoint or its run .*`cp -rL`"):
            check_path(link)


def test_a_run_and_a_misspelled_name_are_answered_with_the_checkpoints_of_the_run(tmp_path):
    run = run_with_checkpoints(tmp_path / "st/phase2")
    latest, newest = run / "checkpoint_latest", run / "checkpoints/step_00000020"
    for good in (latest, newest):
        check_path(good)
    for wrong, what, remedy in (
        (tmp_path / "st", "holds checkpoints, but is none itself", latest),
        (run, "holds checkpoints, but is none itself", latest),
        (run / "checkpoints", "holds checkpoints, but is none itself", newest),
        (run / "checkpoint_last", "no such checkpoint", latest),
        (run / "checkpoints/step_00000021", "no such checkpoint", newest),
        (newest / "bundle.json", "a file", "the folder that training saved"),
    ):
        with pytest.raises(ValueError, match=rf"^{wrong}: {what}; give {remedy}$"):
            check_path(wrong)
    (run / "checkpoint_best").symlink_to("checkpoints/step_00000009")
    with pytest.raises(ValueError, match=rf"give {latest} or {run}/checkpoint_best$"):
        check_path(run)


def test_of_many_runs_three_checkpoints_are_named(tmp_path):
    for name in "abcde":
        run_with_checkpoints(tmp_path / name)
    a, b, c = (tmp_path / name / "checkpoint_latest" for name in "abc")
    with pytest.raises(ValueError, match=rf"no such checkpoint; give {a} or {b} or {c}, and 2 more$"):
        check_path(tmp_path / "nope")
