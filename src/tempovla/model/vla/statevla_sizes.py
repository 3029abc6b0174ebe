"""How many weights each part of StateVLA has, and how many of them learn."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from tempovla.model.vla.statevla import StateVLA


@dataclass(frozen=True)
class PartSize:
    """Weights of one part, and those of them that the phase at hand trains."""

    weights: int
    learning: int

    def __add__(self, other: PartSize) -> PartSize:
        return PartSize(self.weights + other.weights, self.learning + other.learning)


def part_sizes(policy: StateVLA) -> dict[str, PartSize]:
    """Return the size of every part, by name; the parts that a config leaves out are not listed. They add up to the
    whole.
    """
    encoder, tokenizer = policy.encoder, policy.encoder.tokenizer
    parts: dict[str, tuple[nn.Module | nn.Parameter | None, ...]] = {
        "image tokenizer, shared by the cameras": (tokenizer.image,),
        "language": (tokenizer.language,),
        "robot state": (tokenizer.robot_state,),
        "camera and CLS embeddings": (tokenizer.camera, tokenizer.cls),
        "sequence encoder": (encoder.encoder,),
        "read-out": (encoder.readout,),
        "temporal predictor": (policy.temporal_predictor,),
        "inverse dynamics, behaviour cloning": (policy.inverse_dynamics, policy.behavior_cloning),
        "flow-matching policy": (policy.flow_policy,),
        "gripper classifier": (policy.gripper,),
        "target encoder (EMA, no gradient)": (policy.target_encoder,),
    }
    sizes = {name: sum(map(_size, modules), PartSize(0, 0)) for name, modules in parts.items()}
    return {name: size for name, size in sizes.items() if size.weights}


def size_table(policy: StateVLA) -> str:
    """The sizes as lines of a table, with the sum of all and that without the target encoder, which is a copy."""
    sizes = part_sizes(policy)
    whole = sum(sizes.values(), PartSize(0, 0))
    copied = sizes["target encoder (EMA, no gradient)"].weights
    rows = {**sizes, "all": whole, "all but the target encoder": PartSize(whole.weights - copied, whole.learning)}
    width = max(map(len, rows))
    lines = [f"{name:<{width}}  {size.weights:>12,}  {size.learning:>12,}" for name, size in rows.items()]
    return "\n".join([f"{'part':<{width}}  {'weights':>12}  {'learning':>12}", *lines])


def _size(part: nn.Module | nn.Parameter | None) -> PartSize:
    if part is None:
        return PartSize(0, 0)
    weights = [part] if isinstance(part, nn.Parameter) else list(part.parameters())
    return PartSize(sum(w.numel() for w in weights), sum(w.numel() for w in weights if w.requires_grad))
