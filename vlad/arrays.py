"""Arrays that somebody handed in, or that lie on a disk which may have damaged them: read, or one line why not.

In: a .npy file. Out: its array, never of objects. NumPy parses a header as Python, and what is wrong with one comes out as almost any exception.
"""

from __future__ import annotations

import os
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt

from vlad.errors import InputError

PICKLED = "it holds pickled objects, which can run code; save it again as a plain array"
ERRORS = (
    OSError, ValueError, EOFError, TokenError, SyntaxError, TypeError, MemoryError, OverflowError, RecursionError, KeyError, AttributeError,
)  # fmt: skip


def load_array(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """The array of a .npy file. Raises InputError, which names no more of the path than was given."""
    try:
        with open(path, "rb") as file:  # a zip would be a folder of arrays
            found = np.lib.format.read_array(file, allow_pickle=False)
    except ERRORS as error:
        words = str(getattr(error, "strerror", None) or error).strip()
        why = PICKLED if "allow_pickle" in words else (words.splitlines() or [type(error).__name__])[0][:160]
        raise InputError(f"{Path(path)}: cannot be read as an array ({why})") from None
    return np.asarray(found)
