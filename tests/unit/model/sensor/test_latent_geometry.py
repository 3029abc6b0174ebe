import pytest
import torch
from tests.geometry_doubles import SeededConvEncoder
from tests.tiny_models import save_vision

from tempovla.model.sensor.config import LatentGeometryConfig
from tempovla.model.sensor.latent_geometry import LatentGeometry
from tempovla.model.vlm.config import VisionEncoderConfig
from tempovla.model.vlm.vision_encoder import ENCODER_REGISTRY, VisionEncoder


def test_features_are_the_tokens_of_an_encoder_of_your_own(monkeypatch):
    monkeypatch.setitem(ENCODER_REGISTRY, "seeded_conv", SeededConvEncoder)
    model = LatentGeometry(LatentGeometryConfig(vision=VisionEncoderConfig("seeded_conv", image_size=28, freeze=False)))
    images = torch.rand(2, 2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    out = model.encode(images, torch.ones(2, 2, dtype=torch.bool))
    expected = SeededConvEncoder(None)(2 * images.flatten(0, 1) - 1)
    assert torch.allclose(out.features.flatten(0, 1), expected, atol=1e-6)
    assert (out.frame, out.scale, out.points, out.depth) == ("none", "none", None, None)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_features_are_those_of_a_pretrained_model_in_a_folder(tmp_path):
    folder = save_vision(tmp_path / "dino", "dinov2")
    model = LatentGeometry(LatentGeometryConfig(vision=VisionEncoderConfig(folder)))
    images = torch.rand(1, 2, 3, 40, 32, generator=torch.Generator().manual_seed(0))
    out = model.encode(images, torch.tensor([[True, False]]))
    assert out.features.shape == (1, 2, 9, 16)
    expected = VisionEncoder(folder)(images[:, 0])[0]  # of one picture alone, so its products may round otherwise
    torch.testing.assert_close(out.features[0, 0], expected, rtol=1e-4, atol=1e-5)
    assert not out.features[0, 1].any()
    assert not any(weight.requires_grad for weight in model.parameters())
