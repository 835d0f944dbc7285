"""Where weights start: VGG16's ImageNet file, checked by hash, or random ones equal on every backend."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ssfr.components.errors import InputError
from ssfr.components.storage.artifact import sha256_file

if TYPE_CHECKING:  # the file is looked for before a run starts, where Keras would take seconds to load
    import keras

VGG16_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
VGG16_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/vgg16/{VGG16_FILE}"
VGG16_MD5 = "6d6bbae143d832006294945121d1f1fc"
"""Keras' published hash of the file without the classifier."""


def load_backbone(
    backbone: keras.Model, location: str, seed: int, expected_md5: str = VGG16_MD5
) -> dict[str, Any]:
    """Set the weights of a VGG16 backbone and return where they came from, for model.json.

    Parameters
    ----------
    backbone
        From `networks.build_backbone`.
    location
        ``imagenet`` (the published file in Keras' cache), the path of that file, or ``random``.
    seed
        Of random weights.
    expected_md5
        Of the file.

    Returns
    -------
    dict
        ``{"weights": location, "sha256": ...}``, or ``{"weights": "random", "seed": ...}``.

    Raises
    ------
    InputError
        The file is absent or is not the published one. Nothing is ever downloaded here.
    """
    if location == "random":
        random_weights(backbone, seed)
        return {"weights": location, "seed": seed}
    path = published_file(location, expected_md5)
    with h5py.File(path, "r") as file:
        for layer in backbone.layers:
            if layer.weights:
                layer.set_weights(_published_layer(path, file, layer))
    return {"weights": location, "sha256": sha256_file(path)}


def published_file(location: str, expected_md5: str = VGG16_MD5) -> Path:
    """Return the path of the published VGG16 file, checked by its MD5.

    Raises
    ------
    InputError
        It is absent or its bytes are others; the message says how to get it.
    """
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    path = home / "models" / VGG16_FILE if location == "imagenet" else Path(location)
    way_out = (
        f"fetch {VGG16_URL}, put it there (or name its path in training.vgg16.weights); without it,"
        " set training.model: compact, or training.vgg16.weights: random to go untrained"
    )
    if not path.is_file():
        raise InputError(f"{path}: VGG16's ImageNet weights are not there; {way_out}")
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != expected_md5:
        raise InputError(f"{path}: MD5 {found}, expected {expected_md5} of VGG16's weights; {way_out}")
    return path


def random_weights(model: keras.Model, seed: int) -> None:
    """Draw He-normal kernels and zero biases with numpy, so that every backend starts from the same ones.

    References
    ----------
    He et al. 2015, arXiv:1502.01852: standard deviation sqrt(2 / fan_in).
    """
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        shape = tuple(variable.shape)
        if len(shape) == 1:
            variable.assign(np.zeros(shape, np.float32))
        else:
            spread = np.sqrt(2.0 / np.prod(shape[:-1]))
            variable.assign((generator.standard_normal(shape) * spread).astype(np.float32))


def _published_layer(path: Path, file: h5py.File, layer: keras.layers.Layer) -> list[np.ndarray]:
    """Return kernel and bias of one layer, whose arrays the published file names LAYER_W_1:0, LAYER_b_1:0."""
    arrays = []
    for kind, variable in zip("Wb", layer.weights, strict=True):
        name = f"{layer.name}/{layer.name}_{kind}_1:0"
        found = file.get(name)
        if not isinstance(found, h5py.Dataset) or found.shape != tuple(variable.shape):
            shape = found.shape if isinstance(found, h5py.Dataset) else "nothing"
            raise InputError(f"{path}: '{name}': expected {tuple(variable.shape)}, found {shape}")
        arrays.append(found[()])
    return arrays
