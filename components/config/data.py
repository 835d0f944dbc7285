"""Settings of the data: from the catalogue to image sets and labels."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from typing import Any, Literal, Self, cast

from pydantic import field_validator, model_validator

from ssfr.components.config.section import Field, Fraction, Positive, Section

IMAGE_CHANNELS = ("red", "green", "blue")
"""What the maps of an image catalogue are called."""


Reduction = Literal[
    "sum",
    "surface_density",
    "mass_weighted_mean",
    "volume_weighted_mean",
    "mean_log10",
    "dispersion",
    "maximum",
]
"""What a pixel shows of the cells along its line of sight (`ssfr.components.projection.fields.Field`)."""

Matrix = tuple[
    tuple[float, float, float],
    tuple[float, float, float],
    tuple[float, float, float],
]

_ORIENTATIONS = ("face_on", "edge_on", "random")
_ROTATION_TOLERANCE = 1e-6


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def _three_numbers_each(value: Any) -> Matrix | None:
    """Return a value as three rows of three finite numbers; None if it is something else."""
    try:
        rows = [[float(number) for number in row] for row in value]
    except (TypeError, ValueError, OverflowError):
        return None
    if [len(row) for row in rows] != [3, 3, 3] or not all(
        map(math.isfinite, functools.reduce(operator.iadd, rows, []))
    ):
        return None
    return cast(Matrix, tuple(tuple(row) for row in rows))


class SimulationSettings(Section):
    """How cells and catalogues are read."""

    max_declared_gb: Positive = Field(
        64.0,
        description="[GB] a file that declares more than this in the fields that are read is refused",
        changes_result=False,
    )


class CatalogSettings(Section):
    """Which subhalos are galaxies of the sample, and what their sSFR is."""

    snapshots: tuple[int, ...] | None = Field(None, description="None: every snapshot found")
    little_h: Literal["applied", "ignored"] = Field(
        "applied",
        description="applied: M = code x 1e10 / h, for the cuts and for the sSFR; ignored: M = code x 1e10 [2]",
    )
    stellar_mass_min_msun: float = Field(5e9, ge=0)
    stellar_mass_max_msun: Positive = 1e12
    total_mass_max_msun: Positive = 2e12
    halo_mass_max_msun: Positive = 5e12
    keep_flagged: bool = Field(
        False, description="keep subhalos that the catalogue flags as not of cosmological origin"
    )
    label_aperture: Literal["subhalo", "two_half_mass_radii"] = Field(
        "subhalo",
        description="where SFR and masses of the label are measured: all that is bound to the subhalo, or what is within twice its stellar half-mass radius",
    )
    missing_halos: Literal["error", "drop"] = Field(
        "error",
        description="a part of a catalogue, where the number of a halo leads to none or a wrong one: count and stop, or find halos by position, and drop and count subhalos without one",
    )


class ProjectionSettings(Section):
    """From cells and particles to maps."""

    fields: tuple[str, ...] = Field(("entropy", "mass", "temperature"), min_length=1)
    pixels: int = Field(256, ge=8, le=4096, description="a side")
    width: Positive = Field(90.0, description="[width_unit] of the field of view")
    width_unit: Literal["kpc", "ckpc/h"] = Field("kpc", description="physical, or comoving with h [11]")
    depth: Positive | None = Field(
        90.0, description="[width_unit] along the line of sight, in all; None: unlimited"
    )
    deposition: Literal["smoothed", "point"] = Field(
        "smoothed",
        description="smoothed: each cell over its own size, from its mass and density; point: into the pixel of its centre",
    )
    binning: Literal["exact", "thesis"] = Field(
        "exact", description="thesis: int((x-x0)/(x1-x0)*0.99*pixels), of points [5]"
    )
    weighting: Literal["mass_weighted_mean", "sum"] = Field(
        "mass_weighted_mean",
        description="of temperature and entropy; the mean leaves NaN where there is no gas, beside the mass map [6]",
    )
    transform: Literal["linear", "log10", "ln"] = Field(
        "linear", description="of temperature and entropy in a cell before weighting [6]"
    )
    reductions: dict[str, Reduction] = Field(
        default_factory=dict,
        description="field -> what a pixel shows of the cells along its line of sight, instead of the field's own rule",
    )
    entropy_density: Literal["electron", "gas"] = Field(
        "electron", description="K = kB T / n^(2/3) with n_e, or n = rho/m_p [6]"
    )
    star_forming_gas: Literal["raw", "fixed_1e4K", "masked"] = Field(
        "fixed_1e4K", description="temperature of gas on the effective equation of state [19]"
    )
    gas_of: Literal["label", "subhalo", "two_half_mass_radii", "halo"] = Field(
        "label",
        description="whose gas is drawn; label: that of the aperture of the label, catalog.label_aperture; subhalo: all that is bound to the subhalo; two_half_mass_radii: what of that is within twice its stellar half-mass radius; halo: all of the friends-of-friends halo [18]",
    )
    young_star_age_myr: Positive = Field(
        100.0,
        description="[Myr] stars younger than this set the rotation axis, and are those of the field young_stars",
    )
    min_young_stars: int = Field(20, ge=1, description="with fewer, the axis is that of the gas")
    axis_radius: Positive = Field(30.0, description="[width_unit] matter within this radius sets the axis")
    orientation: Literal["face_on", "edge_on", "random"] | Matrix = Field(
        "face_on",
        description="face_on, edge_on: the rotation axis towards the observer, or up; random: by orientation_seed and galaxy; or three rows of three: the rotation from the box's axes to the map's (x right, y up, z towards the observer)",
    )
    orientation_seed: int = Field(0, ge=0, description="of the random orientations")
    views: int = Field(
        1,
        ge=1,
        le=64,
        description="maps of each galaxy, from as many directions (orientation: random); all are in one set",
    )
    backend: Literal["native", "reference"] = "native"
    workers: int = Field(
        2, ge=1, description="galaxies drawn at the same time (processes)", changes_result=False
    )
    threads: int = Field(1, ge=1, description="threads of the kernel for one galaxy")
    max_rejected: Fraction = Field(
        0.05,
        description="share of galaxies that may be unusable before the run ends",
        changes_result=False,
    )

    @field_validator("orientation", mode="before")
    @classmethod
    def _a_matrix_is_a_rotation(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value not in _ORIENTATIONS:
                raise ValueError(f"expected {', '.join(_ORIENTATIONS)}, or a rotation of three rows of three")
            return value
        rows = _three_numbers_each(value)
        if rows is None:
            raise ValueError("expected face_on, edge_on, random, or a rotation: three rows of three numbers")
        x, y, z = rows
        turned = [_dot(x, x) - 1, _dot(y, y) - 1, _dot(z, z) - 1, _dot(x, y), _dot(y, z), _dot(z, x)]
        if not all(abs(each) <= _ROTATION_TOLERANCE for each in turned):
            raise ValueError("the matrix is no rotation: its rows must be of length 1 and at right angles")
        across = (x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2], x[0] * y[1] - x[1] * y[0])
        if _dot(across, z) < 0:
            raise ValueError("the matrix is no rotation but a mirror image: change the sign of one row")
        return rows

    @model_validator(mode="after")
    def _thesis_bins_hold_points(self) -> Self:
        if self.binning == "thesis" and self.deposition != "point":
            raise ValueError("binning: thesis is an index of points; it needs deposition: point")
        return self

    @model_validator(mode="after")
    def _several_views_differ(self) -> Self:
        if self.views > 1 and self.orientation != "random":
            raise ValueError(
                f"views: {self.views} would be equal maps; several views need orientation: random"
            )
        return self


class SplitSettings(Section):
    """Which galaxies train, validate, test, and decide between champion and challenger."""

    method: Literal["tree", "halo", "random", "column"] = Field(
        "tree",
        description="groups that stay together: merger tree, halo, nothing [12]; column: values named in `column_values`",
    )
    validation: Fraction = 0.1
    test: Fraction = 0.15
    promotion: Fraction = 0.1
    column: str | None = Field(None, description="column of the label table that decides (method column)")
    column_values: dict[str, Literal["train", "test"]] = Field(
        default_factory=dict,
        description="value -> train or test; validation and promotion are taken from the groups of train",
    )

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.validation + self.test + self.promotion >= 1.0:
            raise ValueError("validation + test + promotion leave nothing to train on")
        if self.method == "column" and not (self.column and self.column_values):
            raise ValueError("method 'column' needs `column` and `column_values`")
        return self


class LabelSettings(Section):
    """What is predicted: the decimal logarithm of a quantity of the galaxy."""

    quantity: str = Field(
        "log10_ssfr",
        description="log10_ssfr, log10_sfr, log10_stellar_mass, log10_gas_fraction, or column: the one named in `column`",
    )
    column: str | None = Field(
        None, description="column of the label table or of sample.parquet (quantity: column)"
    )
    column_unit: str = Field("", description="of that column, for axes and sentences")
    column_is_log10: bool = Field(False, description="that column holds logarithms already")
    mass: Literal["stellar", "total"] = Field("stellar", description="sSFR = SFR / this mass [1]")
    zero_sfr: Literal["floor", "drop"] = Field(
        "floor",
        description="a quantity of 0 (SFR = 0): set to the floor, or dropped; counted always [13]",
    )
    floor: float | None = Field(
        None,
        description="[dex] labels below are raised to it (zero_sfr = floor); None: the label's own, -13 for log10_ssfr",
    )

    @model_validator(mode="after")
    def _a_column_is_named(self) -> Self:
        if (self.quantity == "column") != (self.column is not None):
            raise ValueError("quantity: column and the name of the `column` belong together")
        return self


class ImageCatalogSettings(Section):
    """A folder of images and a table of labels."""

    table: str = Field(
        "labels.csv", description="CSV or parquet, relative to the folder; or the thesis' allsfr.pkl"
    )
    images: str = Field("images", description="folder of the images, relative to the folder")
    file_column: str = "filename"
    stellar_mass_column: str | None = Field("stellar_mass_msun", description="[Msun]")
    sfr_column: str | None = Field("sfr_msun_per_yr", description="[Msun/yr]")
    ssfr_column: str | None = Field(None, description="[1/yr]; used instead of SFR and stellar mass")
    group_column: str | None = Field(
        None, description="galaxies that share a value stay on one side of the split"
    )
    max_pixels: int = Field(
        4096 * 4096, description="an image that declares more is refused before it is unpacked"
    )
    max_rejected: Fraction = Field(
        0.05, description="share of unreadable images before the run ends", changes_result=False
    )


class Filter(Section):
    """What a case keeps of the spatial information."""

    kind: Literal["none", "gaussian", "high_pass", "band"] = Field(
        "none",
        description="gaussian: blurred; high_pass: image minus its blur; band: blurred by sigma minus blurred by sigma_max",
    )
    sigma: Positive = Field(3.0, description="[unit] of the Gaussian, 1 px to a side of the map")
    sigma_max: Positive | None = Field(None, description="[unit] of the wider Gaussian of a band")
    unit: Literal["px", "kpc"] = "px"

    @model_validator(mode="after")
    def _a_band_has_two_scales(self) -> Self:
        if self.kind != "band":
            if self.sigma_max is not None:
                raise ValueError(f"sigma_max belongs to kind: band, not to kind: {self.kind}")
        elif self.sigma_max is None:
            raise ValueError("kind: band needs sigma_max, the wider of its two Gaussians")
        elif self.sigma_max <= self.sigma:
            raise ValueError(
                f"a band needs sigma below sigma_max, found sigma {self.sigma:g}, sigma_max {self.sigma_max:g}"
            )
        return self

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Standard deviations [unit] of the Gaussians that are used, the narrow one first."""
        if self.kind == "none":
            return ()
        return (self.sigma,) if self.sigma_max is None else (self.sigma, self.sigma_max)

    @property
    def signed(self) -> bool:
        """Whether what is left of a positive image has both signs: a difference from a blur."""
        return self.kind in ("high_pass", "band")

    def sigmas_px(self, pixels: int, pixel_kpc: float | None) -> tuple[float, ...]:
        """Return the standard deviations [px] in a map, the narrow one first.

        Parameters
        ----------
        pixels
            A side of the map.
        pixel_kpc
            Side of a pixel [physical kpc]; None where it differs from galaxy to galaxy.

        Raises
        ------
        ValueError
            One is under a pixel or over a side of the map, or is in kpc and pixels have no size in kpc.
        """
        if self.sigmas and self.unit == "kpc" and pixel_kpc is None:
            raise ValueError(
                "filter.unit: kpc needs pixels of one physical size (projection.width_unit: kpc); use unit: px"
            )
        px = 1.0 if self.unit == "px" or pixel_kpc is None else pixel_kpc
        for name, sigma in zip(("sigma", "sigma_max"), self.sigmas, strict=False):
            if not 1.0 <= sigma / px <= pixels:
                raise ValueError(
                    f"filter.{name} {sigma:g} {self.unit} is {sigma / px:.3g} px; "
                    f"expected 1 px to the map's {pixels} px"
                )
        return tuple(sigma / px for sigma in self.sigmas)


