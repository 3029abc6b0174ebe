"""The sequence of tokens: its order and its size, as a causal encoder sees it."""

import pytest
import torch

from tempovla.model.fusion.state_encoder import AllTokensReadout, ClsReadout, StateEncoder
from tempovla.model.fusion.tokenizer import MultiModalTokenizer
from tempovla.model.layers.sequence import sequence_encoder

SIZES = {"image_size": 16, "patch_size": 8, "embed_dim": 8, "lang_emb_dim": 5, "robot_state_dim": 3}
PATCHES = 4
"""Tokens of one picture."""
POSITION = {"language": 0, "robot_state": 1, "camera 1": 2, "camera 2": 2 + PATCHES, "cls": 2 + 2 * PATCHES}


@pytest.fixture
def tokenizer():
    torch.manual_seed(0)
    return MultiModalTokenizer(num_cameras=2, image_tokenizer="patch", **SIZES)


def observation() -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    pictures = torch.randint(0, 200, (2, 3, 3, 16, 16), dtype=torch.uint8, generator=random)
    return {
        "language": torch.randn(3, 5, generator=random),
        "robot_state": torch.randn(3, 3, generator=random),
        "camera 1": pictures[0],
        "camera 2": pictures[1],
    }


def tokens(tokenizer: MultiModalTokenizer, parts: dict[str, torch.Tensor]) -> torch.Tensor:
    return tokenizer(parts["language"], parts["robot_state"], [parts["camera 1"], parts["camera 2"]])


def changed(parts: dict[str, torch.Tensor], part: str) -> dict[str, torch.Tensor]:
    return {**parts, part: parts[part] + torch.ones((), dtype=parts[part].dtype)}


def test_the_reference_sizes_give_395_tokens():
    sizes = SIZES | {"image_size": 224, "patch_size": 16}
    assert MultiModalTokenizer(num_cameras=2, image_tokenizer="patch", **sizes).num_tokens == 1 + 1 + 196 + 196 + 1


@pytest.mark.parametrize("part", ["language", "robot_state", "camera 1", "camera 2"])
def test_every_part_has_its_own_tokens_in_its_own_place(tokenizer, part):
    before, after = tokens(tokenizer, observation()), tokens(tokenizer, changed(observation(), part))
    assert before.shape == (3, tokenizer.num_tokens, 8) == (3, 3 + 2 * PATCHES, 8)
    moved = (after - before).abs().amax(dim=(0, 2)) > 0
    width = PATCHES if part.startswith("camera") else 1
    assert moved.nonzero().flatten().tolist() == list(range(POSITION[part], POSITION[part] + width))


def test_the_last_token_is_cls_alike_for_all_rows(tokenizer):
    last = tokens(tokenizer, observation())[:, POSITION["cls"]]
    torch.testing.assert_close(last, tokenizer.cls.expand(3, -1))


@pytest.mark.parametrize("part", ["language", "robot_state", "camera 1", "camera 2"])
def test_a_causal_encoder_reads_the_instruction_first_and_cls_sees_it_all(tokenizer, part):
    """What comes before the changed part stays as it was; all that follows it, CLS included, knows."""
    torch.manual_seed(0)
    encoder = sequence_encoder("mamba", dim=8, depth=1, max_length=20, num_heads=2, d_state=4, d_conv=4, expand=2)
    before = encoder(tokens(tokenizer, observation()))
    after = encoder(tokens(tokenizer, changed(observation(), part)))
    moved = ((after - before).abs().amax(dim=(0, 2)) > 0).tolist()
    start = POSITION[part]
    assert moved == [False] * start + [True] * (len(moved) - start)


def test_the_same_picture_differs_from_camera_to_camera(tokenizer):
    parts = observation()
    parts["camera 2"] = parts["camera 1"]
    sequence = tokens(tokenizer, parts)
    first, second = (sequence[:, POSITION[name] :][:, :PATCHES] for name in ("camera 1", "camera 2"))
    torch.testing.assert_close(second - first, (tokenizer.camera[1] - tokenizer.camera[0]).expand_as(first))


def test_rows_of_a_batch_keep_to_themselves(tokenizer):
    parts = observation()
    alone = tokens(tokenizer, {name: value[1:2] for name, value in parts.items()})
    torch.testing.assert_close(tokens(tokenizer, parts)[1:2], alone)


@pytest.mark.parametrize("shared", [("camera 1", "camera 2"), ("camera 2",)])
def test_a_picture_that_all_rows_share_gives_what_copies_of_it_give(tokenizer, shared):
    parts = observation()
    expanded = {name: parts[name][:1].expand(3, -1, -1, -1) for name in shared}
    copies = {name: picture.contiguous() for name, picture in expanded.items()}
    torch.testing.assert_close(tokens(tokenizer, parts | expanded), tokens(tokenizer, parts | copies))


def test_unknown_tokenizers_are_refused():
    with pytest.raises(
        ValueError, match=r"image_tokenizer='vit' is unknown; choose from \['patch', 'conv', 'pretrained'\]"
    ):
        MultiModalTokenizer(num_cameras=1, image_tokenizer="vit", **SIZES)


def test_the_cls_readout_reads_the_last_token_only_and_the_other_all(tokenizer):
    length = tokenizer.num_tokens
    sequence = torch.randn(2, length, 8, generator=torch.Generator().manual_seed(0))
    for readout, wanted in ((ClsReadout(8, 6), [length - 1]), (AllTokensReadout(8, 6, length), list(range(length)))):
        before, seen = readout(sequence), []
        assert before.shape == (2, 6)
        for index in range(length):
            other = sequence.clone()
            other[:, index] += 1.0
            if not torch.equal(readout(other), before):
                seen.append(index)
        assert seen == wanted


def test_a_state_encoder_is_tokenizer_encoder_and_readout_in_turn(tokenizer):
    readout = ClsReadout(8, 6)
    parts = observation()
    z = StateEncoder(tokenizer, torch.nn.Identity(), readout)(
        parts["language"], parts["robot_state"], [parts["camera 1"], parts["camera 2"]]
    )
    torch.testing.assert_close(z, readout(tokens(tokenizer, parts)))
