"""Why a policy does what it does: whether it uses its past."""
