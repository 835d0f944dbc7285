"""Every setting of ssfr: type, unit, default and meaning, in one place.

A preset is a YAML file with the settings that differ from these defaults. The defaults are the
`recommended` choices; where the source work did otherwise, the description names the row of the
table of faults (docs/faults.md) in brackets.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from components.errors import InputError, nearest

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]


IMAGE_CHANNELS = ("red", "green", "blue")
"""What the maps of an image catalogue are called."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class SimulationSettings(_Section):
    """How cells and catalogues are read."""

    max_declared_gb: Positive = Field(
        64.0, description="[GB] a file that declares more than this in the fields asked for is refused"
    )


class CatalogSettings(_Section):
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
        False, description="keep subhalos with SubhaloFlag = 0 (not of cosmological origin)"
    )
    label_aperture: Literal["subhalo", "two_half_mass_radii"] = Field(
        "subhalo", description="SubhaloSFR, or SubhaloSFRinRad with SubhaloMassInRadType"
    )
    missing_halos: Literal["error", "drop"] = Field(
        "error",
        description="a part of a catalogue, whose SubhaloGrNr leads to no group or a wrong one: count and stop, or find groups by position and drop and count subhalos without one",
    )


class ProjectionSettings(_Section):
    """From gas cells to face-on maps."""

    fields: tuple[str, ...] = Field(("entropy", "mass", "temperature"), min_length=1)
    pixels: int = Field(256, ge=8, le=4096, description="a side")
    width: Positive = Field(90.0, description="[width_unit] of the frame")
    width_unit: Literal["kpc", "ckpc/h"] = Field("kpc", description="physical, or comoving with h [11]")
    depth: Positive | None = Field(
        90.0, description="[width_unit] along the line of sight, in all; None: unlimited"
    )
    binning: Literal["exact", "thesis"] = Field(
        "exact", description="thesis: int((x-x0)/(x1-x0)*0.99*pixels) [5]"
    )
    weighting: Literal["mass_weighted_mean", "sum"] = Field(
        "mass_weighted_mean",
        description="of temperature and entropy; the mean leaves NaN where there is no gas, beside the mass map [6]",
    )
    transform: Literal["linear", "log10", "ln"] = Field(
        "linear", description="of temperature and entropy in a cell before weighting [6]"
    )
    entropy_density: Literal["electron", "gas"] = Field(
        "electron", description="K = kB T / n^(2/3) with n_e, or n = rho/m_p [6]"
    )
    star_forming_gas: Literal["raw", "fixed_1e4K", "masked"] = Field(
        "fixed_1e4K", description="temperature of gas on the effective equation of state [19]"
    )
    gas_of: Literal["subhalo", "halo"] = Field(
        "subhalo", description="halo: the cells of the whole friends-of-friends halo [18]"
    )
    young_star_age_myr: Positive = Field(
        100.0, description="[Myr] stars younger than this set the rotation axis"
    )
    min_young_stars: int = Field(20, ge=1, description="with fewer, the axis is that of the gas")
    axis_radius: Positive = Field(30.0, description="[width_unit] matter within this radius sets the axis")
    backend: Literal["native", "reference"] = "native"
    workers: int = Field(2, ge=1, description="galaxies drawn at the same time (processes)")
    threads: int = Field(1, ge=1, description="threads of the kernel for one galaxy")
    max_set_aside: Fraction = Field(
        0.05, description="share of galaxies that may be unusable before the run ends"
    )


class SplitSettings(_Section):
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


class LabelSettings(_Section):
    """What is predicted: log10 of the specific star formation rate [1/yr]."""

    mass: Literal["stellar", "total"] = Field("stellar", description="sSFR = SFR / this mass [1]")
    zero_sfr: Literal["floor", "drop"] = Field(
        "floor", description="SFR = 0: set to the floor, or dropped; counted always [13]"
    )
    floor_log10_ssfr: float = Field(
        -13.0, description="[dex of 1/yr] labels below are raised to it (zero_sfr = floor)"
    )


class ImageCatalogSettings(_Section):
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
    max_set_aside: Fraction = Field(0.05, description="share of unreadable images before the run ends")


class Filter(_Section):
    """What a case keeps of the spatial information."""

    kind: Literal["none", "gaussian", "structures"] = Field(
        "none", description="gaussian: blurred; structures: image minus its blur"
    )
    sigma: Positive = Field(3.0, description="[unit] of the Gaussian")
    unit: Literal["px", "kpc"] = "px"


