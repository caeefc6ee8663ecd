"""Several mistakes in one exception: those that came up while the files were finished after another."""

from __future__ import annotations


def in_order(error: BaseException | None, kinds: tuple[type[Exception], ...]) -> list[Exception]:
    """The errors of these kinds in a chain, the first first, without what was only the cause of another's words."""
    found: list[Exception] = []
    causes: list[BaseException | None] = []
    while error is not None:
        if isinstance(error, kinds) and error not in causes:
            found.insert(0, error)
        causes.append(error.__cause__)
        error = error.__context__
    return found
