"""Answers of a vision-language model, word piece by word piece, the most likely one each time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tempovla.model.vlm.vlm_model import VLMModel


@torch.inference_mode()
def greedy_answer(
    vlm: VLMModel, prompt: Sequence[int], picture: Tensor | None, end: Sequence[int], max_tokens: int
) -> list[int]:
    """Return the ids of the answer, without those that end it.

    What the model has computed of earlier tokens is kept, so each token costs one step of the language model.

    Args:
        vlm: in evaluation mode, with the head that predicts words and of one camera.
        prompt: ids of the question.
        picture: (3, H, W) uint8, which stands before the text; None for a question without one.
        end: ids that end an answer; without any, the answer has `max_tokens`.
        max_tokens: at most so many ids are given, those of the end included.

    Raises:
        ValueError: if the prompt leaves no room for an answer in the language model.
    """
    language = vlm.language
    device = next(vlm.parameters()).device
    embed = language.decoder.get_input_embeddings()
    tokens = embed(torch.tensor([list(prompt)], device=device))
    if picture is not None:
        seen, _ = vlm.prefix(picture.to(device)[None])
        tokens = torch.cat([seen.to(tokens.dtype), tokens], dim=1)
    room = _room(vlm, tokens.shape[1], max_tokens)
    answer: list[int] = []
    new, kept = tokens, None
    while len(answer) < room:
        output = language.decoder(inputs_embeds=new, past_key_values=kept, use_cache=True)
        kept = getattr(output, "past_key_values", None)
        answer.append(int(language.logits(output.last_hidden_state[0, -1]).argmax()))
        if end and answer[-len(end) :] == list(end):
            return answer[: -len(end)]
        token = embed(torch.tensor([answer[-1:]], device=device))
        tokens = torch.cat([tokens, token], dim=1)
        new = tokens if kept is None else token
    return answer


def _room(vlm: VLMModel, taken: int, wanted: int) -> int:
    """How many tokens an answer may have.

    Raises:
        ValueError: if none.
    """
    longest = getattr(vlm.language.decoder.config, "max_position_embeddings", None)
    if longest is None:
        return wanted
    if taken >= longest:
        raise ValueError(
            f"the picture and the question have {taken} tokens, and the language model has room for {longest}; ask "
            "in fewer words"
        )
    return min(wanted, longest - taken)
