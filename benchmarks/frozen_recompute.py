"""What a frozen language model keeps for the backward pass, with its activations kept and computed again.

python benchmarks/frozen_recompute.py
"""

from __future__ import annotations

import sys
import time

import torch
import transformers

from tempovla.model.vlm import LLMBackbone

ROWS, WORDS, VISION_TOKENS = 8, 40, 64
ARCHITECTURE = {
    "model_type": "qwen2",
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 512,
    "max_position_embeddings": 512,
}


def main() -> None:
    """Print both."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = LLMBackbone(freeze=True, architecture=ARCHITECTURE)
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    ids = torch.zeros(ROWS, WORDS, dtype=torch.int64)
    words = torch.ones_like(ids, dtype=torch.bool)
    vision = torch.randn(ROWS, VISION_TOKENS, model.hidden_dim, requires_grad=True)
    gradients = []
    for on in (False, True):
        kept: dict[int, int] = {}

        def pack(tensor: torch.Tensor, kept: dict[int, int] = kept) -> torch.Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        model.recompute_activations(on)
        model.train()
        vision.grad = None
        started_s = time.process_time()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            hidden = model(ids, words, vision).hidden
        hidden.square().sum().backward()
        spent_s = time.process_time() - started_s
        assert vision.grad is not None
        gradients.append(vision.grad.clone())
        megabytes = sum(size for place, size in kept.items() if place not in weights) / 1e6
        sys.stdout.write(f"recomputed {on!s:5}: {megabytes:6.1f} MB kept, {spent_s:.2f} s of CPU time\n")
    same = torch.equal(*gradients)
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    sys.stdout.write(f"gradients identical: {same}; {versions}\n")


if __name__ == "__main__":
    main()
