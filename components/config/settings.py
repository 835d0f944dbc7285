"""All settings of one run, and how a preset is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from ssfr.components.config.cluster import ClusterSettings
from ssfr.components.config.data import (
    IMAGE_CHANNELS,
    Case,
    CatalogSettings,
    PreprocessingSettings,
    ProjectionSettings,
    SimulationSettings,
)
from ssfr.components.config.learning import EvaluationSettings, TrainingSettings
from ssfr.components.config.section import Section
from ssfr.components.config.service import DeploymentSettings, ServingSettings
from ssfr.components.config.storage import StorageSettings
from ssfr.components.errors import InputError, nearest


class Settings(Section):
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
    storage: StorageSettings = StorageSettings()
    cluster: ClusterSettings = ClusterSettings()

    @property
    def gas_of(self) -> Literal["subhalo", "two_half_mass_radii", "halo"]:
        """Whose gas is drawn: as `projection.gas_of` says, or that of the aperture of the label."""
        chosen = self.projection.gas_of
        return self.catalog.label_aperture if chosen == "label" else chosen

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
    def _filters_fit_the_maps(self) -> Self:
        drawn = self.projection
        pixel_kpc = drawn.width / drawn.pixels if drawn.width_unit == "kpc" else None
        for case in self.cases:
            try:
                case.filter.sigmas_px(drawn.pixels, pixel_kpc)
            except ValueError as error:
                raise ValueError(f"cases: '{case.name}': {error}") from None
        return self

    @model_validator(mode="after")
    def _model_fits_images(self) -> Self:
        eight_bits = self.preprocessing.pixel_type == "uint8"
        for case in self.cases:
            self.training.section.check(self.projection.pixels, 3 if eight_bits else len(case.channels))
        if self.preprocessing.pixel_type == "float32" and self.preprocessing.normalisation != "training":
            raise ValueError(
                "preprocessing.normalisation: with pixel_type float32 only 'training' is possible"
            )
        if self.preprocessing.pixel_type == "float32" and self.preprocessing.stretch_negative == "even":
            raise ValueError(
                "preprocessing.stretch_negative: even is the thesis' stretch to 8 bits, and needs pixel_type:"
                " uint8"
            )
        return self

    @model_validator(mode="after")
    def _validation_where_it_decides(self) -> Self:
        if self.preprocessing.split.validation > 0:
            return self
        for setting, used in (
            ("keep: best_validation", self.training.keep == "best_validation"),
            ("patience", self.training.patience is not None),
        ):
            if used:
                raise ValueError(
                    f"training.{setting} needs galaxies to validate on, but preprocessing.split.validation is 0;"
                    " raise it, or set training.keep: last and training.patience: null"
                )
        return self

    @model_validator(mode="after")
    def _audit_is_of_a_case(self) -> Self:
        names = [case.name for case in self.cases]
        audited = self.evaluation.audit_case
        if audited is not None and audited not in names:
            raise ValueError(f"evaluation.audit_case: no case '{audited}'{nearest(audited, names)}")
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
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{_origin(error, path, overrides or {})}: {_first_problem(error)}") from None


def settings_with(overrides: Mapping[str, Any]) -> Settings:
    """Return the default settings with some of them changed.

    Parameters
    ----------
    overrides
        Dotted key -> value, for example ``{"projection.pixels": 128}``.

    Raises
    ------
    InputError
        An unknown key, or a value out of range.
    """
    data: dict[str, Any] = {}
    for key, value in overrides.items():
        _set_dotted(data, key, value)
    return parse_settings(data, "settings")


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


def _origin(error: ValidationError, path: Path, overrides: Mapping[str, Any]) -> str:
    """Return where the first problem was written: in the file, or on the command line."""
    key = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"])
    typed = (one for one in overrides if key == one or key.startswith(f"{one}."))
    return next((f"--set {one}" for one in typed), str(path))


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
    if problem["type"] == "literal_error":
        choices = re.findall(r"'([^']*)'", problem["ctx"]["expected"])
        return f"{key}: no choice {value!r}{nearest(str(value), choices)}"
    if problem["type"] in ("tuple_type", "list_type"):
        return f"{key}: expected a list, as [a, b], found {value!r}"
    shown = "" if isinstance(value, dict | BaseModel) else f", found {value!r}"
    message = problem["msg"].removeprefix("Value error, ")
    where = f"{key}: " if key else ""
    return f"{where}{message[0].lower()}{message[1:]}{shown}"


def _known_keys(location: list[str]) -> list[str]:
    model: Any = Settings
    for part in location:
        if part.isdigit():
            continue
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), Settings)
    return list(model.model_fields)
