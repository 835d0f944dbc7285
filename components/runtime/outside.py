"""Code of other packages that a study runs: what an entry point's package holds, and its version."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

_CODE = (".py", ".so", ".pyd")
_OURS = "ssfr"


def package_code(entry: EntryPoint, *modules: str) -> str:
    """Return the name and version of an entry point's package, and a digest of all of its modules.

    Parameters
    ----------
    entry
        What it offers may be anything: only where it says that this is counts, and nothing is imported.
    modules
        Names of others that run with it, of whatever package; ssfr's own are left out.
    """
    dist = entry.dist
    files = (
        {str(file): Path(str(file.locate())) for file in dist.files or () if file.suffix in _CODE}
        if dist
        else {}
    )
    # An editable install lists none of its modules, and some installers list nothing.
    for top in {name.partition(".")[0] for name in (entry.module, *modules)} - {_OURS}:
        files |= dict(_modules(top))
    total = hashlib.sha256()
    for name, path in sorted(files.items()):
        if path.is_file():
            total.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return f"{package(entry)} {total.hexdigest()}"


def package(entry: EntryPoint) -> str:
    """Return what the user calls the package of an entry point."""
    dist = entry.dist
    return f"package {dist.name} {dist.version}" if dist else "a package without metadata"


def every_package_code() -> list[str]:
    """Return `package_code` of everything that other packages offer to ssfr, used or not."""
    groups = sorted(group for group in entry_points().groups if group.startswith(f"{_OURS}."))
    offered = [(group, entry) for group in groups for entry in entry_points(group=group)]
    return sorted(f"{group} {entry.name} {package_code(entry)}" for group, entry in offered)


def _modules(top: str) -> Iterator[tuple[str, Path]]:
    """Return the files of a module or package that others are not in, by their names below its folder."""
    spec = importlib.util.find_spec(top)
    if spec is None:
        return
    folders = list(spec.submodule_search_locations or ())
    for folder in map(Path, folders):
        for path in folder.rglob("*"):
            if path.suffix in _CODE:
                yield f"{path.relative_to(folder.parent)}", path
    if not folders and spec.origin:
        yield Path(spec.origin).name, Path(spec.origin)
