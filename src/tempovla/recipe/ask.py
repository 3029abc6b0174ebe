"""Questions to a vision-language model that was trained by `tempovla train align` or `instruct`, and its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tempovla.data.conversations import Question
from tempovla.data.errors import DatasetError
from tempovla.data.image_codec import MOST_PICTURE_BYTES, decode_any_image
from tempovla.model.vla.registry import VLM
from tempovla.model.vla.weights import WeightsFollow, load_weights
from tempovla.model.vlm.caption_model import CaptionModel
from tempovla.model.vlm.greedy import greedy_answer
from tempovla.recipe.systems.conversations import SquarePictures
from tempovla.recipe.systems.vlm_config import VLMTrainConfig
from tempovla.storage.json_files import read_bytes
from tempovla.storage.said_by import said_by
from tempovla.timeline import Bundle
from tempovla.timeline.assets import with_files
from tempovla.timeline.config import config_from_json
from tempovla.timeline.device import choose_device
from tempovla.timeline.hub import from_disk_alone
from tempovla.transform.chat import ChatTokenizer
from tempovla.transform.tokenizer import TransformersTokenizer

REMEDY = "copy the checkpoint again"


class Answerer:
    """A trained vision-language model with its tokenizer and its preprocessing of pictures.

    Args:
        checkpoint: folder that `tempovla train align` or `instruct` saved.
        device: `cpu` or `cuda`; None takes CUDA where there is one.

    Raises:
        ValueError: if it is no such checkpoint, it is damaged, or its words cannot be read back.
    """

    def __init__(self, checkpoint: str | Path, device: str | None = None) -> None:
        self.device = choose_device(device)
        bundle = Bundle.load(checkpoint)
        if bundle.policy != VLM:
            raise ValueError(
                f"{checkpoint}: is of policy {bundle.policy!r}, which acts and does not answer questions; give a "
                "checkpoint of `tempovla train instruct` or `align`"
            )
        with said_by(checkpoint, remedy=REMEDY):
            config = config_from_json(VLMTrainConfig, bundle.config, "config")
            with WeightsFollow(sum(weight.numel() for weight in bundle.weights.values())), from_disk_alone():
                self.model = CaptionModel(config.vlm, ()).eval()
            self.chat = ChatTokenizer.from_json(with_files(bundle.transform["chat"], bundle.assets))
            self.square = SquarePictures(bundle.transform["image_size"], bundle.transform["resize"])
        load_weights(self.model, bundle.weights, str(checkpoint))
        self.model.to(self.device)
        self._decode = self._decoder(bundle, str(checkpoint))

    def answer(self, question: Question, max_tokens: int = 64) -> str:
        """Return the most likely answer, word piece by word piece, of at most `max_tokens`.

        Raises:
            ValueError: if the picture is damaged, or the question too long for the model.
        """
        picture = None if question.image is None else self._picture(question.image, question.where)
        prompt, end = self.chat.prompt(question.turns)
        try:
            return self._decode(greedy_answer(self.model.vlm, prompt, picture, end, max_tokens))
        except ValueError as error:
            raise ValueError(f"{question.where}: {error}" if question.where else str(error)) from None

    def _picture(self, path: Path, where: str) -> Tensor:
        named = f"{where}: image {path}" if where else f"image {path}"
        encoded = read_bytes(path, remedy="give another file", error=DatasetError, most_bytes=MOST_PICTURE_BYTES)
        return torch.from_numpy(self.square(decode_any_image(encoded, named)))

    def _decoder(self, bundle: Bundle, where: str) -> Callable[[Sequence[int]], str]:
        """The decoder of ids: the tokenizer, or for hashed words the words of the learned answers."""
        tokenizer = self.chat.tokenizer
        if isinstance(tokenizer, TransformersTokenizer):
            return tokenizer.decode
        words = bundle.transform.get("words")
        if not words:
            raise ValueError(
                f"{where}: its tokenizer hashes words, and the checkpoint does not hold the words of its training, so "
                "its answers cannot be read; train it again"
            )
        by_id = {tokenizer.encode(word)[0]: word for word in words}
        return lambda ids: " ".join(by_id.get(number, "?") for number in ids)


def ask(
    checkpoint: str | Path, questions: Sequence[Question], *, max_tokens: int = 64, device: str | None = None
) -> Iterator[str]:
    """Yield the answer to each question; arguments and errors are those of `Answerer` and `Answerer.answer`."""
    if max_tokens < 1:
        raise ValueError(f"max_tokens={max_tokens} must be at least 1")
    answerer = Answerer(checkpoint, device)
    yield from (answerer.answer(question, max_tokens) for question in questions)