class Case(_Section):
    """An image set: channels x filter x stretch. A function of the maps, not another copy of them."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    channels: tuple[str, ...] = Field(
        ("entropy", "mass", "temperature"),
        min_length=1,
        max_length=8,
        description="fields, in the order of the channels",
    )
    filter: Filter = Filter()


class PreprocessingSettings(_Section):
    """From maps to the numbers a network sees."""

    pixel_type: Literal["float32", "uint8"] = Field(
        "float32",
        description="uint8: Lupton stretch, clipped to 0..255, as an 8-bit image; what was clipped is counted [8]",
    )
    normalisation: Literal["training", "first_snapshot", "fixed"] = Field(
        "training",
        description="each channel's scale: fitted on the training set, on the first snapshot, or given [8]",
    )
    fixed_maxima: dict[str, float] = Field(
        default_factory=dict, description="field -> largest pixel, in the map's unit (normalisation = fixed)"
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


class CompactSettings(_Section):
    """The small network trained from scratch."""

    input_pixels: int = Field(
        64, ge=16, description="a side; maps are reduced to mean and largest pixel of each block"
    )
    local_widths: tuple[int, ...] = Field((16, 16), min_length=1, description="layers that see single pixels")
    widths: tuple[int, ...] = Field(
        (16, 32), max_length=4, description="channels of each stage of convolutions; each halves the image"
    )
    dense: int = Field(64, ge=1)
    dropout: Fraction = Field(0.3, description="of what the convolutions say")


class Vgg16Settings(_Section):
    """The thesis' network: frozen VGG16, trained head (309,186 parameters)."""

    weights: str = Field(
        "imagenet",
        description="imagenet (Keras' cache), the path of the published no-top file, or random (on explicit request)",
    )
    features: Literal["bfloat16", "float32"] = Field(
        "bfloat16", description="type in which features are computed and cached"
    )
    preprocess_input: bool = Field(True, description="false: raw 0..255 [15]")
    last_activation: Literal["linear", "relu"] = Field(
        "linear", description="relu can die and cannot go below 0 [14]"
    )
    feature_batch: int = Field(16, ge=1)


class TrainingSettings(_Section):
    """How a network is trained."""

    model: Literal["compact", "vgg16"] = "compact"
    optimizer: Literal["adamw", "adadelta"] = Field("adamw", description="adadelta: the thesis' [16]")
    learning_rate: Positive | None = Field(
        None,
        description="None: 5e-3 for compact, 2e-4 for the head of vgg16 (more kills its single filter); for adadelta 1.0, old Keras' rate, where tf.keras has 0.001 [16]",
    )
    weight_decay: float = Field(1e-4, ge=0)
    schedule: Literal["constant", "cosine"] = "cosine"
    batch: int = Field(32, ge=1)
    epochs: int = Field(60, ge=1)
    patience: int | None = Field(
        None, ge=1, description="epochs without a better validation loss; None: never stop early"
    )
    keep: Literal["best_validation", "best_training", "last"] = Field(
        "best_validation", description="which weights are used [17]"
    )
    loss: Literal["gaussian_nll", "mse"] = Field(
        "gaussian_nll", description="the first predicts its own uncertainty [14]"
    )
    augment: bool = Field(
        True, description="flips and quarter turns of face-on maps (compact only; a face-on view has no up)"
    )
    checkpoint_every: int = Field(5, ge=1, description="epochs")
    deterministic: bool = Field(True, description="same seed, same threads: same result, bit for bit")
    threads: int = Field(2, ge=1)
    compact: CompactSettings = CompactSettings()
    vgg16: Vgg16Settings = Vgg16Settings()

    @property
    def rate(self) -> float:
        """The learning rate, chosen here where the setting is None."""
        if self.learning_rate is not None:
            return self.learning_rate
        if self.optimizer == "adadelta":
            return 1.0
        return 5e-3 if self.model == "compact" else 2e-4

    @model_validator(mode="after")
    def _loss_fits_model(self) -> Self:
        if self.model == "vgg16" and self.loss == "gaussian_nll":
            raise ValueError("the head of vgg16 has one output: use loss: mse")
        return self


class EvaluationSettings(_Section):
    """Scores, intervals and the report."""

    bootstrap: int = Field(1000, ge=100, description="resamples (of groups, not of rows)")
    interval: Annotated[float, Field(gt=0.5, lt=1.0)] = Field(
        0.68, description="probability of the predicted interval"
    )
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = Field(
        0.95, description="of the bootstrap intervals of scores"
    )


