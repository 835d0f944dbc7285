"""Model folders with random weights, small models to serve, and servers to ask, for the tests of serving."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from identities import FIELDS, label_attribute, label_identity, map_identity, picture_identity

from ssfr.components.config import CompactSettings, ServingSettings, TrainingSettings
from ssfr.components.imagesets.spec import ChannelScale, ImageSpec
from ssfr.components.models.architecture import architecture_of
from ssfr.components.models.folder import write_model
from ssfr.components.serving.protocol.tensors import to_proto
from ssfr.components.serving.protocol.wire_pb2 import ModelSpec, PredictionLog, PredictLog, PredictRequest
from ssfr.components.serving.repository.folder import DESCRIPTION, WARMUP
from ssfr.components.storage.artifact import publish

PIXELS = 32


def map_spec(pixels: int = PIXELS, eight_bit: bool = False, **changed: Any) -> ImageSpec:
    """A model of maps, with some properties changed; `eight_bit`: through the 8-bit picture of the thesis."""
    common = {"case": "composite", "maps": map_identity(pixels=pixels, **changed), "channels": FIELDS}
    if eight_bit:
        maxima = {"entropy": 50.0, "mass": 3e5, "temperature": 2e5}
        return ImageSpec(
            **common,
            pixel_type="uint8",
            stretch="lupton",
            composite=FIELDS,
            maxima=maxima,
        )
    scales = {
        name: ChannelScale(softening=softening, mean=2.0, std=1.5)
        for name, softening in zip(FIELDS, (1.0, 1e4, 1e4), strict=True)
    }
    return ImageSpec(
        **common,
        pixel_type="float32",
        stretch="asinh",
        scales=scales,
    )


def image_spec(pixels: int = PIXELS) -> ImageSpec:
    """A model of an image catalogue."""
    colours = ("red", "green", "blue")
    return ImageSpec(
        case="composite",
        maps=picture_identity(pixels),
        channels=colours,
        pixel_type="float32",
        stretch="linear",
        scales={name: ChannelScale(mean=0.4, std=0.3) for name in colours},
    )


def write_random_model(
    folder: Path, spec: ImageSpec, seed: int = 0, offset: float = -10.5, **label: Any
) -> Path:
    """Write a model folder as training does, with weights that nobody trained."""
    if spec.pixel_type == "uint8" and spec.pixels == 256:
        settings = TrainingSettings(model="vgg16", loss="mse", vgg16={"weights": "random"})
        interval = {"kind": "residuals", "lower": -0.3, "upper": 0.4}
    else:
        compact = CompactSettings(input_pixels=16, widths=(8, 16), dense=8)
        settings = TrainingSettings(compact=compact)
        interval = {"kind": "scaled_sigma", "factor": 1.1}
    network = architecture_of(settings).network(spec, seed)
    folder.mkdir(parents=True)
    write_model(
        folder,
        {
            "case": spec.case,
            "model": settings.model,
            "training": settings.model_dump(mode="json"),
            "spec": spec.model_dump(mode="json"),
            "label": {**label_attribute(**label), "offset": offset, "scale": 0.5},
            "interval": interval,
            "seed": seed,
            "backbone": network.frozen.origin,
        },
        network.trained.get_weights(),
    )
    return folder


def random_maps(count: int, pixels: int = PIXELS, seed: int = 0) -> np.ndarray:
    """Return (n, 3, P, P) float32 maps in the units of `map_spec`, with holes where there is no gas."""
    generator = np.random.default_rng(seed)
    maps = generator.lognormal(0.0, 1.0, (count, 3, pixels, pixels)).astype(np.float32)
    maps *= np.array([5.0, 3e4, 2e4], np.float32)[:, None, None]
    empty = generator.random((count, pixels, pixels)) < 0.3
    maps[:, 1][empty] = 0.0
    for field in (0, 2):
        maps[:, field][empty] = np.nan
    return maps


def random_pictures(count: int, pixels: int = PIXELS, seed: int = 0) -> np.ndarray:
    """Return (n, P, P, 3) uint8 pictures."""
    return np.random.default_rng(seed).integers(0, 256, (count, pixels, pixels, 3), dtype=np.uint8)


def write_toy(
    root: Path,
    version: int,
    name: str = "toy",
    answer: float = -10.0,
    seconds: float = 0.0,
    known: float | None = None,
) -> Path:
    """Write a version whose log10 sSFR is `answer` plus the mean of the map, and that takes its time.

    With `known` it says that it answers a map of zeros so, and holds that request.
    """
    pixels = 4

    class Toy(tf.Module):
        def __init__(self):
            super().__init__()
            self.offset = tf.Variable(answer, dtype=tf.float32)

        @tf.function(input_signature=[tf.TensorSpec((None, 1, pixels, pixels), tf.float32, name="maps")])
        def predict_maps(self, maps):
            end = tf.timestamp() + seconds
            turns = tf.while_loop(lambda _: tf.timestamp() < end, lambda i: i + 1, [0])[0]
            nothing = 0.0 * tf.cast(turns, tf.float32)
            value = self.offset + tf.reduce_mean(maps, axis=[1, 2, 3]) + nothing
            return {"log10_ssfr": value, "ssfr": 10.0**value, "lower": value - 0.1, "upper": value + 0.1}

    description = {
        "takes": ["maps"],
        "maps": map_identity(["mass"], pixels).model_dump(mode="json"),
        "label": label_identity().model_dump(mode="json"),
    }
    toy = Toy()
    text = json.dumps(description)
    describe = tf.function(lambda: {"json": tf.constant(text)}, input_signature=[])
    predict = toy.predict_maps.get_concrete_function()
    part = root / name / f".{version}.part"
    signatures = {
        "describe": describe.get_concrete_function(),
        "predict_maps": predict,
        "serving_default": predict,
    }
    tf.saved_model.save(toy, str(part), signatures=signatures)
    if known is not None:
        (part / DESCRIPTION).parent.mkdir()
        answers = {"predict_maps": {"log10_ssfr": [known], "tolerance_dex": 1e-2}}
        (part / DESCRIPTION).write_text(json.dumps({**description, "known_answers": answers}))
        spec = ModelSpec(name=name, signature_name="predict_maps")
        inputs = {"maps": to_proto(np.zeros((1, 1, pixels, pixels), np.float32))}
        request = PredictRequest(model_spec=spec, inputs=inputs)
        with tf.io.TFRecordWriter(str(part / WARMUP)) as writer:
            writer.write(PredictionLog(predict_log=PredictLog(request=request)).SerializeToString())
    publish(part, root / name / str(version), {"step": "toy"})
    return root / name / str(version)


def serving(**changes: object) -> ServingSettings:
    """Return serving's settings with some changed; any free port, and impatient."""
    defaults = {"port": 0, "poll_s": 0.1, "grace_s": 10.0, "deadline_s": 30.0, "retries": 0}
    return ServingSettings.model_validate(defaults | changes)
