"""Runs the examples in the docstrings of the public face, in the folder where `ssfr run demo` has run.

Not a test module: tests/integration/test_wheel.py starts this in an environment with the installed wheel.
"""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import sys

import ssfr


def main() -> int:
    """Print the examples that fail; return their number, or 1 if a public name has none."""
    names = [module.name for module in pkgutil.iter_modules(ssfr.__path__) if not module.ispkg]
    modules = [ssfr, *(importlib.import_module(f"ssfr.{name}") for name in names)]
    globs = {"ssfr": ssfr}
    results = [
        doctest.testmod(module, extraglobs=globs, optionflags=doctest.NORMALIZE_WHITESPACE)
        for module in modules
    ]
    attempted = sum(result.attempted for result in results)
    print(f"{attempted} examples of {len(modules)} modules")
    return sum(result.failed for result in results)


if __name__ == "__main__":
    sys.exit(min(main(), 100))
