"""A synthetic universe on disk, in TNG layout, with a chosen law of star formation (docs/universe.md)."""

from ssfr.components.simulation.universe.write import write_universe

__all__ = ["write_universe"]
