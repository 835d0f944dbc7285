"""The names of galaxies of a simulation: unique in a study, and the same wherever one is mentioned."""


def galaxy_name(snapshot: int, subhalo_id: int, view: int = 0) -> str:
    """Return the thesis' name of a galaxy, ``Snap99ID29``; its further views ``Snap99ID29V1``, ..."""
    return f"Snap{snapshot}ID{subhalo_id}" + (f"V{view}" if view else "")
