"""Image tokenizers: one token a patch, row by row, and sizes that must divide."""

import pytest
import torch

from tempovla.model.vlm.image_tokenizer import IMAGE_TOKENIZER_REGISTRY, scale_pixels

KINDS = sorted(IMAGE_TOKENIZER_REGISTRY)


def random_pictures(count: int, size: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_pixels_span_minus_one_to_one():
    scaled = scale_pixels(torch.tensor([0, 255], dtype=torch.uint8))
    torch.testing.assert_close(scaled, torch.tensor([-1.0, 1.0]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("size", "patch"), [(16, 8), (32, 8), (64, 16), (64, 32)])
def test_there_is_one_token_a_patch(kind, size, patch):
    tokenizer = IMAGE_TOKENIZER_REGISTRY[kind](size, patch, 12)
    assert tokenizer.num_tokens == (size // patch) ** 2
    assert tokenizer(random_pictures(3, size)).shape == (3, tokenizer.num_tokens, 12)


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_run_row_by_row_from_the_top_left(kind):
    """A change in the middle of one patch moves its token, and at most those that touch it."""
    torch.manual_seed(0)
    tokenizer = IMAGE_TOKENIZER_REGISTRY[kind](64, 16, 12)
    pictures = random_pictures(1, 64)
    for row, column in ((0, 0), (0, 3), (2, 1), (3, 3)):
        changed = pictures.clone()
        changed[..., 16 * row + 4 : 16 * row + 12, 16 * column + 4 : 16 * column + 12] = 255
        moved = (tokenizer(changed) - tokenizer(pictures)).abs().sum(dim=2)[0]
        reached = {divmod(index, 4) for index in moved.nonzero().flatten().tolist()}
        assert (row, column) in reached
        assert all(abs(other_row - row) <= 1 and abs(other - column) <= 1 for other_row, other in reached)


def test_patches_do_not_see_their_neighbours():
    torch.manual_seed(0)
    tokenizer = IMAGE_TOKENIZER_REGISTRY["patch"](32, 16, 12)
    pictures = random_pictures(1, 32)
    changed = pictures.clone()
    changed[..., :16, :16] = 0
    moved = (tokenizer(changed) - tokenizer(pictures)).abs().sum(dim=2)[0]
    assert moved[0] > 0
    assert moved[1:].max() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_patches_must_divide_the_picture(kind):
    with pytest.raises(ValueError, match="image_size=60"):
        IMAGE_TOKENIZER_REGISTRY[kind](60, 16, 12)


@pytest.mark.parametrize("patch", [4, 12])
def test_the_stack_of_convolutions_has_a_power_of_two_from_eight_on_as_its_stride(patch):
    with pytest.raises(ValueError, match=f"patch_size={patch} must be 8, 16, 32"):
        IMAGE_TOKENIZER_REGISTRY["conv"](96, patch, 12)
