"""A trained model as a SavedModel with its preprocessing inside, as TF Serving reads it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from ssfr.components.config import TrainingSettings
from ssfr.components.identity.labels import LabelIdentity
from ssfr.components.imagesets.spec import ImageSpec
from ssfr.components.imagesets.transform import composite, eight_bits
from ssfr.components.labels.served import outputs_of
from ssfr.components.models.folder import read_description
from ssfr.components.models.predictor import Predictor
from ssfr.components.serving.protocol.names import DEFAULT_SIGNATURE, DESCRIBE, PREDICT_MAPS, PREDICT_PNG
from ssfr.components.serving.protocol.tensors import to_proto
from ssfr.components.serving.protocol.wire_pb2 import ModelSpec, PredictionLog, PredictLog, PredictRequest
from ssfr.components.serving.repository.folder import DESCRIPTION, WARMUP
from ssfr.components.storage.artifact import atomic_file, publish, sha256_json, write_json

FORMAT = 4
"""Of what is exported: part of a model's digest, so that a new form is a new version."""

_KNOWN_ANSWER_TOLERANCE_DEX = 1e-2
"""Between machines: above what float32 noise does to pixels that are cut to 8 bits, below a label's worth."""
_PNG_HEADER_BYTES = 26
_PNG_COLOURS = (0, 2, 4, 6)


@dataclass(frozen=True)
class Example:
    """Galaxies that warm the model up and whose answers are kept with it.

    Attributes
    ----------
    maps
        (n, F, P, P) float32; of no galaxies for an image catalogue's model.
    pictures
        (n, P, P, 3) uint8; of no galaxies for a model of float maps.
    """

    maps: np.ndarray
    pictures: np.ndarray

    @classmethod
    def of(cls, raw: np.ndarray, spec: ImageSpec) -> Example:
        """Make it of raw maps (n, F, P, P), uint8 for image catalogues, by what the model takes."""
        nothing = np.empty(0)
        if spec.source == "images":
            return cls(nothing, np.ascontiguousarray(raw.transpose(0, 2, 3, 1)))
        if not spec.accepts_images:
            return cls(raw, nothing)
        return cls(raw, eight_bits(np, composite(np, raw, spec)).astype(np.uint8))


def model_digest(model_dir: Path) -> str:
    """Return what identifies a model: its description, with the digests of its weights, and our format."""
    return sha256_json({"format": FORMAT, "model": read_description(model_dir)})


