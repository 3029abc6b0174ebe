"""Checks that a context holds the present observations that a policy reads."""

from __future__ import annotations

from collections.abc import Iterable

from tempovla.timeline.sample import Context


def has_now(context: Context, key: str) -> bool:
    """Return whether a stream is in `now` at offset 0."""
    return key in context.now and 0 in context.now[key].offset.tolist()


def check_now(context: Context, keys: Iterable[str]) -> None:
    """Refuse a context that lacks one of the streams now.

    Raises:
        ValueError: naming streams that are not given at all, or one that is given in another place.
    """
    wanted = list(keys)
    given = {*context.now, *context.past}
    if missing := [key for key in wanted if key not in given]:
        raise ValueError(missing_streams(missing, context))
    for key in wanted:
        if not has_now(context, key):
            parts = (("past", context.past), ("now", context.now))
            where = [f"in `{name}` at {part[key].offset.tolist()}" for name, part in parts if key in part]
            raise ValueError(
                f"the policy reads stream {key!r} in the context's `now` at offset 0, but is given it "
                f"{' and '.join(where)}; put it there"
            )


def missing_streams(missing: list[str], context: Context) -> str:
    """Return the message about streams that the context lacks."""
    given = sorted({*context.now, *context.past})
    return f"the policy needs streams {missing}, but is given {given}; add them, or choose cameras of these names"
