"""Learning to answer about pictures: which weights learn, and from what."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.metric_values import metric
from tests.tiny_models import language_architecture, pictures

from tempovla.model.vlm.caption_model import CaptionModel
from tempovla.model.vlm.language_model import LLMBackboneConfig
from tempovla.model.vlm.vision_encoder import VisionEncoderConfig
from tempovla.model.vlm.vlm_model import VLMConfig
from tempovla.objective import Objective
from tempovla.timeline import Context, Task, TimelineSample, Track
from tempovla.timeline.bodies import NO_BODY
from tempovla.timeline.keys import CUT_KEY, LEARNED_KEY, PICTURE_KEY, TEXT_KEY

CONFIG = VLMConfig(
    VisionEncoderConfig("conv", image_size=16, patch_size=8, output_dim=8),
    LLMBackboneConfig(architecture=language_architecture(tie_word_embeddings=False)),
)
IDS = torch.tensor([[5, 6, 7, 8, 9, 3], [5, 9, 4, -1, -1, -1], [5, 6, 11, 3, 12, -1]])
LEARNED = torch.tensor([[0, 0, 0, 1, 1, 1], [0, 0, 1, 0, 0, 0], [0, 0, 1, 0, 1, 0]]).bool()
SEEN = torch.tensor([True, False, True])


def sample(ids=IDS, learned=LEARNED, seen=SEEN, images=None) -> TimelineSample:
    rows = len(ids)
    images = pictures(rows, 1, 3, 16, 16) if images is None else images
    now = {PICTURE_KEY: Track.of(images, (0,), seen[:, None]), TEXT_KEY: Track.of(ids[:, None], (0,))}
    future = {LEARNED_KEY: Track.of(learned[:, None], (0,)), CUT_KEY: Track.of((ids[:, -1:] == 3), (0,))}
    context = Context({}, now, (Task("", NO_BODY),) * rows, torch.ones(rows).bool())
    return TimelineSample(context, future, torch.arange(rows))


def model(*learns, config: VLMConfig = CONFIG) -> CaptionModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CaptionModel(config, learns or ("projector", "language"))


def test_the_loss_is_that_of_a_language_model_with_labels():
    """transformers' own loss, for each row by itself, without padding."""
    caption = model().eval()
    language = caption.vlm.language
    losses = []
    batch = sample()
    for row in range(len(IDS)):
        length = int((IDS[row] >= 0).sum())
        ids, learned = IDS[row, :length], LEARNED[row, :length]
        embedded = language.decoder.get_input_embeddings()(ids)[None]
        if SEEN[row]:
            prefix = caption.vlm.prefix(batch.context.now[PICTURE_KEY].value[row, None, 0])[0]
            embedded = torch.cat([prefix, embedded], dim=1)
        hidden = language.decoder(inputs_embeds=embedded, use_cache=False).last_hidden_state[0, -length:]
        logits = language.lm_head(hidden)
        losses += [
            torch.nn.functional.cross_entropy(logits[place - 1], ids[place])
            for place in range(length)
            if learned[place]
        ]
    report = Objective()(caption(batch))
    assert len(losses) == 6
    torch.testing.assert_close(report.total, torch.stack(losses).mean(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(report.terms["caption_loss"], report.total)


def test_accuracy_and_cut_texts_are_counted_and_not_trained_on():
    caption = model().eval()
    batch = sample()
    logits, tokens, rows = caption.predict(batch)
    assert tokens.tolist() == [8, 9, 3, 4, 11, 12]
    assert rows.tolist() == [0, 0, 0, 1, 2, 2]
    with torch.no_grad():  # make the fourth and fifth right
        caption.vlm.language.lm_head.weight.zero_()
        hidden = caption.vlm.lm_hidden(pictures(3, 1, 3, 16, 16), IDS, IDS >= 0, image_mask=SEEN[:, None])
        caption.vlm.language.lm_head.weight[4] = hidden[1, 1]
    report = Objective()(caption(batch))
    assert logits.shape == (6, 60)
    assert metric(report, "token_accuracy") == pytest.approx(
        float((caption.predict(batch)[0].argmax(-1) == tokens).float().mean())
    )
    assert metric(report, "token_accuracy") > 0
    assert metric(report, "texts_cut") == pytest.approx(1 / 3)
    torch.testing.assert_close(report.total.detach(), report.terms["caption_loss"])


def test_what_is_not_valid_and_questions_that_follow_change_nothing():
    caption = model().eval()
    terms = Objective()(caption(sample())).terms
    ids, images = IDS.clone(), pictures(3, 1, 3, 16, 16).clone()
    images[1] = 255 - images[1]
    changed = sample(
        torch.cat([ids, torch.full((3, 4), -1)], 1), torch.cat([LEARNED, LEARNED[:, :4]], 1), images=images
    )
    for name, value in Objective()(caption(changed)).terms.items():
        if name != "texts_cut":
            torch.testing.assert_close(value, terms[name], rtol=1e-5, atol=1e-6)


def steps(caption: CaptionModel, count: int = 3) -> set[str]:
    """Names of the weights that these steps change in any bit."""
    before = {name: value.clone() for name, value in caption.state_dict().items()}
    learning = [weight for weight in caption.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-2, weight_decay=0.0)
    for _ in range(count):
        optimizer.zero_grad()
        Objective()(caption(sample())).total.backward()
        optimizer.step()
    return {name for name, value in caption.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize(
    "learns",
    [("projector",), ("projector", "language"), ("projector", "language", "vision")],
    ids=["projector", "language", "vision"],
)
def test_only_what_is_to_learn_changes(learns):
    caption = model(*learns)
    names = {name for name in caption.state_dict() if name.split(".")[1] in learns}
    assert steps(caption) == names - {"vlm.projector.null"}  # which stands for what is not looked at
    others = [weight for name, weight in caption.named_parameters() if name not in names]
    assert not any(weight.requires_grad for weight in others)
    assert all(weight.grad is None for weight in others)


def test_a_frozen_part_is_in_evaluation_mode_and_stays_so():
    caption = model("projector").train()
    assert not any(module.training for module in caption.vlm.language.modules())
    assert not any(module.training for module in caption.vlm.vision.modules())
    assert caption.vlm.projector.training


def test_a_perceiver_learns_from_rows_without_a_picture_too():
    config = replace(CONFIG, projector="perceiver", projector_options={"num_latents": 2, "num_heads": 2})
    assert "vlm.projector.null" in steps(model("projector", config=config))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (replace(CONFIG, num_cameras=2), "num_cameras=2: a conversation has one picture; set it to 1"),
        (replace(CONFIG, language=replace(CONFIG.language, layer=1)), "language.layer=1: words are .*; set it to -1"),
    ],
)
def test_what_does_not_go_with_conversations_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        CaptionModel(config, ("projector",))
