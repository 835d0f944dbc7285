"""Small maps, prepared folders and weights files that the tests of training and prediction share."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from identities import FIELDS, label_identity, map_attribute, map_identity, picture_identity

VGG16_SHAPES = {
    f"block{block}_conv{conv}": (3, 3, inputs if conv == 1 else outputs, outputs)
    for block, (convs, inputs, outputs) in enumerate(
        [(2, 3, 64), (2, 64, 128), (3, 128, 256), (3, 256, 512), (3, 512, 512)], start=1
    )
    for conv in range(1, convs + 1)
}


def discs(count: int, pixels: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Make clumpy discs, (n, 3, pixels, pixels), and a label that is a sum over dense pixels only.

    The label [dex] is log10 of the summed Sigma^2.5 above a threshold: analytic, nonlinear, local.
    """
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:pixels, :pixels] - (pixels - 1) / 2
    radius = np.hypot(x, y)[None]
    scale = generator.uniform(0.08, 0.3, (count, 1, 1)) * pixels
    total = 10 ** generator.uniform(-0.3, 0.3, (count, 1, 1))
    disc = np.exp(-radius / scale)
    disc *= total * pixels**2 / disc.sum(axis=(1, 2), keepdims=True)
    contrast = generator.uniform(0.1, 1.0, (count, 1, 1))
    mass = disc * np.exp(contrast * generator.standard_normal(disc.shape) - contrast**2 / 2)
    dense = np.where(mass > 2.0, mass, 0.0)
    label = np.log10((dense**2.5).sum(axis=(1, 2)) + 1.0) - 14.0
    temperature = 1e4 * (1 + mass)
    entropy = 1.0 + 1.0 / (1.0 + mass)
    return np.stack([entropy, mass, temperature], axis=1).astype(np.float32), label


def write_prepared(
    folder: Path,
    maps: np.ndarray,
    log10_ssfr: np.ndarray,
    split: np.ndarray | None = None,
    **changed: Any,
) -> tuple[Path, Path]:
    """Write a maps folder (two files; `changed`: of their identity) and a prepared folder; return both."""
    maps_dir, prepared_dir = folder / "maps", folder / "prepared"
    maps_dir.mkdir(parents=True)
    prepared_dir.mkdir()
    count, fields, pixels, _ = maps.shape
    images = maps.dtype == np.uint8
    identity = picture_identity(pixels) if images else map_identity(FIELDS, pixels, **changed)
    half = (count + 1) // 2
    numbers = np.arange(count)
    files = [f"maps-{'images' if images else '099'}-{part:03d}.h5" for part in range(2)]
    for part, rows in enumerate((slice(0, half), slice(half, count))):
        with h5py.File(maps_dir / files[part], "w") as file:
            chunks = (1, fields, pixels, pixels)
            file.create_dataset("maps", data=maps[rows], chunks=chunks, compression="gzip", shuffle=True)
            file["snapshot"] = np.full(len(numbers[rows]), 99)
            file["subhalo_id"] = numbers[rows]
            file["view"] = np.zeros(len(numbers[rows]), np.int64)
            file.attrs.update(map_attribute(identity))
    if split is None:
        split = np.where(numbers % 5 == 0, "validation", np.where(numbers % 5 == 1, "test", "train"))
    table = pd.DataFrame(
        {
            "galaxy": [f"Snap99ID{i}" for i in numbers],
            "split": split,
            "label": log10_ssfr,
            "map_file": np.where(numbers < half, files[0], files[1]),
            "map_row": np.where(numbers < half, numbers, numbers - half),
        }
    )
    table.attrs = {"label": label_identity().model_dump(mode="json")}
    table.to_parquet(prepared_dir / "galaxies.parquet")
    channels = ("red", "green", "blue") if images else FIELDS
    scales = {
        name: {"softening": 1.0, "mean": float(layer.mean()), "std": float(layer.std())}
        for name, layer in zip(
            channels, np.arcsinh(np.where(np.isfinite(maps), maps, 0.0)).swapaxes(0, 1), strict=True
        )
    }
    maxima = {name: float(maps[:, i].max()) for i, name in enumerate(channels)}
    scaling = {"maps": identity.model_dump(mode="json"), "cases": {"composite": scales}, "maxima": maxima}
    (prepared_dir / "scaling.json").write_text(json.dumps(scaling))
    return maps_dir, prepared_dir


def write_vgg16_weights(path: Path, seed: int = 0) -> str:
    """Write a file in the layout of Keras' published VGG16 no-top weights, random inside; return its MD5."""
    generator = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in VGG16_SHAPES]
        for name, shape in VGG16_SHAPES.items():
            group = file.create_group(name)
            kernel, bias = f"{name}_W_1:0", f"{name}_b_1:0"
            group.attrs["weight_names"] = [kernel.encode(), bias.encode()]
            spread = np.sqrt(2.0 / np.prod(shape[:3]))
            group[kernel] = (generator.standard_normal(shape) * spread).astype(np.float32)
            group[bias] = np.full(shape[3], 0.01, np.float32)
    return hashlib.md5(path.read_bytes()).hexdigest()
