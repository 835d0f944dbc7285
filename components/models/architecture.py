"""What a network is: a frozen part, computed once an image, and a trained part behind it."""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from ssfr.components.config import ModelSettings, TrainingSettings
from ssfr.components.errors import InputError
from ssfr.components.imagesets.spec import ImageSpec
from ssfr.components.models.weights import VGG16_MD5, random_weights

if TYPE_CHECKING:  # a model is found by name, and only then Keras is loaded
    import keras

S = TypeVar("S", bound=ModelSettings)


@dataclass(frozen=True)
class Frozen:
    """The part of a network that is not trained.

    Attributes
    ----------
    run
        (n, P, P, C) float32 images -> features; no trainable parameters; keras.ops only.
    parameters
        How many it has.
    origin
        Where they come from, for model.json; None where there are none.
    """

    run: Callable[[Any], Any]
    parameters: int = 0
    origin: dict[str, Any] | None = None


@dataclass(frozen=True)
class Network:
    """A network in two parts, so that what does not change in training is computed once an image.

    Attributes
    ----------
    frozen
        From images to features.
    trained
        features -> (n, 1) or (n, 2) outputs: the standardised label, and the log of its variance.
    """

    frozen: Frozen
    trained: keras.Model

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one galaxy's features."""
        return tuple(self.trained.input_shape[1:])


class Architecture(ABC, Generic[S]):
    """Builds the networks of one model; one subclass per module, named by its `ModelSettings.network`.

    Parameters
    ----------
    training
        Settings of training; `settings` is the model's own section.
    """

    def __init__(self, training: TrainingSettings) -> None:
        self.training = training
        self.settings: S = training.section  # type: ignore[assignment]

    def network(
        self, spec: ImageSpec, seed: int, dtype: str = "float32", expected_md5: str = VGG16_MD5
    ) -> Network:
        """Build both parts, the trained one freshly initialised.

        Parameters
        ----------
        spec
            Of the images.
        seed
            Of the initial weights.
        dtype
            Type in which a frozen backbone computes: float32 (as served) or bfloat16.
        expected_md5
            Of VGG16's weights file.

        Raises
        ------
        InputError
            The images don't fit the network, or published weights are absent or others.
        """
        self._check(spec)
        return Network(self.build_frozen(spec, dtype, seed, expected_md5), self.trained(spec, seed))

    def trained(self, spec: ImageSpec, seed: int) -> keras.Model:
        """Build the part that is trained, freshly initialised from `seed`.

        Raises
        ------
        InputError
            The images don't fit the network.
        """
        self._check(spec)
        outputs = 2 if self.training.loss == "gaussian_nll" else 1
        network = self.build_trained(spec, outputs, seed)
        random_weights(network, seed)
        return network

    def build_frozen(self, spec: ImageSpec, dtype: str, seed: int, expected_md5: str) -> Frozen:
        """Return the frozen part: the images as they are, unless a model has one; arguments as `network`."""
        return Frozen(lambda images: images)

    @abstractmethod
    def build_trained(self, spec: ImageSpec, outputs: int, seed: int) -> keras.Model:
        """Build the trained part: features -> (n, outputs); its initial weights are drawn by `trained`.

        Parameters
        ----------
        spec
            Of the images.
        outputs
            1, or 2 with the log of the variance.
        seed
            Of the dropout.
        """

    def begin(self, trained: keras.Model, features: np.ndarray) -> float:
        """Prepare a fresh network for training, and return the unit in which it sees features.

        Parameters
        ----------
        trained
            From `trained`; may be changed.
        features
            (n, ...) float32, of some training galaxies.
        """
        return 1.0

    def _check(self, spec: ImageSpec) -> None:
        try:
            self.settings.check(spec.pixels, spec.output_channels)
        except ValueError as error:
            raise InputError(f"case '{spec.case}': {error}") from None


def architecture_of(training: TrainingSettings) -> Architecture[Any]:
    """Return the model that the settings name; loads Keras."""
    model: Architecture[Any] = pkgutil.resolve_name(training.section.network)(training)
    return model
