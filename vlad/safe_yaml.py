"""YAML that a stranger wrote, to plain values.

In: a text. Out: words, numbers, lists and tables. Knows no file.
"""

from __future__ import annotations

from typing import Any

import yaml


def load(text: str, *, deepest: int) -> Any:
    """Without aliases, so that it stays as large as it looks, and of `deepest` levels at most. Raises yaml.YAMLError, ValueError, and whatever PyYAML's own
    constructors raise.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise ValueError("aliases and anchors are not taken; write the value twice")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > deepest:
            raise ValueError(f"it is nested deeper than {deepest} levels")
    return yaml.safe_load(text)
