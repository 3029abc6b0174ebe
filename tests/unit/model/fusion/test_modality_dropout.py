import torch

from tempovla.model.fusion.modality_dropout import keep_modalities


def test_each_modality_is_dropped_as_often_as_asked_for():
    kept = keep_modalities(torch.ones(20_000, 3, dtype=torch.bool), 0.3, torch.arange(20_000))
    alone = 0.3**3 / 3  # of the rows in which all would be dropped, a third keeps this one
    assert ((~kept).double().mean(dim=0) - (0.3 - alone)).abs().max() < 0.015


def test_one_of_the_present_modalities_is_always_left_and_absent_ones_stay_absent():
    present = torch.tensor([[True, True, False], [False, True, False], [False, False, False]]).repeat(500, 1)
    kept = keep_modalities(present, 0.9, torch.arange(1500))
    assert not (kept & ~present).any()
    assert (kept.any(dim=1) == present.any(dim=1)).all()
    assert (kept[0::3].sum(dim=1) == 1).float().mean() > 0.9
    assert 0.3 < kept[0::3, 0].float().mean() < 0.7


def test_a_row_is_decided_by_its_own_seed():
    present, seed = torch.ones(50, 4, dtype=torch.bool), torch.arange(50)
    kept = keep_modalities(present, 0.5, seed)
    assert torch.equal(keep_modalities(present[7:9], 0.5, seed[7:9]), kept[7:9])
    assert len(kept.unique(dim=0)) > 5
