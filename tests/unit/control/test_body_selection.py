"""Whose body a policy of several datasets moves."""

from __future__ import annotations

from typing import Any

import pytest

from tempovla.control.body_selection import choose_dataset
from tempovla.env.metaworld import MetaWorldConfig

HERE = MetaWorldConfig()
SAWYER, PANDA = (4, 4), (9, 7)


def provenance(**datasets: tuple[tuple[int, int], str]) -> dict[str, Any]:
    """Datasets by name: dimensions of state and action, and the simulator, where known."""
    facts = {}
    for name, ((state_dim, action_dim), simulator) in datasets.items():
        recording = {"simulator": simulator} if simulator else {}
        facts[name] = {"embodiment": {"state_dim": state_dim, "action_dim": action_dim}, "recording": recording}
    return {"datasets": facts}


def test_the_only_dataset_with_the_simulators_dimensions_is_taken():
    assert choose_dataset(provenance(a=(SAWYER, ""), b=(PANDA, "libero")), "ckpt", None, HERE) == "a"


def test_of_several_the_one_that_was_recorded_there_is_taken():
    several = provenance(a=(SAWYER, ""), b=(SAWYER, "metaworld"), c=(SAWYER, "other"))
    assert choose_dataset(several, "ckpt", None, HERE) == "b"


def test_what_cannot_be_told_apart_must_be_named():
    several = provenance(b=(SAWYER, ""), a=(SAWYER, ""), c=(PANDA, ""))
    with pytest.raises(
        ValueError, match=r"^ckpt: .* several datasets; say which with dataset_name=NAME: \['a', 'b'\]$"
    ):
        choose_dataset(several, "ckpt", None, HERE)
    assert choose_dataset(several, "ckpt", "b", HERE) == "b"
    with pytest.raises(ValueError, match=r"did not learn from a dataset 'z'; choose from \['a', 'b', 'c'\]"):
        choose_dataset(several, "ckpt", "z", HERE)


def test_a_simulator_of_another_body_is_refused():
    with pytest.raises(ValueError, match=r"\{'b': \(9, 7\)\}, but Meta-World's has \(4, 4\); give a checkpoint"):
        choose_dataset(provenance(b=(PANDA, "")), "ckpt", None, HERE)


def test_a_policy_of_one_dataset_has_no_choice():
    assert choose_dataset({"dataset": "a"}, "ckpt", None, HERE) is None
    with pytest.raises(ValueError, match="learned from one dataset; leave out dataset_name='a'"):
        choose_dataset({"dataset": "a"}, "ckpt", "a")
