"""Maps of one galaxy's gas, with units, axes and field of view."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from astropy import units
from numpy.typing import NDArray

from ssfr.choices import merged, whole_number
from ssfr.components.config import ProjectionSettings
from ssfr.components.errors import InputError, nearest
from ssfr.components.identity.galaxies import galaxy_name
from ssfr.components.identity.maps import MapIdentity
from ssfr.components.projection.draw import GalaxyMaps, UnusableGalaxyError, draw_galaxy
from ssfr.components.projection.field_of_view import FieldOfView
from ssfr.components.projection.map_files import map_identity
from ssfr.components.simulation import Header
from ssfr.quantities import in_unit, quantity
from ssfr.simulation import Simulation


@dataclass(frozen=True, repr=False)
class Maps:
    """Maps of one galaxy: ``maps["mass"]`` is a `Quantity` (pixels, pixels), rows y and columns x upwards.

    Attributes
    ----------
    drawn
        The maps as plain arrays, and what they were made of.
    header
        Of the snapshot.
    subhalo_id
        Of the galaxy.
    identity
        What the maps are, which a model compares with what it was trained on.
    view
        Number of the random direction it is seen from.
    """

    drawn: GalaxyMaps
    header: Header
    subhalo_id: int
    identity: MapIdentity
    view: int = 0

    def __repr__(self) -> str:
        side, width = self.field_of_view.pixels, self.field_of_view.width_kpc
        fields = ", ".join(
            f"{name} [{unit}]" for name, unit in zip(self.fields, self.drawn.units, strict=True)
        )
        return (
            f"<Maps of subhalo {self.subhalo_id}, snapshot {self.header.snapshot}: {fields}; "
            f"{side} x {side} pixels, {width:g} kpc wide>"
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __getitem__(self, field: str) -> Any:
        """Return one map, (pixels, pixels) float32 with its unit; NaN in a mean where there is no gas."""
        if field not in self.fields:
            raise InputError(f"no field '{field}' was drawn{nearest(field, self.fields)}")
        at = self.fields.index(field)
        return quantity(self.drawn.maps[at], self.drawn.units[at])

    @property
    def name(self) -> str:
        """Of the galaxy, as the package's tables have it."""
        return galaxy_name(self.header.snapshot, self.subhalo_id, self.view)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of what was drawn."""
        return self.drawn.fields

    @property
    def data(self) -> NDArray[np.float32]:
        """All maps, (fields, pixels, pixels) float32 without units: what a model of maps takes."""
        return self.drawn.maps

    @property
    def field_of_view(self) -> FieldOfView:
        """Width and depth [physical kpc] and pixels of the maps, centred on the galaxy."""
        return self.drawn.field_of_view

    @property
    def rotation(self) -> NDArray[np.float64]:
        """(3, 3) from the axes of the box to x, y and the line of sight of the maps."""
        return self.drawn.rotation

    @property
    def redshift(self) -> float:
        """Of the snapshot."""
        return self.header.redshift

    @property
    def extent(self) -> Any:
        """Left, right, lower and upper edge [physical kpc], about the galaxy's centre."""
        half = 0.5 * self.field_of_view.width_kpc
        return units.Quantity([-half, half, -half, half], "kpc")

    @property
    def x(self) -> Any:
        """Centres of the columns, and of the rows, (pixels,) [physical kpc]."""
        side = self.field_of_view.pixels
        return units.Quantity(((np.arange(side) + 0.5) / side - 0.5) * self.field_of_view.width_kpc, "kpc")

    y = x

    def plot(self, fields: Sequence[str] | None = None) -> NDArray[Any]:
        """Plot maps side by side with matplotlib, with axes in kpc and a colour bar each.

        Maps that are positive are shown in log10, maps with both signs about zero.

        Parameters
        ----------
        fields
            Names of the maps to plot; None: all.

        Returns
        -------
        ndarray
            (fields,) the axes of the new figure.

        Examples
        --------
        >>> simulation = ssfr.open("run/demo/universe")
        >>> [axes] = ssfr.draw(simulation, 99, 0, pixels=64).plot(["mass"])
        >>> axes.get_xlabel(), axes.get_title()
        ('x [kpc]', 'mass')
        """
        from matplotlib import pyplot

        names = list(self.fields if fields is None else fields)
        size = (4.0 * len(names), 3.5)
        figure, grid = pyplot.subplots(1, len(names), figsize=size, layout="constrained", squeeze=False)
        for axes, name in zip(grid[0], names, strict=True):
            values, label, style = _shown(self[name])
            image = axes.imshow(values, origin="lower", extent=self.extent.value, **style)
            figure.colorbar(image, cax=axes.inset_axes((1.03, 0.0, 0.05, 1.0)), label=label)
            axes.set(title=name, xlabel="x [kpc]")
        grid[0, 0].set_ylabel("y [kpc]")
        return grid[0]


