"""Interchangeable ways to bring cells onto maps, with one interface and one set of tests.

`native` is the one in use; `reference` is slow and plain, the truth that it is tested against.
"""

from __future__ import annotations

import importlib
import os
from typing import Literal, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ssfr.components.projection.field_of_view import FieldOfView

Name = Literal["native", "reference"]


class Counts(NamedTuple):
    """How many cells went where; their sum is the number of cells."""

    used: int
    outside: int
    """Finite, but not in the field of view."""
    bad: int
    """A coordinate or a weight is NaN or infinite, or the size is not positive; it is in no map."""


class Clipped(NamedTuple):
    """What used cells have outside the field of view, in x and y, as they are spread."""

    cells: int
    """That are spread beyond the field of view."""
    weights: NDArray[np.float64]
    """(fields,) outside, in the unit of the weights."""


class Backend(Protocol):
    """Brings the weights of cells onto maps."""

    def project(
        self,
        positions_kpc: NDArray[np.float32],
        weights: NDArray[np.float32],
        fov: FieldOfView,
        threads: int = 1,
    ) -> tuple[NDArray[np.float64], Counts]:
        """Draw maps of cells as points.

        Parameters
        ----------
        positions_kpc
            (3, cells) [kpc, physical], from the centre of the field of view, line of sight along z.
        weights
            (fields, cells), in any unit.
        fov
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

    def smooth(
        self,
        positions_kpc: NDArray[np.float32],
        support_kpc: NDArray[np.float32],
        weights: NDArray[np.float32],
        fov: FieldOfView,
        threads: int = 1,
    ) -> tuple[NDArray[np.float64], Counts, Clipped]:
        """Draw maps of cells, each spread over a disc of its own.

        A pixel gets the integral over its area of the Wendland C2 kernel in two dimensions,
        ``W(d) = 7 / (pi H^2) (1 - q)^4 (1 + 4 q)`` with ``q = d / H < 1`` (Dehnen & Aly 2012, MNRAS 425,
        1068), which is the column through a round cloud. See docs/deposition.md.

        Parameters
        ----------
        positions_kpc, weights, threads
            As for `project`.
        support_kpc
            (cells,) H, the radius of the disc [kpc, physical].
        fov
            What is drawn; `bins` is not used. A cell is in its depth if its centre is.

        Returns
        -------
        maps
            (fields, pixels, pixels), row y and column x, the sums in the unit of the weights.
        counts
            Of the cells; one is used if any part of it is in the field of view.
        clipped
            What the used cells have outside the field of view: the maps and this hold all of their weights.
        """


def backend(name: Name) -> Backend:
    """Return a backend by its name."""
    # read by OpenMP when it is loaded: threads that wait in a loop take the cores of other galaxies
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    return cast(Backend, importlib.import_module(f"{__name__}.{name}"))
