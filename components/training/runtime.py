"""Threads, seeds and determinism of the backend, set once a process."""

from __future__ import annotations

import keras

from ssfr.components.runtime.progress import Progress


def prepare_backend(seed: int, threads: int, deterministic: bool, progress: Progress) -> None:
    """Seed Keras and set what the backend needs for bit-for-bit equal runs.

    On the CPU, JAX and torch need nothing beyond the seed; TensorFlow has a switch for deterministic
    operations, and its number of threads decides in which order sums are taken. Threads can only be set
    before TensorFlow's first operation: later calls in one process keep what was set, with a warning.
    """
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    if deterministic:
        tf.config.experimental.enable_op_determinism()
    threading = tf.config.threading
    try:
        threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError:
        if threading.get_intra_op_parallelism_threads() != threads:
            progress.warn(
                f"training.threads: {threads} not set, TensorFlow already runs in this process with"
                f" {threading.get_intra_op_parallelism_threads() or 'all'} threads"
            )
