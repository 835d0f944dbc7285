# The kernels of native/: see native/project.h and native/smooth.h for what they do.
from typing import Any

def project(
    positions: Any,
    weights: Any,
    bounds: tuple[float, float, float, float, float, float],
    pixels: int,
    bins: float,
    threads: int,
    maps: Any,
) -> tuple[int, int, int]: ...
def smooth(
    positions: Any,
    support: Any,
    weights: Any,
    bounds: tuple[float, float, float, float, float, float],
    pixels: int,
    threads: int,
    maps: Any,
    lost: Any,
) -> tuple[int, int, int, int]: ...
