"""Interchangeable ways to sum cells into maps, with one interface and one set of tests.

`native` is the one in use; `reference` is slow and plain, the truth that it is tested against.
"""

from __future__ import annotations

import importlib
import os
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from components.projection.frame import Frame

Name = Literal["native", "reference"]


class Counts(NamedTuple):
    """How many cells went where; their sum is the number of cells."""

    used: int
    outside: int
    """Finite, but not in the frame."""
    bad: int
    """A coordinate or a weight is NaN or infinite; such a cell is in no map."""


class Backend(Protocol):
    """Sums the weights of cells into maps."""

    def __call__(
        self,
        positions_kpc: NDArray[np.float32],
        weights: NDArray[np.float32],
        frame: Frame,
        threads: int = 1,
    ) -> tuple[NDArray[np.float64], Counts]:
        """Draw maps.

        Parameters
        ----------
        positions_kpc
            (3, cells) [kpc, physical], from the centre of the frame, line of sight along z.
        weights
            (fields, cells), in any unit.
        frame
            What is drawn. A cell at x falls into column ``int((x - low) * (bins / width))``.
        threads
            That work at the same time; the same number gives the same bits.

        Returns
        -------
        maps
            (fields, pixels, pixels), row y and column x, the sums in the unit of the weights.
        counts
            Of the cells.
        """


def backend(name: Name) -> Backend:
    """Return a backend by its name."""
    # read by OpenMP when it is loaded: threads that wait in a loop take the cores of other galaxies
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    found: Backend = importlib.import_module(f"{__name__}.{name}").project
    return found