class DeploymentSettings(_Section):
    """From the best model to the repository that is served."""

    name: str = Field("ssfr", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")
    margin_dex: float = Field(
        0.0, ge=0, description="[dex] by which the challenger's RMSE on the promotion set must be lower"
    )
    keep_versions: int = Field(3, ge=1)
    require_beats_baselines: bool = Field(
        True, description="a model that does not beat every baseline is not promoted"
    )
    warmup: bool = True
    tolerance_dex: Positive = Field(1e-4, description="[dex] served against offline")


class ServingSettings(_Section):
    """The gRPC server and its client."""

    host: str = Field("127.0.0.1", description="loopback by default: an open port is a decision")
    port: int = Field(8500, ge=0, le=65535, description="0: any free port")
    workers: int = Field(8, ge=1, description="calls answered at the same time; more are queued")
    max_message_mb: Positive = Field(64.0, description="[MB] request or answer")
    max_batch: int = Field(256, ge=1, description="galaxies in a request")
    poll_s: Positive = Field(2.0, description="[s] between looks at the model repository")
    grace_s: Positive = Field(10.0, description="[s] for calls under way at shutdown")
    deadline_s: Positive = Field(20.0, description="[s] a client waits for a request, retries included")
    retries: int = Field(
        4, ge=0, description="of the client, with exponential back-off, when the server is not there"
    )
    tls_certificate: str | None = Field(None, description="PEM file of the server; None: plaintext")
    tls_key: str | None = Field(None, description="PEM file of the server's key")
    tls_client_ca: str | None = Field(
        None, description="PEM file; set: clients must show a certificate it signed"
    )
    tls_server_ca: str | None = Field(
        None, description="client: PEM file that signed the server's certificate; None: plaintext"
    )
    tls_client_certificate: str | None = Field(None, description="client: PEM file, where the server asks")
    tls_client_key: str | None = Field(None, description="client: PEM file of that certificate's key")


class Settings(_Section):
    """All settings of one run."""

    seed: int = Field(1, ge=0)
    simulation: SimulationSettings = SimulationSettings()
    catalog: CatalogSettings = CatalogSettings()
    projection: ProjectionSettings = ProjectionSettings()
    preprocessing: PreprocessingSettings = PreprocessingSettings()
    cases: tuple[Case, ...] = Field((Case(name="composite"),), min_length=1)
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    deployment: DeploymentSettings = DeploymentSettings()
    serving: ServingSettings = ServingSettings()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [case.name for case in self.cases]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"cases: the name '{twice[0]}' is used twice")
        reserved = [name for name in names if name.startswith("baseline_")]
        if reserved:
            raise ValueError(f"cases: '{reserved[0]}': names that begin with 'baseline_' are the baselines'")
        return self

    @model_validator(mode="after")
    def _channels_are_drawn(self) -> Self:
        known = {*self.projection.fields, "mass", *IMAGE_CHANNELS}  # mass is always drawn
        for case in self.cases:
            for channel in case.channels:
                if channel not in known:
                    raise ValueError(
                        f"cases: '{case.name}': no field '{channel}' among projection.fields{nearest(channel, known)}"
                    )
        return self

    @model_validator(mode="after")
    def _model_fits_images(self) -> Self:
        if self.training.model == "vgg16" and self.projection.pixels != 256:
            raise ValueError(
                f"training.model vgg16 needs projection.pixels 256, not {self.projection.pixels}"
            )
        if self.preprocessing.pixel_type == "float32" and self.preprocessing.normalisation != "training":
            raise ValueError(
                "preprocessing.normalisation: with pixel_type float32 only 'training' is possible"
            )
        return self


class UniverseSettings(_Section):
    """The synthetic universe's recipe (docs/universe.md)."""

    galaxies: int = Field(300, ge=1, description="merger trees that end in a galaxy inside the cuts")
    snapshots: tuple[int, ...] = Field((99, 95), min_length=1)
    seed: int = Field(1, ge=0)
    law: Literal["schmidt", "small_clumps", "temperature", "none"] = Field(
        "schmidt", description="what makes star formation out of gas"
    )
    cells_min: int = Field(10_000, ge=100, description="gas cells of the poorest galaxy")
    cells_max: int = Field(30_000, ge=100, description="gas cells of the richest galaxy; up to 1e6")
    chunks: int = Field(3, ge=1, description="files a snapshot is spread over")
    workers: int = Field(2, ge=1, description="processes")

    @model_validator(mode="after")
    def _cells(self) -> Self:
        if self.cells_max < self.cells_min:
            raise ValueError("cells_max is smaller than cells_min")
        if len(set(self.snapshots)) != len(self.snapshots):
            raise ValueError("snapshots: one is named twice")
        return self


def load_settings(path: Path, overrides: dict[str, Any] | None = None) -> Settings:
    """Read a preset or a settings file.

    Parameters
    ----------
    path
        YAML file; keys as in `Settings`, missing ones take their default.
    overrides
        Dotted key -> value, applied last, for example ``{"training.epochs": 5}``.

    Raises
    ------
    InputError
        Not YAML, an unknown key (the message names the nearest right one), or a value out of range.
    """
    try:
        data = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: no such settings file") from None
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a mapping of settings, found {type(data).__name__}")
    for key, value in (overrides or {}).items():
        _set_dotted(data, key, value)
    return parse_settings(data, str(path))


def parse_settings(data: dict[str, Any], origin: str) -> Settings:
    """Validate a mapping of settings; `origin` is named in the error.

    Raises
    ------
    InputError
        One line: origin, key, what was expected.
    """
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{origin}: {_first_problem(error)}") from None


def _set_dotted(data: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise InputError(f"setting '{key}': '{parent}' holds a value, not a section")
    data[last] = value


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        return f"unknown setting '{key}'{nearest(location[-1], _known_keys(location[:-1]))}"
    value = problem.get("input")
    shown = "" if isinstance(value, dict | BaseModel) else f", found {value!r}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{key or 'settings'}: {message[0].lower()}{message[1:]}{shown}"


def _known_keys(location: list[str]) -> list[str]:
    model: Any = Settings
    for part in location:
        if part.isdigit():
            continue
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), Settings)
    return list(model.model_fields)
