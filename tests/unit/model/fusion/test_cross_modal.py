import pytest
import torch

from tempovla.model.fusion.cross_modal import CrossModalFusion
from tempovla.model.fusion.hierarchical import HierarchicalFusion

KINDS = [CrossModalFusion, HierarchicalFusion]


def tokens() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    lengths = {"vision": 5, "lidar": 4, "radar": 3}
    return {
        name: torch.randn(2, length, 16, generator=generator, dtype=torch.float64) for name, length in lengths.items()
    }


def built(kind, **options):
    torch.manual_seed(0)
    return kind(16, num_heads=4, **options).double()


def test_token_sets_come_by_place_by_name_or_in_a_dict():
    fusion, sets = built(CrossModalFusion), tokens()
    fused = fusion(sets["vision"], sets["lidar"], sets["radar"])
    assert {name: tuple(each.shape) for name, each in fused.tokens.items()} == {
        "vision": (2, 5, 16),
        "lidar": (2, 4, 16),
        "radar": (2, 3, 16),
    }
    assert fused.pooled.shape == (2, 16)
    for other in (fusion(**sets), fusion(sets), fusion(sets["vision"], lidar=sets["lidar"], radar=sets["radar"])):
        assert torch.equal(other.pooled, fused.pooled)
    whole, mask = fused.flat()
    assert whole.shape == (2, 12, 16)
    assert mask.all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["vision", "lidar", "radar"])
def test_every_modality_knows_of_every_other(kind, name):
    fusion, sets = built(kind), tokens()
    before = fusion(sets)
    after = fusion(sets | {name: sets[name] + torch.arange(16.0)})
    assert all((before.tokens[each] - after.tokens[each]).abs().max() > 1e-6 for each in before.tokens)
    assert (before.pooled - after.pooled).abs().max() > 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_an_absent_modality_is_one_without_valid_tokens(kind):
    fusion, sets = built(kind), tokens()
    expected = fusion(vision=sets["vision"], lidar=sets["lidar"], radar=None)
    found = fusion(
        sets | {"radar": torch.full_like(sets["radar"], torch.nan)},
        valid={"radar": torch.zeros(2, 3, dtype=torch.bool)},
    )
    assert torch.allclose(found.pooled, expected.pooled, rtol=0, atol=1e-12)
    assert torch.allclose(found.tokens["vision"], expected.tokens["vision"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_what_invalid_tokens_hold_changes_nothing(kind):
    fusion, sets = built(kind), tokens()
    valid = {
        name: torch.rand(each.shape[:2], generator=torch.Generator().manual_seed(1)) > 0.4
        for name, each in sets.items()
    }
    expected = fusion(sets, valid=valid)
    hidden = {name: each.where(valid[name][..., None], torch.nan) for name, each in sets.items()}
    found = fusion(hidden, valid=valid)
    assert torch.equal(found.pooled, expected.pooled)
    for name, each in found.tokens.items():
        assert torch.equal(each, expected.tokens[name])
        assert not each[~found.valid[name]].any()


@pytest.mark.parametrize("kind", KINDS)
def test_rows_without_any_modality_give_zeros_and_finite_gradients(kind):
    fusion, sets = built(kind), tokens()
    valid = {name: torch.tensor([[True] * each.shape[1], [False] * each.shape[1]]) for name, each in sets.items()}
    fused = fusion(sets, valid=valid)
    assert not fused.pooled[1].any()
    assert fused.pooled[0].any()
    fused.pooled.square().sum().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in fusion.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_without_tokens_is_an_absent_modality(kind):
    fusion, sets = built(kind), tokens()
    expected = fusion(vision=sets["vision"], lidar=sets["lidar"])
    found = fusion(sets | {"radar": sets["radar"][:, :0]})
    assert torch.allclose(found.pooled, expected.pooled, rtol=0, atol=1e-12)
    found = fusion(vision=sets["vision"], lidar=sets["lidar"][:, :0])
    assert torch.allclose(found.pooled, fusion(vision=sets["vision"]).pooled, rtol=0, atol=1e-12)
    found.pooled.sum().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in fusion.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_one_modality_alone_is_enough(kind):
    assert built(kind)(lidar=tokens()["lidar"]).pooled.any()


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_of_modalities_follows_from_the_seeds_and_happens_in_training_alone(kind):
    fusion, sets = (
        built(kind, modality_dropout=0.6),
        {name: each[:1].expand(40, -1, -1) for name, each in tokens().items()},
    )
    seed = torch.arange(40)
    at_once, again = fusion(sets, seed=seed).pooled, fusion({n: e[30:] for n, e in sets.items()}, seed=seed[30:]).pooled
    assert torch.allclose(at_once[30:], again, rtol=0, atol=1e-12)
    kinds = len({tuple(row.tolist()) for row in at_once.mul(1e6).round()})
    assert kinds == 7  # all sets of three modalities but the empty one
    calm = fusion.eval()(sets).pooled
    assert torch.allclose(calm, calm[:1].expand_as(calm), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="needs `seed`"):
        fusion.train()(sets)


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_token_sets_are_refused(kind):
    fusion, sets = built(kind), tokens()
    with pytest.raises(ValueError, match="'sonar' is unknown"):
        fusion(sets | {"sonar": sets["radar"]})
    with pytest.raises(ValueError, match="no modality is given"):
        fusion(vision=None)
    with pytest.raises(ValueError, match="4 token sets"):
        fusion(*sets.values(), sets["radar"])
    with pytest.raises(ValueError, match=r"valid \(2, 9\)"):
        fusion(sets, valid={"lidar": torch.ones(2, 9, dtype=torch.bool)})
    with pytest.raises(ValueError, match=r"radar tokens are 3 numbers wide.*nn\.Linear\(3, "):
        fusion(sets | {"radar": sets["radar"][..., :3]})
    with pytest.raises(ValueError, match="valid names 'sonar'"):
        fusion(sets, valid={"sonar": torch.ones(2, 9, dtype=torch.bool)})
    with pytest.raises(ValueError, match=r"modality_dropout=1\.0"):
        built(kind, modality_dropout=1.0)
