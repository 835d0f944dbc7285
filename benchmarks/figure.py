"""The form of a figure: what was measured, and the same of a peer from the same run."""

from __future__ import annotations

from typing import Any


def row(
    name: str, value: float, unit: str, peer: str | None = None, peer_value: float | None = None
) -> dict[str, Any]:
    """Return a figure as it is printed; its ratio is of the value to the peer's."""
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "peer": peer,
        "peer_value": peer_value,
        "ratio": None if peer_value is None else value / peer_value,
    }
