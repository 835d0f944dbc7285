"""Images a second through the frozen VGG16 backbone: bfloat16 beside float32, measured in turns."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.figure import row

_BATCH = 16
_ROUNDS = 4


def run() -> list[dict[str, Any]]:
    """Measure how fast features are computed, and how far those of bfloat16 are off.

    The backbone has random weights, which cost the same as ImageNet's. The best of several rounds
    counts, since other work on the machine only ever slows one down.

    Returns
    -------
    list of dict
        ``features`` [images/s] with float32 as the peer, and ``features_error``: the relative L2
        difference of bfloat16 features from those of float32, beside bfloat16's own rounding, 2^-8.
    """
    from ssfr.components.models.vgg16 import PIXELS, build_backbone
    from ssfr.components.models.weights import random_weights

    generator = np.random.default_rng(0)
    images = generator.normal(0, 60, (_BATCH, PIXELS, PIXELS, 3)).astype(np.float32)
    backbones = {dtype: build_backbone(dtype=dtype) for dtype in ("float32", "bfloat16")}
    features, seconds = {}, {}
    for dtype, backbone in backbones.items():
        random_weights(backbone, seed=0)
        features[dtype] = np.asarray(backbone(images), dtype=np.float32)
        seconds[dtype] = np.inf
    for _ in range(_ROUNDS):
        for dtype, backbone in backbones.items():
            started = time.perf_counter()
            np.asarray(backbone(images))
            seconds[dtype] = min(seconds[dtype], time.perf_counter() - started)
    rate = {dtype: _BATCH / seconds[dtype] for dtype in backbones}
    error = np.linalg.norm(features["bfloat16"] - features["float32"]) / np.linalg.norm(features["float32"])
    return [
        row("features", rate["bfloat16"], "images/s", "float32", rate["float32"]),
        row("features_error", float(error), "relative L2", "rounding of bfloat16", 2.0**-8),
    ]
