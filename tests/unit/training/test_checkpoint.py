"""Checkpoints are complete or absent; damaged and foreign ones are refused in one line."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.toy import LinearPolicy

from tempovla.timeline import Bundle
from tempovla.training.checkpoint import Checkpoint, CheckpointFolder


def record_of(train_step: int) -> dict[str, Any]:
    """All settings of a training of 9 steps says after some of them."""
    training = {"train_steps": 9, "num_epochs": 1, "gradient_accumulation": 1}
    return {
        "train_step": train_step,
        "identity": {"training": training, "batches_per_epoch": 3},
        "batches": {},
        "lowest_loss": None,
        "interval": {},
        "metrics": {},
        "cpu_seconds": 1.5,
    }


def save(folder: CheckpointFolder, train_step: int, *links: str, size: int = 4) -> Path:
    policy = LinearPolicy()
    checkpoint = Checkpoint(record_of(train_step), {"weights/w": torch.full((size,), float(train_step))})
    return folder.save(train_step, policy.bundle(policy.state_dict()), checkpoint, links)


def test_a_checkpoint_is_a_bundle_and_what_resuming_needs(tmp_path):
    path = save(CheckpointFolder(tmp_path), 3)
    assert path == tmp_path / "checkpoints/step_00000003"
    assert Bundle.load(path).policy == "toy_linear"
    assert torch.equal(Checkpoint.load(path).part("weights")["w"], torch.full((4,), 3.0))
    assert Checkpoint.load(path).record["train_step"] == 3


def test_latest_best_epochs_and_every_nth_stay(tmp_path):
    folder = CheckpointFolder(tmp_path, keep_every=4)
    links = {2: ("checkpoint_best",), 3: ("checkpoint_epoch_1",), 5: ("checkpoint_best",)}
    for step in range(1, 8):
        save(folder, step, *links.get(step, ()))
    assert list(folder.steps()) == [3, 4, 5, 7]
    names = ("checkpoint_latest", "checkpoint_best", "checkpoint_epoch_1")
    assert [Checkpoint.load(tmp_path / name).record["train_step"] for name in names] == [7, 5, 3]


def test_links_are_relative_so_that_a_run_can_be_moved(tmp_path):
    save(CheckpointFolder(tmp_path / "run"), 1)
    (tmp_path / "run").rename(tmp_path / "moved")
    assert Checkpoint.load(tmp_path / "moved/checkpoint_latest").record["train_step"] == 1


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    folder = CheckpointFolder(tmp_path)
    save(folder, 1)
    (folder.folder / ".step_00000002.part").mkdir()
    (tmp_path / ".checkpoint_latest.link").symlink_to("checkpoints/step_00000002")
    folder.clean()
    assert [path.name for path in folder.folder.iterdir()] == ["step_00000001"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint_latest", "checkpoints"]


def _hold(run: Path, is_held, may_end) -> None:
    folder = CheckpointFolder(run)
    folder.hold()
    is_held.set()
    may_end.wait(60)


def test_two_processes_do_not_train_into_one_folder(tmp_path):
    context = multiprocessing.get_context("fork")
    is_held, may_end = context.Event(), context.Event()
    folder = CheckpointFolder(tmp_path)
    other = context.Process(target=_hold, args=(tmp_path, is_held, may_end))
    other.start()
    assert is_held.wait(60)
    with pytest.raises(ValueError, match=rf"process {other.pid} trains .* there now; let it end, or choose"):
        folder.hold()
    other.kill()
    other.join()
    folder.hold()
    with pytest.raises(ValueError, match="this process trains"):
        CheckpointFolder(tmp_path).hold()
    folder.release()
    CheckpointFolder(tmp_path).hold()


def test_a_full_disk_loses_nothing_that_was_finished(tmp_path):
    folder = CheckpointFolder(tmp_path)
    save(folder, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, hard))  # the kernel refuses to let a file grow beyond it
    try:
        with pytest.raises(OSError, match=r"step_00000002: checkpoint not written .*; free some space and resume from"):
            save(folder, 2, size=10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in folder.folder.iterdir()] == ["step_00000001"]
    assert Checkpoint.load(tmp_path / "checkpoint_latest").record["train_step"] == 1


@pytest.mark.parametrize("name", ["trainer.json", "training.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_damaged_checkpoint_is_refused_by_file_and_remedy(tmp_path, name, damage):
    path = save(CheckpointFolder(tmp_path), 1)
    if damage == "missing":
        (path / name).unlink()
    else:
        os.truncate(path / name, (path / name).stat().st_size // 2)
    with pytest.raises(ValueError, match=rf"step_00000001/{name}: .*resume from another checkpoint") as caught:
        Checkpoint.load(tmp_path / "checkpoint_latest")
    assert "\n" not in str(caught.value)


def test_a_run_that_was_copied_with_its_links_followed_goes_on(tmp_path):
    folder = CheckpointFolder(tmp_path / "run")
    save(folder, 1, "checkpoint_best")
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    assert not (tmp_path / "copy/checkpoint_latest").is_symlink()
    copy = CheckpointFolder(tmp_path / "copy")
    copy.hold(tmp_path / "copy/checkpoint_latest")
    save(copy, 2)
    copy.release()
    assert (tmp_path / "copy/checkpoint_latest").is_symlink()
    names = ("checkpoint_latest", "checkpoint_best")
    assert [Checkpoint.load(tmp_path / "copy" / name).record["train_step"] for name in names] == [2, 1]
    assert not list((tmp_path / "copy").rglob(".*"))


@pytest.mark.parametrize("name", [".step_00000003.0a1b.old", ".step_00000003.4711.old"])
def test_a_checkpoint_that_a_kill_hid_comes_back_where_it_is_the_only_copy(tmp_path, name):
    folder = CheckpointFolder(tmp_path)
    path = save(folder, 3)
    path.rename(folder.folder / name)
    folder.hold(tmp_path / "checkpoint_latest")
    assert Checkpoint.load(tmp_path / "checkpoint_latest").record["train_step"] == 3
    folder.release()
    assert [path.name for path in folder.folder.iterdir()] == ["step_00000003"]


def test_a_checkpoint_that_no_link_leads_to_is_found(tmp_path):
    folder = CheckpointFolder(tmp_path)
    save(folder, 3)
    (tmp_path / "checkpoint_latest").unlink()
    with pytest.raises(ValueError, match=r"up to step 3; resume from .*/checkpoint_latest, or choose"):
        folder.hold()
    folder.hold(tmp_path / "checkpoint_latest")
    assert Checkpoint.load(tmp_path / "checkpoint_latest").record["train_step"] == 3


def test_checkpoints_that_are_a_link_to_elsewhere_are_refused_unless_allowed(tmp_path, monkeypatch):
    run, disk = tmp_path / "run", tmp_path / "disk"
    run.mkdir()
    save(CheckpointFolder(tmp_path / "other"), 1)
    (tmp_path / "other/checkpoints").rename(disk)
    (run / "checkpoints").symlink_to(disk)
    folder = CheckpointFolder(run)
    with pytest.raises(
        ValueError, match=r"run/checkpoints: a link that leads out of .*/run, to .*/disk; .*LINKED_FOLD"
    ):
        folder.hold()
    assert [path.name for path in disk.iterdir()] == ["step_00000001"]
    monkeypatch.setenv("TEMPOVLA_LINKED_FOLDERS", str(disk))
    folder.hold(disk / "step_00000001")
    save(folder, 2)
    folder.release()
    assert [path.name for path in disk.iterdir()] == ["step_00000002"]


def test_a_checkpoint_that_is_a_link_to_elsewhere_is_refused(tmp_path):
    save(CheckpointFolder(tmp_path / "other"), 2)
    save(folder := CheckpointFolder(tmp_path / "run"), 1)
    (folder.folder / "step_00000002").symlink_to("../../other/checkpoints/step_00000002")
    with pytest.raises(ValueError, match=r"step_00000002: a link that leads out of .*/run, to"):
        folder.hold(tmp_path / "run/checkpoint_latest")
    assert not (folder.folder / ".lock").exists()


def test_what_is_no_checkpoint_is_never_removed(tmp_path):
    folder = CheckpointFolder(tmp_path)
    save(folder, 3)
    for name in ("step_1", "step_two", "step_0002"):
        (folder.folder / name).mkdir()
        (folder.folder / name / "notes.txt").write_text("mine")
    (folder.folder / "step_4").write_text("mine")
    folder.hold(tmp_path / "checkpoint_latest")
    save(folder, 5)
    folder.release()
    assert list(folder.steps()) == [5]
    kept = {"step_1/notes.txt", "step_two/notes.txt", "step_0002/notes.txt", "step_4"}
    assert all((folder.folder / name).read_text() == "mine" for name in kept)


@pytest.mark.parametrize("is_file", [True, False])
def test_what_has_the_name_of_a_checkpoint_and_is_none_stops_that_step_alone(tmp_path, is_file):
    mine = tmp_path / "checkpoints/step_00000007"
    mine.parent.mkdir(parents=True)
    notes = mine if is_file else mine / "notes.txt"
    notes.parent.mkdir(exist_ok=True)
    notes.write_text("mine")
    folder = CheckpointFolder(tmp_path)
    folder.hold()
    assert folder.steps() == {}
    save(folder, 3)
    with pytest.raises(
        ValueError, match=rf"^{mine}: is not a checkpoint, .* step 7 was not written; move it elsewhere"
    ):
        save(folder, 7)
    save(folder, 8)
    folder.release()
    assert list(folder.steps()) == [8]
    assert notes.read_text() == "mine"


def test_an_empty_folder_with_the_name_of_a_checkpoint_is_nothing_to_resume_from(tmp_path):
    empty = tmp_path / "checkpoints/step_00000007"
    empty.mkdir(parents=True)
    folder = CheckpointFolder(tmp_path)
    folder.hold()
    assert folder.steps() == {}
    assert save(folder, 7) == empty
    folder.release()
    assert Checkpoint.load(tmp_path / "checkpoint_latest").record["train_step"] == 7
