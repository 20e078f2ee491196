"""What fuzzing keeps: every seed in the default suite, and in the slow one a number of new inputs for each target, by atheris where it is here."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import HERE, TARGETS

RUNS, SECONDS = (
    30_000,
    40,
)  # inputs a target, the same ones each time: how many a machine does in some seconds is its own matter


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_are_answers_or_errors_of_our_own(target: str) -> None:
    seeds = sorted((HERE / "seeds" / target).glob("*"))
    assert seeds
    for seed in [b"", *(p.read_bytes() for p in seeds)]:
        for data in (seed, seed[: len(seed) // 2], seed[::-1], seed * 3):
            TARGETS[target](data)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not here: pip install -e '.[fuzz]'")
@pytest.mark.parametrize("target", TARGETS)
def test_no_new_input_breaks_it(target: str) -> None:
    command = [
        sys.executable,
        str(Path(HERE) / "fuzz.py"),
        target,
        f"-runs={RUNS}",
        f"-max_total_time={SECONDS}",
        "-seed=1",
    ]
    fixed = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS * 5 + 120, env=fixed)
    said = [
        line
        for line in (done.stderr + done.stdout).splitlines()
        if "number_of_executed_units" in line or "ERROR" in line or "Error" in line
    ]
    print(target, *said[:3])
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