def describe(predictor: Predictor, model_dir: Path, study: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a model: the maps that it takes, the label that it predicts, its origin.

    Parameters
    ----------
    predictor, model_dir
        The model.
    study
        Which galaxies it was trained on: JSON, under names of its own.
    """
    spec, model = predictor.spec, read_description(model_dir)
    return {
        "format": FORMAT,
        "case": spec.case,
        "model": model["model"],
        "takes": list(spec.takes),
        "maps": spec.maps.model_dump(mode="json"),
        "label": predictor.label.model_dump(mode="json"),
        "outputs": _units(predictor.label),
        "interval": model["interval"],
        "one_thread": TrainingSettings.model_validate(model["training"]).section.one_thread,
        "model_digest": model_digest(model_dir),
        **study,
    }


def export(
    model_dir: Path,
    folder: Path,
    name: str,
    example: Example,
    study: Mapping[str, Any] | None = None,
    warmup: bool = True,
) -> dict[str, Any]:
    """Write a version folder: SavedModel, warm-up requests, description, and a manifest of digests.

    Signatures, in this order: ``describe`` (nothing in, JSON out), ``predict_maps`` (float32 maps) for a
    model of maps, ``predict_png`` (bytes) for one that takes pictures, and ``serving_default``: the
    pictures (uint8) where they are taken, else an alias of ``predict_maps``.

    Parameters
    ----------
    model_dir
        Written by training.
    folder
        To be made in one step, with everything in it; its parent must be on the same file system.
    name
        Of the model on the server, for the warm-up requests.
    example
        At least one galaxy.
    study
        As `describe`.
    warmup
        Whether to write warm-up requests.

    Returns
    -------
    The contents of assets.extra/ssfr.json.
    """
    predictor = Predictor.load(model_dir)
    description = describe(predictor, model_dir, study or {})
    staging = folder.with_name(f".{folder.name}.part")
    signatures = _signatures(predictor, json.dumps(description, sort_keys=True))
    module = tf.Module()
    # Variables that no attribute leads to would be missing from the SavedModel.
    module.weights = _variables(signatures.values())
    tf.saved_model.save(module, str(staging), signatures=dict(sorted(signatures.items())))
    (staging / DESCRIPTION).parent.mkdir(exist_ok=True)
    requests = _requests(predictor.spec, signatures.keys(), example)
    known = {
        signature: {
            predictor.label.quantity: _offline(predictor, example, inputs),
            "tolerance_dex": _KNOWN_ANSWER_TOLERANCE_DEX,
        }
        for signature, inputs in requests.items()
    }
    write_json(staging / DESCRIPTION, {**description, "known_answers": known})
    if warmup:
        with atomic_file(staging / WARMUP) as part:
            _write_warmup(part, name, requests)
    publish(staging, folder, {"step": "export", "model_digest": description["model_digest"]})
    return description


def _signatures(predictor: Predictor, description: str) -> dict[str, Any]:
    spec, label = predictor.spec, predictor.label.quantity
    side = spec.pixels
    text = tf.constant(description)
    answer = tf.function(lambda: {"json": tf.identity(text)}, input_signature=[])
    found: dict[str, Any] = {DESCRIBE: answer.get_concrete_function()}
    if spec.source == "maps":
        maps = tf.TensorSpec((None, len(spec.fields), side, side), tf.float32, name="maps")
        found[PREDICT_MAPS] = found[DEFAULT_SIGNATURE] = _function(predictor.graph_maps, maps, label)
    if spec.accepts_images:
        pictures = tf.TensorSpec((None, side, side, 3), tf.uint8, name="images")
        found[DEFAULT_SIGNATURE] = _function(predictor.graph_pictures, pictures, label)
        png = tf.TensorSpec((None,), tf.string, name="png")
        found[PREDICT_PNG] = _function(
            lambda files: predictor.graph_pictures(decode_png(files, side)), png, label
        )
    return found


def _units(label: LabelIdentity) -> dict[str, str]:
    """Return the unit of each output of a model, by its name."""
    units = (label.unit, label.linear_unit, label.unit, label.unit)
    return dict(zip(outputs_of(label.quantity), units, strict=True))


def _function(graph: Callable[[Any], Mapping[str, Any]], spec: tf.TensorSpec, label: str) -> Any:
    def outputs(inputs: Any) -> dict[str, Any]:
        found = graph(inputs)
        columns = zip(outputs_of(label), ("predicted", "linear", "lower", "upper"), strict=True)
        return {name: tf.cast(found[column], tf.float32) for name, column in columns}

    return tf.function(outputs, input_signature=[spec]).get_concrete_function()


def _variables(functions: Iterable[Any]) -> list[Any]:
    unique = {id(variable): variable for function in functions for variable in function.variables}
    return list(unique.values())


def decode_png(files: Any, side: int) -> Any:
    """Decode PNG files in the graph, by the rules that image catalogues are read by.

    RGB is read as it is, an alpha channel is dropped, 8-bit grey is copied to three channels. Other
    formats, palettes, 16 bits and other sizes end the call with INVALID_ARGUMENT; the header is looked at
    before anything is unpacked.

    Parameters
    ----------
    files : (n,) string tensor
        The bytes; n may be 0.
    side
        Pixels a side that every file must have.

    Returns
    -------
    (n, side, side, 3) uint8 tensor
    """
    head = tf.io.decode_raw(
        tf.strings.substr(files, 0, _PNG_HEADER_BYTES), tf.uint8, fixed_length=_PNG_HEADER_BYTES
    )
    head = tf.cast(head, tf.int32)
    signature = tf.constant(list(b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"), tf.int32)
    powers = tf.constant([1 << 24, 1 << 16, 1 << 8, 1], tf.int64)
    width, height = (tf.reduce_sum(tf.cast(head[:, i : i + 4], tf.int64) * powers, axis=1) for i in (16, 20))
    colour = head[:, 25:26]
    checks = {
        "not a PNG": tf.reduce_all(head[:, :16] == signature, axis=1),
        f"not {side} x {side} pixels": (width == side) & (height == side),
        "not 8 bits a channel": head[:, 24] == 8,
        "a palette image, save it as RGB": tf.reduce_any(colour == tf.constant([_PNG_COLOURS]), axis=1),
    }
    for problem, passed in checks.items():
        bad = tf.reshape(tf.where(~passed), [-1])
        message = tf.strings.format(f"png {{}}: {problem}", bad)
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(passed), [message])]):
            files = tf.identity(files)
    pictures = tf.map_fn(
        lambda file: tf.ensure_shape(tf.io.decode_png(file, channels=3), (side, side, 3)),
        files,
        fn_output_signature=tf.TensorSpec((side, side, 3), tf.uint8),
    )
    return tf.ensure_shape(pictures, (None, side, side, 3))


def _requests(spec: ImageSpec, signatures: Any, example: Example) -> dict[str, dict[str, np.ndarray]]:
    """Return one request for each signature that takes galaxies."""
    requests: dict[str, dict[str, np.ndarray]] = {}
    if spec.source == "maps":
        requests[PREDICT_MAPS] = requests[DEFAULT_SIGNATURE] = {"maps": example.maps}
    if spec.accepts_images:
        requests[DEFAULT_SIGNATURE] = {"images": example.pictures}
        files = np.empty(len(example.pictures), dtype=object)
        files[:] = [encode_png(picture) for picture in example.pictures]
        requests[PREDICT_PNG] = {"png": files}
    return {key: requests[key] for key in sorted(signatures) if key in requests}


def _offline(predictor: Predictor, example: Example, inputs: Iterable[str]) -> list[float]:
    """Return the predicted labels of the example without the SavedModel, from maps or from pictures."""
    if "maps" in inputs:
        found = predictor.predict_maps(example.maps)
    else:
        found = predictor.predict_images(example.pictures)
    return [float(value) for value in found.predicted]


def encode_png(picture: np.ndarray) -> bytes:
    """Return a (P, P, 3) uint8 picture as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return stream.getvalue()


def _write_warmup(path: Path, name: str, requests: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests.items():
            request = PredictRequest(
                model_spec=ModelSpec(name=name, signature_name=signature),
                inputs={key: to_proto(array) for key, array in inputs.items()},
            )
            log = PredictionLog(predict_log=PredictLog(request=request))
            writer.write(log.SerializeToString())
