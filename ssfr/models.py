"""Trained models: load one from disk, and predict from maps or images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import QTable
from numpy.typing import NDArray

from ssfr.components.errors import InputError, nearest
from ssfr.components.identity.labels import LabelIdentity
from ssfr.components.identity.maps import MapIdentity
from ssfr.components.runtime.extras import require_extras
from ssfr.components.serving.client.inputs import Accepted, Inputs, read_inputs
from ssfr.components.storage.artifact import read_json
from ssfr.maps import Maps
from ssfr.quantities import logarithm
from ssfr.report import read_report

_QUIET = ("TF_CPP_MIN_LOG_LEVEL", "3")
"""Keeps TensorFlow from writing about the machine; what goes wrong is an exception all the same."""
Predict = Callable[[Inputs], tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]
"""From galaxies to the predicted label and the two ends of its interval, each (n,) float32 [dex]."""


class Model:
    """A trained model; loaded by `ssfr.load_model`.

    Attributes
    ----------
    location
        Folder that it was loaded from.
    label
        What it predicts: the quantity, for example ``log10_ssfr``, its unit, aperture and floor.
    accepted
        What it takes: maps or images, and how those were drawn that it was trained on.
    """

    def __init__(self, location: Path, label: LabelIdentity, accepted: Accepted, predict: Predict) -> None:
        self.location = location
        self.label = label
        self.accepted = accepted
        self._predict = predict

    def __repr__(self) -> str:
        accepted = self.accepted
        fields, side = ", ".join(accepted.maps.names), accepted.maps.pixels
        return f"<Model of {self.label.quantity}: {' or '.join(accepted.takes)} of {fields}, {side} pixels>"

    def predict(self, galaxies: Galaxies) -> QTable:
        """Predict the label of galaxies.

        Parameters
        ----------
        galaxies
            `Maps` of one galaxy or of several; names of files of maps or images; or an array: (n, fields,
            pixels, pixels) float maps in the model's units, or (n, pixels, pixels, 3) uint8 images.

        Returns
        -------
        QTable
            A row a galaxy: `galaxy`, the label and the ends of its interval, `lower` and `upper`; logarithms
            are a `Dex` of their unit.

        Raises
        ------
        InputError
            Not what the model takes: another kind or shape, or maps that were drawn otherwise (an array does
            not say how).

        Examples
        --------
        >>> report = ssfr.read_report("run/demo")
        >>> maps = ssfr.draw(report.simulation, 99, 0)
        >>> table = ssfr.load_model("run/demo").predict(maps)
        >>> table.colnames
        ['galaxy', 'log10_ssfr', 'lower', 'upper']
        >>> table["log10_ssfr"].physical.unit
        Unit("1 / yr")
        >>> ssfr.load_model("run/demo").predict(ssfr.draw(report.simulation, 99, 0, width=45))
        Traceback (most recent call last):
        ...
        ssfr.components.errors.InputError: Snap99ID0: other maps than those of the model: width: 45 kpc, not
        90 kpc; draw them as those, or choose a model of such maps
        """
        inputs = as_inputs(galaxies)
        inputs.check(self.accepted)
        label = self.label
        return prediction_table(inputs.names, label.quantity, label.linear_unit, *self._predict(inputs))


Galaxies = Maps | Sequence[Maps] | str | PathLike[str] | Sequence[str | PathLike[str]] | NDArray[Any]
"""What a model predicts from."""


def load_model(location: str | PathLike[str], case: str | None = None) -> Model:
    """Load a trained model; TensorFlow is loaded with it.

    Parameters
    ----------
    location
        Folder of a run, of a trained model (model.json), or of an exported version (saved_model.pb).
    case
        Which of a run's models; None: the best.

    Raises
    ------
    InputError
        No such model, a damaged one, or TensorFlow is not installed.

    Examples
    --------
    >>> model = ssfr.load_model("run/demo", case="mass")
    >>> model
    <Model of log10_ssfr: maps of entropy, mass, temperature, 128 pixels>
    """
    folder = Path(location)
    if (folder / "saved_model.pb").is_file():
        return _exported(folder)
    if not (folder / "model.json").is_file():
        folder = _of_run(folder, case)
    return _trained(folder)


def as_inputs(galaxies: Galaxies) -> Inputs:
    """Return galaxies, however given, as a model takes them."""
    if isinstance(galaxies, np.ndarray):
        names = tuple(str(row) for row in range(len(galaxies)))
        if galaxies.ndim != 4:
            raise InputError(f"an array of shape {galaxies.shape}; expected four axes, galaxies first")
        if galaxies.dtype == np.uint8:
            return Inputs(names, (Path("array"),), images=galaxies)
        return Inputs(names, (Path("array"),), maps=galaxies)
    given = [galaxies] if isinstance(galaxies, Maps | str | PathLike) else list(galaxies)
    drawn = [one for one in given if isinstance(one, Maps)]
    if not drawn:
        return read_inputs([Path(str(one)) for one in given])
    if len(drawn) < len(given):
        other = next(one for one in given if not isinstance(one, Maps))
        raise InputError(f"{other}: a file beside maps that are drawn already; predict them apart")
    first = drawn[0]
    for one in drawn[1:]:
        one.identity.require_same(first.identity, one.name, f"those of {first.name}", "predict them apart")
    return Inputs(
        tuple(one.name for one in drawn),
        (Path(first.name),),
        maps=np.stack([one.data for one in drawn]),
        identity=first.identity,
    )


def prediction_table(
    names: Sequence[str],
    label: str,
    linear_unit: str,
    predicted: NDArray[Any],
    lower: NDArray[Any],
    upper: NDArray[Any],
) -> QTable:
    """Return predictions of a label, logarithms of a quantity in `linear_unit`, as a table with units."""
    columns: dict[str, Any] = {"galaxy": list(names)}
    for name, values in ((label, predicted), ("lower", lower), ("upper", upper)):
        columns[name] = logarithm(values, linear_unit)
    found = QTable(columns)
    for name in (label, "lower", "upper"):
        found[name].info.format = ".3f"
    return found


def _of_run(workdir: Path, case: str | None) -> Path:
    report = read_report(workdir)
    trained = report.folders("training")
    chosen = case or report.best_case
    if chosen not in trained:
        raise InputError(f"{workdir}: no model of case '{chosen}'{nearest(chosen, trained)}")
    return trained[chosen]


def _trained(folder: Path) -> Model:
    require_extras("train")
    os.environ.setdefault(*_QUIET)
    from ssfr.components.models.predictor import Predictor

    predictor = Predictor.load(folder)
    accepted = Accepted(takes=predictor.spec.takes, maps=predictor.spec.maps, label=predictor.label)

    def predict(inputs: Inputs) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        if inputs.maps is not None:
            found = predictor.predict_maps(inputs.maps)
        else:
            assert inputs.images is not None
            found = predictor.predict_images(inputs.images)
        return found.predicted, found.lower, found.upper

    return Model(folder, predictor.label, accepted, predict)


def _exported(folder: Path) -> Model:
    require_extras("serve")
    os.environ.setdefault(*_QUIET)
    import tensorflow as tf

    from ssfr.components.labels.served import outputs_of
    from ssfr.components.serving.protocol.names import DEFAULT_SIGNATURE, PREDICT_MAPS

    path, way_out = folder / "assets.extra" / "ssfr.json", "export it again"
    description = read_json(path, "is it a model that ssfr exported?")
    maps = MapIdentity.parse(description.get("maps"), f"{path}: maps", way_out)
    label = LabelIdentity.parse(description.get("label"), f"{path}: label", way_out)
    accepted = Accepted(takes=tuple(description["takes"]), maps=maps, label=label)
    signatures = tf.saved_model.load(str(folder)).signatures

    def predict(inputs: Inputs) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        if inputs.maps is not None:
            outputs = signatures[PREDICT_MAPS](maps=tf.constant(inputs.maps))
        else:
            outputs = signatures[DEFAULT_SIGNATURE](images=tf.constant(inputs.images))
        predicted, _, lower, upper = (outputs[name].numpy() for name in outputs_of(label.quantity))
        return predicted, lower, upper

    return Model(folder, label, accepted, predict)
