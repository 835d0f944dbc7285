"""A synthetic universe on disk, in TNG layout, whose law of star formation is known (docs/universe.md)."""

from ssfr.components.simulation.universe.write import write_universe

__all__ = ["write_universe"]
