# The kernel of native/: see native/project.h for what it does.
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
