"""Every setting of ssfr: type, unit, default and meaning, in one place.

A preset is a YAML file with the settings that differ from these defaults. The defaults are the
`recommended` choices; where the source work did otherwise, the description names the row of the
table of faults (docs/faults.md) in brackets.
"""

from ssfr.components.config.data import (
    IMAGE_CHANNELS,
    Case,
    CatalogSettings,
    Filter,
    ImageCatalogSettings,
    LabelSettings,
    PreprocessingSettings,
    ProjectionSettings,
    Reduction,
    SimulationSettings,
    SplitSettings,
)
from ssfr.components.config.learning import EvaluationSettings, TrainingSettings
from ssfr.components.config.models import CompactSettings, Cost, ModelSettings, Vgg16Settings
from ssfr.components.config.section import Fraction, Positive
from ssfr.components.config.service import DeploymentSettings, ServingSettings
from ssfr.components.config.settings import Settings, load_settings, parse_settings, settings_with
from ssfr.components.config.universe import UniverseSettings

__all__ = [
    "IMAGE_CHANNELS",
    "Case",
    "CatalogSettings",
    "CompactSettings",
    "Cost",
    "DeploymentSettings",
    "EvaluationSettings",
    "Filter",
    "Fraction",
    "ImageCatalogSettings",
    "LabelSettings",
    "ModelSettings",
    "Positive",
    "PreprocessingSettings",
    "ProjectionSettings",
    "Reduction",
    "ServingSettings",
    "Settings",
    "SimulationSettings",
    "SplitSettings",
    "TrainingSettings",
    "UniverseSettings",
    "Vgg16Settings",
    "load_settings",
    "parse_settings",
    "settings_with",
]
