"""Where catalogues and cells come from: one protocol, several sources."""

from ssfr.components.simulation.layouts.tng.files import is_of_cells, is_of_simulation, is_of_snapshot
from ssfr.components.simulation.opening import MARKER, is_synthetic, open_source
from ssfr.components.simulation.source import Aperture, Header, Source

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