def draw(
    simulation: Simulation,
    snapshot: int,
    subhalo_id: int,
    fields: Sequence[str] | None = None,
    *,
    width: Any = None,
    depth: Any = None,
    pixels: int | None = None,
    deposition: Literal["smoothed", "point"] | None = None,
    orientation: Literal["face_on", "edge_on", "random"] | Sequence[Sequence[float]] | None = None,
    view: int = 0,
) -> Maps:
    """Draw the gas of one galaxy.

    Parameters
    ----------
    simulation
        Opened by `ssfr.open`; its settings stand in for what is not given here.
    snapshot, subhalo_id
        Of the galaxy.
    fields
        Names of the fields; mass is always drawn, as it weights the means.
    width, depth
        Of the field of view and along the line of sight, as numbers in kpc (physical) or as quantities.
    pixels
        Along a side.
    deposition
        smoothed: each cell over its own size; point: into the pixel of its centre.
    orientation
        face_on, edge_on: the rotation axis towards the observer, or up; random: by the settings' seed and the
        galaxy; or the rotation (3, 3) from the axes of the box to x, y and the line of sight of the maps.
    view
        Number of the random direction: the maps of row ``view`` of a run with ``projection.views`` above it.

    Returns
    -------
    Maps
        Gas mass is the sum in each pixel, other fields are means along the line of sight weighted by mass.

    Raises
    ------
    InputError
        An unknown field, a value out of range, data that lack something, or a galaxy without gas.

    Examples
    --------
    >>> simulation = ssfr.open("run/demo/universe")
    >>> maps = ssfr.draw(simulation, 99, 0, ("temperature",), width=60, pixels=128)
    >>> maps
    <Maps of subhalo 0, snapshot 99: temperature [K], mass [Msun]; 128 x 128 pixels, 60 kpc wide>
    >>> maps.extent
    <Quantity [-30.,  30., -30.,  30.] kpc>
    >>> bool(maps["mass"].sum().to_value("Msun") > 1e8)
    True
    """
    lengths = {"width": width, "depth": depth}
    arguments: dict[str, Any] = {name: in_unit(x, "kpc") for name, x in lengths.items() if x is not None}
    if arguments:
        arguments["width_unit"] = "kpc"
    arguments |= {"fields": fields, "pixels": pixels, "deposition": deposition}
    arguments["views"] = 1
    arguments["orientation"] = orientation.tolist() if isinstance(orientation, np.ndarray) else orientation
    projection = merged(ProjectionSettings, simulation.settings.projection, arguments)
    settings = simulation.settings.model_copy(update={"projection": projection})
    subhalo_id, view = whole_number("subhalo_id", subhalo_id), whole_number("view", view)
    if view and settings.projection.orientation != "random":
        raise InputError(f'view: {view} is a number of random directions; give orientation="random" too')
    halos = simulation.source.subhalos(snapshot, ["SubhaloGrNr"])["SubhaloGrNr"]
    if not 0 <= subhalo_id < len(halos):
        raise InputError(f"subhalo_id: {subhalo_id}; snapshot {snapshot} has subhalos 0 to {len(halos) - 1}")
    try:
        drawn = draw_galaxy(
            simulation.source, snapshot, subhalo_id, int(halos[subhalo_id]), settings, view=view
        )
    except UnusableGalaxyError as error:
        raise InputError(f"snapshot {snapshot}, subhalo {subhalo_id}: cannot be drawn: {error}") from None
    return Maps(drawn, simulation.header(snapshot), subhalo_id, map_identity(settings), view)


def _shown(quantity: Any) -> tuple[NDArray[Any], str, dict[str, Any]]:
    """Return what a plot shows of a map: values, the label of the colour bar, and matplotlib's arguments."""
    values, unit = np.asarray(quantity.value, np.float64), quantity.unit.to_string("latex_inline")
    if np.nanmin(values) < 0:
        limit = np.nanmax(np.abs(values))
        return values, f"[{unit}]", {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
    if isinstance(quantity, units.Dex):
        return values, f"[{unit}]", {"cmap": "viridis"}
    with np.errstate(divide="ignore"):
        logarithm = np.log10(values)
    return np.where(np.isfinite(logarithm), logarithm, np.nan), f"log10 [{unit}]", {"cmap": "viridis"}
