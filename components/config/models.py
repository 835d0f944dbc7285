"""Settings of the models: what can be set, what a model demands of images and costs; without its network."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import Field, SerializeAsAny, ValidationError, field_validator

from ssfr.components.config.section import Section
from ssfr.components.errors import nearest

ENTRY_POINTS = "ssfr.models"
"""Group in which another package names its models: ``NAME = "module:Settings"``, of `ModelSettings`."""
FeatureType = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Cost:
    """What a model costs, measured on two cores of a 2024 server processor; right to a factor of two.

    Attributes
    ----------
    feature_bytes
        Of one galaxy's features on the disk.
    feature_s
        [s] to compute them for training.
    served_s
        [s] to compute them as the server does.
    epoch_s
        [s] of a galaxy in one epoch.
    """

    feature_bytes: float
    feature_s: float
    served_s: float
    epoch_s: float


class ModelSettings(Section):
    """Settings of one model, and its title and costs, without loading its network.

    A model is a subclass with its settings as fields, and the network class that `network` names.
    """

    network: ClassVar[str]
    """``module:class`` of the `ssfr.components.models.architecture.Architecture`, which loads Keras."""
    title: ClassVar[str]
    """In a few words, for the report."""
    default_rate: ClassVar[float]
    """Learning rate of adamw where none is set."""
    losses: ClassVar[tuple[str, ...]] = ("gaussian_nll", "mse")
    """Those its outputs fit: two outputs for gaussian_nll, one for mse."""
    turns: ClassVar[bool] = True
    """Whether features are images still, (y, x, C), that may be turned and mirrored in training."""
    fused: ClassVar[bool] = False
    """Whether the training step is faster when XLA fuses it: a few dense layers are, convolutions not."""
    one_thread: ClassVar[bool] = False
    """Whether, for one galaxy, its operations take no longer than waking a second thread."""
    licence: ClassVar[str] = ""
    """Sentence on the published weights it starts from, for the model card."""
    way_out_when_dead: ClassVar[str] = ""
    """Before the general advice, where its ReLUs have died."""

    @property
    def feature_type(self) -> FeatureType:
        """Type in which features are computed and kept for training."""
        return "float32"

    @property
    def images_at_a_time(self) -> int:
        """Images whose features are computed together."""
        return 32

    @property
    def published_weights(self) -> str | None:
        """Where VGG16's published weights are, if the model starts from them: a path, or ``imagenet``."""
        return None

    @property
    def label_scale(self) -> tuple[float, float] | None:
        """Offset and scale between output and label [dex]; None: mean and scatter of the training labels."""
        return None

    @property
    def last_unit(self) -> str:
        """Activation of the last unit, in words."""
        return "linear"

    def check(self, pixels: int, channels: int) -> None:
        """Refuse images that do not fit.

        Parameters
        ----------
        pixels
            A side.
        channels
            Of the network's input.

        Raises
        ------
        ValueError
            One line: the setting, what was expected and found, and the way out.
        """

    def cost(self, pixels: int, channels: int) -> Cost:
        """Return what a galaxy of so many pixels a side and channels costs."""
        raise NotImplementedError


class CompactSettings(ModelSettings):
    """The small network trained from scratch."""

    network = "ssfr.components.models.compact:Compact"
    title = "compact CNN"
    default_rate = 5e-3
    one_thread = True

    input_pixels: int = Field(
        64,
        ge=16,
        description="a side; maps are reduced to four means of each block of pixels, up to the largest",
    )
    local_widths: tuple[int, ...] = Field((16, 16), min_length=1, description="layers that see single pixels")
    widths: tuple[int, ...] = Field(
        (16, 32), max_length=4, description="channels of each stage of convolutions; each halves the image"
    )
    dense: int = Field(64, ge=1)
    dropout: float = Field(0.3, ge=0, lt=1, description="of what the convolutions say")

    BLOCK_MEANS: ClassVar[int] = 4
    """Numbers that the network sees of each block of pixels of a channel."""

    def check(self, pixels: int, channels: int) -> None:
        """Refuse images whose side is no multiple of `input_pixels`, or too small for all stages."""
        side = self.side(pixels)
        if pixels % side:
            raise ValueError(
                f"training.compact.input_pixels: {side} does not divide the image's {pixels} pixels a side"
            )
        if side < 2 ** len(self.widths):
            raise ValueError(
                f"training.compact.widths: {len(self.widths)} stages halve the image as often, and one of"
                f" {side} pixels is too small for that; give fewer, or larger images"
            )

    def side(self, pixels: int) -> int:
        """Return the side [px] to which images are averaged down."""
        return min(pixels, self.input_pixels)

    def means(self, pixels: int) -> int:
        """Return how many numbers are seen of each block of a channel; a pixel stays as it is."""
        return self.BLOCK_MEANS if pixels > self.input_pixels else 1

    def cost(self, pixels: int, channels: int) -> Cost:
        """Return what a galaxy costs: nothing but the epochs takes time."""
        area = self.side(pixels) ** 2
        return Cost(4.0 * self.means(pixels) * channels * area, 0.0, 0.0, 2.5e-7 * area)


