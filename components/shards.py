"""How the maps of a sample are shared among tasks: snapshot by snapshot, and in each by file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

GALAXIES_A_FILE = 256
"""Of maps, at most; all of one snapshot."""


class Shard(NamedTuple):
    """A task's share of a snapshot's files of maps: of `shards` shares, number `shard`, from 0."""

    snapshot: int
    shard: int
    shards: int

    @property
    def label(self) -> str:
        """Name of the task for the user."""
        number = f" {self.shard + 1} of {self.shards}" if self.shards > 1 else ""
        return f"projection/{self.snapshot:03d}{number}"


def shards(figures: Mapping[str, Any], tasks: int) -> list[Shard]:
    """Return the shards of a sample, latest snapshot first, none without a file.

    Parameters
    ----------
    figures
        Of the catalogue: galaxies of the sample by snapshot.
    tasks
        Shards of a snapshot, at most.
    """
    galaxies = {int(snapshot): of["galaxies"] for snapshot, of in figures["snapshots"].items()}
    found = []
    for snapshot in sorted(galaxies, reverse=True):
        count = min(tasks, -(-galaxies[snapshot] // GALAXIES_A_FILE))
        found += [Shard(snapshot, shard, count) for shard in range(count)]
    return found
