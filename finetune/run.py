"""`vlad finetune`: a recipe's name or file to what trains by it.

In: the command line behind `vlad finetune`. Out: an exit status. A recipe with a `head` trains a scorer, one with a `rank` an adapter, one with `cubes` descriptors
of video.
"""

from __future__ import annotations

from collections.abc import Sequence

from vlad.errors import SettingsError

from .recipe import read_recipe


def main(argv: Sequence[str]) -> int:
    """Train by the recipe that argv begins with. Raises VladError."""
    if argv[0] == "nano":
        from . import nano

        return nano.main(argv[1:])
    if argv[0] == "real":
        from . import real

        return real.main(argv[1:])
    _, values, _ = read_recipe(argv[0], ())
    keys = set(values) if isinstance(values, dict) else set()
    if "rank" in keys:
        from . import sft

        return sft.main(argv)
    if "cubes" in keys:
        from . import masked

        return masked.main(argv)
    if "head" in keys:
        from . import scorer

        return scorer.main(argv)
    raise SettingsError(
        f"{argv[0]}: a recipe needs head (a scorer), rank (an adapter) or cubes (descriptors of video); begin with a shipped one"
    )
