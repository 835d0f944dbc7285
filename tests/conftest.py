"""What several test files share."""

from __future__ import annotations

from pathlib import Path

import pytest

_PUBLIC = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real, public simulation data, beside the checkout; never part of it."""
    if not _PUBLIC.is_dir():
        pytest.skip(f"needs the public simulation data, which are not at {_PUBLIC}")
    return _PUBLIC
