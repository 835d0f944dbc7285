"""Find each subhalo's halo, also in a catalogue that is a part of a larger one."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssfr.components.errors import InputError
from ssfr.components.simulation import Source


def halo_rows(
    source: Source,
    snapshot: int,
    halo_of: NDArray[Any],
    first_subhalo: NDArray[Any],
    missing: Literal["error", "drop"],
) -> NDArray[np.int64]:
    """Return the row of each subhalo's halo in the catalogue at hand.

    A subhalo's `halo` is that row only in a complete catalogue. Some chunks of one keep the numbers of all:
    most point past the end, the rest at another halo. A halo's `first_subhalo` decides: it must be the first
    row with the number of that halo. Where it isn't, the halo is found by its position, which is that of its
    first subhalo to the last bit.

    Parameters
    ----------
    source, snapshot
        Where positions are read when the numbers do not fit.
    halo_of
        (n_subhalos,) row of the halo, as the catalogue says.
    first_subhalo
        (n_halos,) row of the first subhalo.
    missing
        error: refuse such a catalogue; drop: find halos by position.

    Returns
    -------
    ndarray
        (n_subhalos,) int64; -1: the halo is not in the catalogue.

    Raises
    ------
    InputError
        `missing` is error, and a number does not lead to the subhalo's halo; they are counted.
    """
    numbers, first, member = np.unique(halo_of, return_index=True, return_inverse=True)
    inside = (numbers >= 0) & (numbers < len(first_subhalo))
    fits = inside.copy()
    fits[inside] = first_subhalo[numbers[inside]] == first[inside]
    if fits.all():
        return halo_of.astype(np.int64)
    if missing == "error":
        past, other = (int((~mask)[member].sum()) for mask in (inside, fits | ~inside))
        raise InputError(
            f"snapshot {snapshot}: the halo of {past + other} of {len(halo_of)} subhalos does not lead to "
            f"their group ({past} past the last of {len(first_subhalo)}, {other} to another one): "
            "a part of a larger catalogue; get all of it, or set catalog.missing_halos: drop (groups are "
            "then found by position; subhalos whose group is absent are dropped and counted)"
        )
    subhalo_positions = source.subhalos(snapshot, ["position"])["position"]
    group_positions = source.halos(snapshot, ["position"])["position"]
    row_at = {position.tobytes(): row for row, position in enumerate(group_positions)}
    rows = [row_at.get(subhalo_positions[index].tobytes(), -1) for index in first]
    return np.array(rows, np.int64)[member]
