"""Where catalogues and cells come from: one protocol, several sources."""

from components.simulation.source import Header, Source, open_source

__all__ = ["Header", "Source", "open_source"]
