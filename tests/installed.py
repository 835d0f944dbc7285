"""The package as a user has it: a wheel, installed into an environment of its own."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Collection
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
_UV = (sys.executable, "-m", "uv")


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout into `folder`."""
    command = [*_UV, "build", "--quiet", "--wheel", "--out-dir", str(folder)]
    subprocess.run([*command, "--config-setting", f"build-dir={folder / 'build'}", str(ROOT)], check=True)
    [wheel] = folder.glob("ssfr-*.whl")
    return wheel


def install(wheel: Path, folder: Path, without: Collection[str] = ()) -> Path:
    """Install a wheel, and link its libraries from the environment of the tests.

    Parameters
    ----------
    wheel
        To install.
    folder
        Of the new environment.
    without
        Libraries, by the names of their distributions, that it is not to have.

    Returns
    -------
    Path
        The folder with the environment's programs.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run(
        [*_UV, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", python, wheel], check=True
    )
    [site] = folder.glob("lib/python*/site-packages")
    absent = {Path(file).parts[0] for name in without for file in metadata.files(name) or ()}
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        ours = "ssfr" in entry.name or entry.suffix == ".pth"
        if not ours and entry.name not in absent and not (site / entry.name).exists():
            (site / entry.name).symlink_to(entry)
    return python.parent