class Case(Section):
    """An image set: channels x filter x stretch. A function of the maps, not another copy of them."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    channels: tuple[str, ...] = Field(
        ("entropy", "mass", "temperature"),
        min_length=1,
        max_length=8,
        description="fields, in the order of the channels",
    )
    filter: Filter = Filter()


class PreprocessingSettings(Section):
    """From maps to the numbers a network sees."""

    pixel_type: Literal["float32", "uint8"] = Field(
        "float32",
        description="uint8: Lupton stretch, clipped to 0..255, as an 8-bit image; what was clipped is counted [8]",
    )
    normalisation: Literal["training", "first_snapshot", "fixed"] = Field(
        "training",
        description="each channel's scale: fitted on the training set, on the first snapshot, or given [8]",
    )
    maximum: Literal["signed", "magnitude"] = Field(
        "signed",
        description="what a channel of the 8-bit picture is divided by, of its pixel of largest magnitude: signed: the pixel, so that a channel of negative sums (of log K) becomes positive; magnitude: its magnitude, the sign stays [8]",
    )
    fixed_maxima: dict[str, float] = Field(
        default_factory=dict,
        description="field -> what its channel is divided by, in the map's unit (normalisation = fixed)",
    )
    scale_galaxies: int = Field(
        256,
        ge=1,
        description="training galaxies, drawn by a hash of their names, on which float32 scales are fitted; 256 of 256 px fix a mean to far below its scatter",
    )
    stretch: Literal["asinh", "lupton"] = Field(
        "asinh",
        description="asinh: each channel by itself, then standardised on the training set; lupton: the thesis' colour-preserving one",
    )
    stretch_beta: Positive = Field(0.001, description="Lupton: f = asinh(I/beta)/asinh(1/beta)")
    stretch_negative: Literal["signed", "even"] = Field(
        "signed", description="even: asinh(|I|), which flips signs [7]"
    )
    export_png: bool = Field(False, description="write Snap%dID%d.png of the composite (uint8)")
    split: SplitSettings = SplitSettings()
    label: LabelSettings = LabelSettings()
    images: ImageCatalogSettings = ImageCatalogSettings()
