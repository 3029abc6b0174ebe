"""Open-loop figures of a car's trajectories: what a policy would have driven, against what was recorded."""
