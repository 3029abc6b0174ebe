import pytest
import torch

from tempovla.model.sensor.camera_backbone import CameraBackbone


def backbone() -> CameraBackbone:
    torch.manual_seed(0)
    return CameraBackbone(16, stem_dim=4, deep_dim=8)


def test_features_keep_the_aspect_ratio_at_an_eighth_of_the_size():
    net = backbone()
    assert net(torch.rand(2, 3, 3, 32, 56)).shape == (2, 3, 16, 4, 7)
    assert net(torch.rand(1, 1, 3, 33, 57)).shape == (1, 1, 16, 5, 8)


def test_a_broken_camera_gives_zeros_and_disturbs_no_other():
    net, images = backbone(), torch.rand(2, 3, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    valid = torch.tensor([[True, False, True], [True, True, True]])
    expected = net(images, valid)
    assert not expected[0, 1].any()
    assert torch.allclose(expected[1], net(images[1:])[0], atol=1e-5)
    hidden = images.where(valid[..., None, None, None], torch.nan)
    assert torch.equal(net(hidden, valid), expected)


def test_a_feature_lies_in_the_middle_of_the_pixels_that_change_it_most():
    net = backbone()
    with torch.no_grad():
        for weight in net.parameters():
            weight.abs_()  # all pixels pull the same way, so that what is seen far away tells nothing
    images = torch.full((1, 1, 3, 64, 64), 0.5, requires_grad=True)
    net.fine(images[0])[0, :, 4, 4].sum().backward()
    weights = images.grad[0, 0].abs().sum(dim=0)
    near = weights[20:52, 20:52]
    rows = torch.arange(20, 52) + 0.5
    middle = (near.sum(dim=1) @ rows / near.sum(), near.sum(dim=0) @ rows / near.sum())
    assert middle[0] == pytest.approx(36.0, abs=0.6)
    assert middle[1] == pytest.approx(36.0, abs=0.6)


def test_other_pictures_are_refused():
    with pytest.raises(ValueError, match=r"torch.uint8"):
        backbone()(torch.zeros(1, 1, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"\(1, 3, 32, 32\)"):
        backbone()(torch.zeros(1, 3, 32, 32))
