"""A vision-language model that learns to answer about pictures, before any robot (LLaVA; Liu et al., 2023)."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Literal

from torch import Tensor, nn

from tempovla.model.layers.stacks import outermost_layers
from tempovla.model.vlm.vlm_model import VLMConfig, VLMModel
from tempovla.timeline import LossTerm, LossTerms, Metric, TimelineSample, Window
from tempovla.timeline.keys import CUT_KEY, LEARNED_KEY, PICTURE_KEY, TEXT_KEY

VLMPart = Literal["vision", "projector", "language"]


class CaptionModel(nn.Module):
    """Predicts every token of the answers from the picture and the text before it.

    `training.fit.fit` trains it; it cannot act. Its purpose are the weights of `vlm`'s parts.

    Args:
        config: the model; how it is read for acting plays no part here.
        learns: its parts that learn, as far as their own configs let them; the others stay as they are, in evaluation
            mode.

    Attributes:
        vlm: the vision-language model, with the head that predicts words.

    Raises:
        ValueError: if a part does not load, or the config has more than one camera or an inner layer.
    """

    def __init__(self, config: VLMConfig, learns: Collection[VLMPart]) -> None:
        super().__init__()
        if config.num_cameras != 1:
            raise ValueError(f"num_cameras={config.num_cameras}: a conversation has one picture; set it to 1")
        if config.language.layer != -1:
            raise ValueError(f"language.layer={config.language.layer}: words are predicted from the last; set it to -1")
        language = dataclasses.replace(config.language, lm_head=True)
        self.vlm = VLMModel(dataclasses.replace(config, language=language, readout="last", readout_dim=None))
        self.frozen = tuple(name for name, _ in self.vlm.named_children() if name not in learns)
        learning = {id(weight) for part in learns for weight in self.vlm.get_submodule(part).parameters()}
        for weight in self.vlm.parameters():
            weight.requires_grad_(weight.requires_grad and id(weight) in learning)
        self.train()

    def train(self, mode: bool = True) -> CaptionModel:
        """Parts that do not learn stay in evaluation mode."""
        super().train(mode)
        for name in self.frozen:
            self.vlm.get_submodule(name).eval()
        return self

    def windows(self) -> tuple[Window, ...]:
        """None: no stream of a robot is read."""
        return ()

    def shard_units(self) -> list[nn.Module]:
        """Return the blocks of vision, projector and language model, whose weights FSDP puts together one at a time."""
        parts = (self.vlm.vision, self.vlm.projector, self.vlm.language)
        return [layer for part in parts for layer in outermost_layers(part)]

    def predict(self, sample: TimelineSample) -> tuple[Tensor, Tensor, Tensor]:
        """Return predictions for every token to learn, row by row.

        Args:
            sample: a batch of `data.conversation_loader`.

        Returns:
            logits (N, vocab_size), the tokens (N,) int64, and which row of the batch each is of (N,) int64.
        """
        now = sample.context.now
        pictures, seen = now[PICTURE_KEY].at(0)
        ids, told = now[TEXT_KEY].at(0)
        learned, known = sample.future[LEARNED_KEY].at(0)
        words = told[:, None] & (ids >= 0)
        hidden = self.vlm.lm_hidden(pictures[:, None], ids, words, image_mask=seen[:, None])
        asked = (learned & known[:, None] & words)[:, 1:]  # the token at i + 1 is predicted at i
        return self.vlm.language.logits(hidden[:, :-1][asked]), ids[:, 1:][asked], asked.nonzero()[:, 0]

    def forward(self, sample: TimelineSample) -> LossTerms:
        """`caption_loss`, the cross entropy a token; and for the log `token_accuracy` and the share of `texts_cut`.

        Predictions are gathered from where there is something to predict, so all of the terms' entries are valid.
        """
        logits, tokens, _ = self.predict(sample)
        valid = tokens.new_ones(tokens.shape).bool()
        hits = (logits.detach().argmax(dim=-1) == tokens).float()
        cut, known = sample.future[CUT_KEY].at(0)
        return {
            "caption_loss": LossTerm(logits, tokens, valid, kind="cross_entropy"),
            "token_accuracy": Metric(hits, None, valid),
            "texts_cut": Metric(cut.float(), None, known),
        }

    def after_step(self, train_step: int) -> None:
        """Nothing moves between steps."""
