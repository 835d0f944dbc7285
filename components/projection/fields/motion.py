"""Fields of the motion of the gas along the line of sight."""

from __future__ import annotations

from ssfr.components.projection.fields.registry import Cells, Values, field
from ssfr.components.projection.fields.view import View


@field(unit="km/s", needs=("velocity",))
def line_of_sight_velocity(cells: Cells, view: View) -> Values:
    """Return the velocity of each cell away from the observer [km/s], relative to the galaxy as a whole.

    It is peculiar: without the expansion of space, which adds some 3 km/s over 45 kpc. The observer is at
    +z of the map, so that a galaxy seen edge-on, whose axis points up, recedes on the right.
    """
    receding: Values = -view.velocities_km_s(cells["velocity"])[2]
    return receding


@field(unit="km/s", needs=("velocity",), reduction="dispersion")
def velocity_dispersion(cells: Cells, view: View) -> Values:
    """Return the velocity of each cell away from the observer [km/s], of which the map shows the scatter.

    That is the dispersion between cells, without the thermal motion and turbulence within them.
    """
    return line_of_sight_velocity(cells, view)
