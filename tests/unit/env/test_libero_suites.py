"""LIBERO's suites: their tasks, words and fixed initial states, read without running anybody's code."""

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("libero")

from tempovla.env import libero_suites

BUTTER = "pick_up_the_butter_and_place_it_in_the_basket"


def test_suites_have_their_tasks_in_the_benchmarks_order() -> None:
    counts = {suite: len(libero_suites.task_names(suite)) for suite in libero_suites.STEP_LIMITS}
    assert counts == {"libero_object": 10, "libero_spatial": 10, "libero_goal": 10, "libero_10": 10, "libero_90": 90}
    assert libero_suites.task_names("libero_object")[6] == BUTTER
    for suite in counts:
        for task in libero_suites.task_names(suite):
            assert libero_suites.problem_file(suite, task).is_file()


@pytest.mark.parametrize(
    ("suite", "task", "words"),
    [
        ("libero_object", BUTTER, "pick up the butter and place it in the basket"),
        ("libero_90", "KITCHEN_SCENE10_close_the_top_drawer_of_the_cabinet", "close the top drawer of the cabinet"),
        ("libero_10", "KITCHEN_SCENE8_put_both_moka_pots_on_the_stove", "put both moka pots on the stove"),
    ],
)
def test_instructions_are_the_benchmarks(suite: str, task: str, words: str) -> None:
    assert libero_suites.instruction(suite, task) == words


def test_initial_states_are_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    path = libero_suites.package_root() / "init_files/libero_object" / f"{BUTTER}.pruned_init"
    states = libero_suites.initial_states("libero_object", BUTTER)
    assert states.shape == (50, 110)
    np.testing.assert_array_equal(states, torch.load(path, weights_only=False))
    with pytest.raises(ValueError, match="read-only"):
        states[0, 0] = 1


class _Mischief:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("mischief",)


@pytest.mark.parametrize("content", [_Mischief(), [1, 2], np.array([[{}]]), None])
def test_a_file_with_anything_but_an_array_is_refused(
    content: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    libero_suites.check_task("libero_object", BUTTER)
    folder = tmp_path / "init_files/libero_object"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / f"{BUTTER}.pruned_init", "w") as archive:
        archive.writestr("archive/data.pkl" if content is not None else "archive/other", pickle.dumps(content))
    monkeypatch.setattr(libero_suites, "package_root", lambda: tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"{BUTTER}.pruned_init: .*install hf-libero again"):
        libero_suites.initial_states.__wrapped__("libero_object", BUTTER)
    assert not Path("mischief").exists()


@pytest.mark.parametrize("damage", [b"", b"\x80\x7f", b"garbage", b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n0R."])
def test_a_damaged_file_is_told_in_one_line(damage: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    libero_suites.check_task("libero_object", BUTTER)
    path = tmp_path / "init_files/libero_object" / f"{BUTTER}.pruned_init"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", damage)
    monkeypatch.setattr(libero_suites, "package_root", lambda: tmp_path)
    with pytest.raises(ValueError, match=rf"{BUTTER}.pruned_init: .*install hf-libero again"):
        libero_suites.initial_states.__wrapped__("libero_object", BUTTER)


def test_unknown_names_get_the_nearest_known_one() -> None:
    with pytest.raises(ValueError, match="suite: no LIBERO suite 'libero_objects'; did you mean libero_object"):
        libero_suites.check_suite("libero_objects")
    with pytest.raises(ValueError, match=f"no task 'pick_up_the_buter' in libero_object; did you mean {BUTTER}"):
        libero_suites.check_task("libero_object", "pick_up_the_buter")
    with pytest.raises(ValueError, match=r"suite: no LIBERO suite 'maniskill'; choose from libero_object, "):
        libero_suites.task_names("maniskill")


def test_problems_have_words_of_their_own() -> None:
    task = "pick_up_the_butter_and_place_it_in_the_basket"
    assert libero_suites.problem_words("libero_object", task) == "Pick the butter and place it in the basket"
