"""What several test files share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# An example may take long on a busy machine: no test is timed.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

_PUBLIC = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real, public simulation data, beside the checkout; never part of it."""
    if not _PUBLIC.is_dir():
        pytest.skip(f"needs the public simulation data, which are not at {_PUBLIC}")
    return _PUBLIC


@pytest.fixture(autouse=True)
def determinism_ends_with_its_test() -> Iterator[None]:
    """Training switches TensorFlow's determinism on for the process; the next test starts without."""
    yield
    if "tensorflow" in sys.modules:
        from tensorflow.python.framework import config

        config.disable_op_determinism()
