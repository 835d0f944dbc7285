"""From maps or pictures to a label with an interval: offline, and as the graph that is served."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from keras import ops
from pydantic import ValidationError

from ssfr.components.config import TrainingSettings
from ssfr.components.errors import InputError
from ssfr.components.identity.labels import LabelIdentity
from ssfr.components.imagesets.spec import ImageSpec
from ssfr.components.imagesets.transform import images, images_from_pictures
from ssfr.components.models.architecture import Network, architecture_of
from ssfr.components.models.folder import DESCRIPTION, read_description, read_weights
from ssfr.components.models.outputs import mean_and_log_variance, traced
from ssfr.components.models.weights import VGG16_MD5

Outputs = dict[str, Any]
"""predicted, lower, upper [dex] and linear (10^predicted, in the label's unit), each (n,) float32 tensors."""


_NAMES = ("predicted", "lower", "upper")


@dataclass(frozen=True)
class Prediction:
    """Predicted labels of n galaxies, each (n,) float32 [dex].

    `lower` and `upper` bound the interval that holds the true value with the probability named in
    model.json (settings.evaluation.interval).
    """

    predicted: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


@dataclass(frozen=True)
class Predictor:
    """A trained model with everything in front of it and behind it.

    Attributes
    ----------
    spec
        From raw maps or pictures to the network's input.
    network
        From images to outputs.
    offset, scale
        Label [dex] = offset + scale x first output.
    interval
        As in model.json: ``{"kind": "scaled_sigma", "factor"}`` or ``{"kind": "residuals", "lower",
        "upper"}`` [dex].
    label
        What is predicted.
    """

    spec: ImageSpec
    network: Network
    offset: float
    scale: float
    interval: dict[str, Any]
    label: LabelIdentity

    @classmethod
    def load(cls, directory: Path, expected_md5: str = VGG16_MD5, beside: Self | None = None) -> Self:
        """Read a model folder.

        Parameters
        ----------
        directory
            Written by training.
        expected_md5
            Of VGG16's weights file, where the model needs it.
        beside
            Another network of the same case: its frozen part is used, not built again.

        Raises
        ------
        InputError
            Not a model folder, a damaged one, VGG16's weights are not those it was trained with, or not of
            the same case as `beside`.
        """
        description = read_description(directory)
        try:
            settings = TrainingSettings.model_validate(description["training"])
            spec = ImageSpec.model_validate(description["spec"])
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            key = ".".join(str(part) for part in problem["loc"])
            said = problem["msg"].lower().removeprefix("value error, ")
            raise InputError(f"{directory / DESCRIPTION}: {key}: {said}; train it again") from None
        backbone, model = description["backbone"], architecture_of(settings)
        if beside is None:
            # A random backbone is that of the run's first seed, for every network of the case.
            seed = (backbone or {}).get("seed", description["seed"])
            network = model.network(spec, seed, expected_md5=expected_md5)
        elif beside.spec == spec:
            network = replace(beside.network, trained=model.trained(spec, description["seed"]))
        else:
            raise InputError(f"{directory / DESCRIPTION}: spec: not that of the network it is used beside")
        if network.frozen.origin != backbone:
            raise InputError(
                f"{directory / DESCRIPTION}: trained with other published weights than those at"
                f" '{settings.section.published_weights}'; put the right file there or train it again"
            )
        network.trained.set_weights(read_weights(directory, description))
        label = description["label"]
        where = f"{directory / DESCRIPTION}: label.identity"
        identity = LabelIdentity.parse(label.get("identity"), where, "train it again")
        return cls(spec, network, label["offset"], label["scale"], description["interval"], identity)

    def graph_maps(self, maps: Any) -> Outputs:
        """Predict from (n, F, P, P) raw maps (`spec.fields`, in `spec.units`; uint8 for image catalogues).

        Written in keras.ops alone, with any n including 0, so that tf.function can trace it.
        """
        return self._outputs(images(ops, maps, self.spec))

    def graph_pictures(self, pictures: Any) -> Outputs:
        """Predict from (n, P, P, 3) uint8 pictures, where `spec.accepts_images`; traceable likewise."""
        return self._outputs(images_from_pictures(ops, pictures, self.spec))

    def graph(self, inputs: Any) -> Outputs:
        """Predict from the model's native input: pictures for an image catalogue's, else maps."""
        return self.graph_pictures(inputs) if self.spec.source == "images" else self.graph_maps(inputs)

    def predict_maps(self, maps: np.ndarray, batch: int = 32) -> Prediction:
        """Predict from (n, F, P, P) raw maps, `batch` galaxies at a time."""
        side = self.spec.pixels
        return self._predict(self._traced_maps, maps, (len(self.spec.fields), side, side), batch)

    def predict_images(self, pictures: np.ndarray, batch: int = 32) -> Prediction:
        """Predict from (n, P, P, 3) uint8 pictures, `batch` at a time.

        Raises
        ------
        InputError
            The model starts from float maps.
        """
        if not self.spec.accepts_images:
            raise InputError(f"case '{self.spec.case}': the model takes physical maps, not 8-bit images")
        if pictures.dtype != np.uint8:
            raise InputError(f"images: expected uint8, found {pictures.dtype}")
        return self._predict(self._traced_pictures, pictures, (self.spec.pixels, self.spec.pixels, 3), batch)

    @cached_property
    def _traced_maps(self) -> Callable[[Any], Outputs]:
        return traced(self.graph_maps)

    @cached_property
    def _traced_pictures(self) -> Callable[[Any], Outputs]:
        return traced(self.graph_pictures)

    def _predict(
        self, graph: Callable[[Any], Outputs], inputs: np.ndarray, shape: tuple[int, ...], batch: int
    ) -> Prediction:
        if inputs.shape[1:] != shape:
            expected = ", ".join(str(length) for length in ("n", *shape))
            raise InputError(f"model of case '{self.spec.case}': expected ({expected}), found {inputs.shape}")
        result = {name: np.empty(len(inputs), np.float32) for name in _NAMES}
        for start in range(0, len(inputs), batch):
            part = slice(start, start + batch)
            outputs = graph(ops.convert_to_tensor(inputs[part]))
            for name in _NAMES:
                result[name][part] = ops.convert_to_numpy(outputs[name])
        return Prediction(**result)

    def _outputs(self, network_input: Any) -> Outputs:
        features, count = self.features(network_input)
        return self.answers(features, count)

    def features(self, network_input: Any) -> tuple[Any, Any]:
        """Return the features of images, at least one row of them, and the number of images.

        TensorFlow's fused convolutions fail on an empty batch, so the network always sees one row.
        """
        count = ops.shape(network_input)[0]
        blank = ops.zeros((1, *network_input.shape[1:]), dtype=network_input.dtype)
        rows_given = network_input.shape[0]
        if rows_given is None:
            rows = ops.cond(count > 0, lambda: network_input, lambda: blank)
        else:
            rows = network_input if rows_given else blank
        return self.network.frozen.run(rows), count

    def answers(self, features: Any, count: Any) -> Outputs:
        """Return the answers for the first `count` rows of features."""
        outputs = self.network.trained(features, training=False)[:count]
        value = self.offset + self.scale * outputs[:, 0]
        if self.interval["kind"] == "scaled_sigma":
            _, log_variance = mean_and_log_variance(outputs)
            half = self.interval["factor"] * self.scale * ops.exp(0.5 * log_variance)
            lower, upper = value - half, value + half
        else:
            lower, upper = value + self.interval["lower"], value + self.interval["upper"]
        return {"predicted": value, "linear": ops.power(10.0, value), "lower": lower, "upper": upper}


def predict_all(
    folders: Sequence[Path], batches: Iterator[np.ndarray], expected_md5: str = VGG16_MD5
) -> list[Prediction]:
    """Predict with several networks of one case, computing images and the frozen part once a batch.

    Parameters
    ----------
    folders
        Model folders of one case: seeds, milestones, audit. At least one.
    batches
        Of (n, F, P, P) raw maps, in the order in which predictions are wanted.
    expected_md5
        Of VGG16's weights file, where the model needs it.

    Returns
    -------
    list of Prediction
        One a folder, each of all galaxies.

    Raises
    ------
    InputError
        As `Predictor.load`; or the folders are not of one case.
    """
    first = Predictor.load(folders[0], expected_md5)
    predictors = [first, *(Predictor.load(folder, expected_md5, beside=first) for folder in folders[1:])]

    def graph(maps: Any) -> list[Outputs]:
        features, count = first.features(images(ops, maps, first.spec))
        return [predictor.answers(features, count) for predictor in predictors]

    answer = traced(graph)
    found: list[dict[str, list[np.ndarray]]] = [{name: [] for name in _NAMES} for _ in predictors]
    for maps in batches:
        for of_one, outputs in zip(found, answer(ops.convert_to_tensor(maps)), strict=True):
            for name in _NAMES:
                of_one[name].append(ops.convert_to_numpy(outputs[name]))
    empty = [np.empty(0, np.float32)]
    return [Prediction(**{name: np.concatenate(empty + parts[name]) for name in _NAMES}) for parts in found]
