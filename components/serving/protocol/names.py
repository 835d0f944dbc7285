"""Names in TensorFlow Serving's protocol, and those of the signatures that our models have."""

from __future__ import annotations

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
SIGNATURES = "signature_def"
"""The part of a model's metadata that describes its signatures."""

DEFAULT_SIGNATURE = "serving_default"
PREDICT_MAPS = "predict_maps"
PREDICT_PNG = "predict_png"
DESCRIBE = "describe"
