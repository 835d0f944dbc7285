"""Runs the examples of docstrings and README in the folder where `ssfr run demo` has run.

Not a test module: tests/integration/test_wheel.py starts this in an environment with the installed wheel.
"""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import sys
from pathlib import Path

from PIL import Image

import ssfr

README = Path(__file__).parents[1] / "README.md"


def _write_pictures(folder: Path) -> None:
    """Write an image catalogue of two galaxies."""
    (folder / "images").mkdir(parents=True)
    rows = ["filename,stellar_mass_msun,sfr_msun_per_yr"]
    for name, mass in (("a.png", "2e10"), ("b.png", "3e10")):
        Image.new("RGB", (64, 64)).save(folder / "images" / name)
        rows.append(f"{name},{mass},1.5")
    (folder / "labels.csv").write_text("\n".join(rows))


def names_without_example() -> list[str]:
    """Return the public names whose docstring, and those of whose methods, hold no example."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [
        name
        for name in ssfr.__all__
        if not any(test.examples for test in finder.find(getattr(ssfr, name), name))
    ]


def main() -> int:
    """Print the examples that fail; return their number, or 1 if a public name has none."""
    _write_pictures(Path("pictures"))
    names = [module.name for module in pkgutil.iter_modules(ssfr.__path__) if not module.ispkg]
    public = {ssfr.__name__, *(f"ssfr.{name}" for name in names)}
    public |= {getattr(ssfr, name).__module__ for name in ssfr.__all__}
    modules = [importlib.import_module(name) for name in sorted(public)]
    globs = {"ssfr": ssfr}
    for code in re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE):
        exec(code, {})
    results = [
        doctest.testmod(module, extraglobs=globs, optionflags=doctest.NORMALIZE_WHITESPACE)
        for module in modules
    ]
    attempted = sum(result.attempted for result in results)
    print(f"{attempted} examples of {len(modules)} modules")
    without = names_without_example()
    if without:
        print(f"no example: {', '.join(without)}")
    return sum(result.failed for result in results) or min(len(without), 1)


if __name__ == "__main__":
    sys.exit(min(main(), 100))