class Vgg16Settings(ModelSettings):
    """The thesis' network: frozen VGG16, trained head (309,186 parameters)."""

    network = "ssfr.components.models.vgg16:Vgg16"
    title = "VGG16, frozen, with a trained head"
    default_rate = 2e-4
    losses = ("mse",)
    turns = False
    fused = True
    licence = "The frozen backbone holds VGG16's published ImageNet weights (Visual Geometry Group, Oxford; CC BY 4.0)."
    way_out_when_dead = "set training.vgg16.last_activation: linear"

    weights: str = Field(
        "imagenet",
        description="imagenet (Keras' cache), the path of the published no-top file, or random (on explicit request)",
    )
    features: FeatureType = Field("bfloat16", description="type in which features are computed and cached")
    preprocess_input: bool = Field(True, description="false: raw 0..255 [15]")
    last_activation: Literal["linear", "relu"] = Field(
        "linear", description="relu can die and cannot go below 0 [14]"
    )
    feature_batch: int = Field(16, ge=1)

    PIXELS: ClassVar[int] = 256
    _THESIS_OFFSET: ClassVar[float] = -15.0
    _FEATURE_S: ClassVar[Mapping[str, float]] = {"bfloat16": 0.05, "float32": 0.15}
    _BYTES: ClassVar[Mapping[str, int]] = {"bfloat16": 2, "float32": 4}

    def result_settings(self) -> dict[str, Any]:
        """As `Section.result_settings`; published weights are the same bytes wherever they are."""
        weights = "random" if self.published_weights is None else "imagenet"
        return super().result_settings() | {"weights": weights}

    @property
    def feature_type(self) -> FeatureType:
        """Type in which features are computed and kept for training."""
        return self.features

    @property
    def images_at_a_time(self) -> int:
        """Images whose features are computed together."""
        return self.feature_batch

    @property
    def published_weights(self) -> str | None:
        """Where VGG16's published weights are; None: random ones are wanted."""
        return None if self.weights == "random" else self.weights

    @property
    def label_scale(self) -> tuple[float, float] | None:
        """The thesis' label, log10(1e15 sSFR), where the last unit is a ReLU: it can't reach below 0."""
        return (self._THESIS_OFFSET, 1.0) if self.last_activation == "relu" else None

    @property
    def last_unit(self) -> str:
        """Activation of the last unit, in words."""
        return "ReLU" if self.last_activation == "relu" else "linear"

    def check(self, pixels: int, channels: int) -> None:
        """Refuse images of another size than ImageNet's, or that make no colours."""
        if pixels != self.PIXELS or channels not in (1, 3):
            raise ValueError(
                f"training.model: vgg16 takes {self.PIXELS} pixels a side and 1 or 3 channels, not {pixels} and"
                f" {channels}; change projection.pixels or the case, or use compact"
            )

    def cost(self, pixels: int, channels: int) -> Cost:
        """Return what a galaxy costs: the backbone once an image, and a small head in every epoch."""
        return Cost(
            8 * 8 * 512 * self._BYTES[self.features],
            self._FEATURE_S[self.features],
            self._FEATURE_S["float32"],
            3e-5,
        )


class ModelSections(Section):
    """Which model is trained, and a section of settings for each."""

    model: str = Field(
        "compact", description="compact, vgg16, or a model of another package, by the name it has there"
    )
    compact: CompactSettings = CompactSettings()
    vgg16: Vgg16Settings = Vgg16Settings()
    models: dict[str, SerializeAsAny[ModelSettings]] = Field(
        default_factory=dict,
        description="sections of models from other packages (entry points of the group ssfr.models), by name",
    )

    @field_validator("model")
    @classmethod
    def _exists(cls, name: str) -> str:
        known = [*cls._own(), *_of_packages().names]
        if name not in known:
            raise ValueError(f"no model {name!r}{nearest(name, known)}")
        return name

    @field_validator("models", mode="before")
    @classmethod
    def _sections_of_packages(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {name: _parse(name, section) for name, section in value.items()}

    def result_settings(self) -> dict[str, Any]:
        """As `Section.result_settings`, of the models' sections that of the chosen one alone."""
        others = {*self._own(), "models"}
        found = {name: value for name, value in super().result_settings().items() if name not in others}
        return found | {self.model: self.section.result_settings()}

    @property
    def section(self) -> ModelSettings:
        """The settings of the model that is trained."""
        if self.model in self._own():
            section: ModelSettings = getattr(self, self.model)
            return section
        return self.models.get(self.model) or _load(self.model)()

    @classmethod
    def class_of(cls, name: str) -> type[ModelSettings]:
        """Return the settings class of a model, of this package or of another.

        Raises
        ------
        ValueError
            There is none of that name.
        """
        return cls._own().get(name) or _load(name)

    @classmethod
    def _own(cls) -> dict[str, type[ModelSettings]]:
        """Return the models with a section here, by name."""
        annotations = {name: field.annotation for name, field in cls.model_fields.items()}
        return {
            name: annotation
            for name, annotation in annotations.items()
            if isinstance(annotation, type) and issubclass(annotation, ModelSettings)
        }


def _of_packages() -> importlib.metadata.EntryPoints:
    """Return the models of other packages."""
    return importlib.metadata.entry_points(group=ENTRY_POINTS)


def _parse(name: str, section: Any) -> ModelSettings:
    """Return the settings of another package's model; one line says what is wrong with them."""
    try:
        return _load(name).model_validate(section)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join([name, *map(str, problem["loc"])])
        raise ValueError(f"{key}: {problem['msg'].lower()}") from None


def _load(name: str) -> type[ModelSettings]:
    """Return the settings of another package's model.

    Raises
    ------
    ValueError
        There is none of that name, it can't be imported, or it is no `ModelSettings`.
    """
    found = _of_packages().select(name=name)
    if not found:
        raise ValueError(f"no installed package has a model {name!r}{nearest(name, _of_packages().names)}")
    entry = next(iter(found))
    try:
        loaded = entry.load()
    except Exception as error:  # whatever a foreign module raises when it is imported
        said = " ".join(str(error).split())
        raise ValueError(f"model {name!r}: {entry.value} can't be imported: {said}") from None
    if not (isinstance(loaded, type) and issubclass(loaded, ModelSettings)):
        raise ValueError(f"model {name!r}: {entry.value} is no subclass of ModelSettings")
    return loaded
