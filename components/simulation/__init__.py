"""Where catalogues and cells come from: one protocol, several sources."""

from ssfr.components.simulation.source import (
    MARKER,
    Aperture,
    Header,
    Source,
    is_of_cells,
    is_of_simulation,
    is_of_snapshot,
    is_synthetic,
    open_source,
)

__all__ = [
    "MARKER",
    "Aperture",
    "Header",
    "Source",
    "is_of_cells",
    "is_of_simulation",
    "is_of_snapshot",
    "is_synthetic",
    "open_source",
]
