"""`tempovla train instruct`."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from tempovla.cli.command import Outcome
from tempovla.cli.train_vlm import build_vlm_parser, run_stage

EXAMPLES = """
tempovla train instruct --config configs/vlm_siglip_qwen2.yaml --dataset questions.jsonl --image-root images \\
    --pretrained-vlm outputs/align/checkpoint_latest --output-dir outputs/instruct --training.learning_rate 2e-5
tempovla train instruct --config configs/vlm_siglip_qwen2.yaml --dataset questions.jsonl --image-root images \\
    --pretrained-vlm outputs/align/checkpoint_latest --output-dir outputs/instruct_lora --model.lora.r 64
tempovla train instruct --config configs/vlm_align_tiny.yaml --dataset captions.jsonl --learn_vision true \\
    --output-dir outputs/instruct_tiny
"""


def build(name: str, summary: str) -> ArgumentParser:
    """The parser."""
    return build_vlm_parser("instruct", name, summary, EXAMPLES)


def run(args: Namespace) -> Outcome:
    """Train projector and language model."""
    return run_stage("instruct", args)
