"""python -m benchmarks [NAME...] [--json] [--output FILE]: each figure beside a peer's, from the same run."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from typing import Any

NAMES = ("projection", "features", "study", "serving", "pipeline", "truth", "storage", "rollout")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--output", type=Path, help="write all figures to this file as well")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(NAMES))
    if unknown:
        parser.error(f"{unknown[0]}: not a benchmark; expected one of {', '.join(NAMES)}")
    figures: list[dict[str, Any]] = []
    for name in arguments.names or NAMES:
        for figure in importlib.import_module(f"benchmarks.{name}").run():
            figures.append(figure)
            print(json.dumps(figure) if arguments.json else describe(figure), flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(figures, indent=1) + "\n")


def describe(figure: dict[str, Any]) -> str:
    line = f"{figure['name']}: {figure['value']:.4g} {figure['unit']}"
    if figure["peer"]:
        line += (
            f" | {figure['peer']}: {figure['peer_value']:.4g} {figure['unit']} | ratio {figure['ratio']:.3g}"
        )
    return line


if __name__ == "__main__":
    main()
