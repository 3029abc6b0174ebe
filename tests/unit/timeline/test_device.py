"""Which device is taken, and what is refused."""

from __future__ import annotations

import pytest
import torch

from tempovla.timeline.device import choose_device, on_device


@pytest.fixture
def cuda(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.fixture
def no_cuda(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("cuda")
def test_cuda_is_taken_where_there_is_one_unless_somebody_says_otherwise():
    assert choose_device() == "cuda"
    assert choose_device("cpu") == "cpu"
    assert choose_device("cuda:1") == "cuda:1"


@pytest.mark.usefixtures("no_cuda")
def test_cuda_is_refused_where_there_is_none():
    assert choose_device() == "cpu"
    for device in ("cuda", "cuda:1"):
        with pytest.raises(
            ValueError, match=f"device {device}: torch sees no CUDA device on this machine; leave it out"
        ):
            choose_device(device)
    with pytest.raises(ValueError, match="torch sees no CUDA device"), on_device("cuda"):
        pass


@pytest.mark.usefixtures("cuda")
def test_a_block_has_a_default_of_its_own_which_ends_with_it():
    with on_device("cpu"):
        assert choose_device() == "cpu"
        assert choose_device("cuda") == "cuda"
        with on_device(None):
            assert choose_device() == "cpu"
    assert choose_device() == "cuda"
    with pytest.raises(KeyError), on_device("cpu"):
        raise KeyError
    assert choose_device() == "cuda"
