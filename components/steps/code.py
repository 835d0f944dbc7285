"""Digests of code: of all that a step imports, directly or not, and that can change its result.

Comments, docstrings, descriptions of settings and layout count for nothing: a digest is that of the syntax
trees. Neither do the declarations of steps, what they say of settings and inputs is in a step's key as it
is; nor what only carries results.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

from ssfr.components.runtime.outside import every_package_code

_COMPONENTS = "ssfr.components"
_FOLDER = Path(__file__).resolve().parents[1]
_DATA = (".html", ".css", ".yaml", ".json")
"""Files beside modules that they read."""
TRAINED_IN = "SSFR_TRAINED_IN"
"""Environment variable with the name of the image that trains, which every pod of a run has."""
_ENGINES = ("keras", "tensorflow")
_BY_NAME = ("import_module", "resolve_name")
_DECLARATIONS = (".connections", "ssfr.components.steps.files")
# Brings, keeps and reports results, and never makes one: what of its settings can change a result, as where
# a model goes, is in the key of the steps that declare it.
_CARRIES = re.compile(
    r"ssfr\.components\.(?:storage(?:\..+)?|config\.(?:cluster|service|storage)|steps\.step|runtime\.progress)"
)
_Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@cache
def code_digest(*entries: str) -> str:
    """Return a digest of everything that some code runs.

    Parameters
    ----------
    entries
        Modules, or functions as ``ssfr.components.catalog.component:catalog``: of a function's module
        nothing else counts, and all that the function needs is imported in it.

    Raises
    ------
    ValueError
        There is no such module or function.
    """
    total = hashlib.sha256()
    for name, digest in sorted(_closure(entries).items()):
        total.update(f"{name} {digest}\n".encode())
    return total.hexdigest()


def modules_of(*entries: str) -> tuple[str, ...]:
    """Return the names of the modules and files that `code_digest` looks at, in their order."""
    return tuple(sorted(_closure(entries)))


def every_code_digest() -> str:
    """Return a digest of the code of all steps, of other packages' fields and models, and of what trains.

    On a cluster Keras may be in another image than this process: the name of that image counts as well.
    """
    found = sorted(path.parent.name for path in _FOLDER.glob("*/component.py"))
    own = code_digest(*(f"{_COMPONENTS}.{step}.component" for step in found))
    engines = {name: _version(name) for name in _ENGINES}
    everything = [own, every_package_code(), engines, os.environ.get(TRAINED_IN)]
    return hashlib.sha256(json.dumps(everything).encode()).hexdigest()


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _closure(entries: tuple[str, ...]) -> dict[str, str]:
    """Return name -> digest of the entries, and of what they import."""
    found: dict[str, str] = {}
    waiting = []
    for entry in entries:
        module, _, function = entry.partition(":")
        path = _source(module)
        if path is None:
            raise ValueError(f"{module}: no module of {_COMPONENTS}")
        if not function:
            waiting.append(module)
            continue
        tree = ast.parse(path.read_bytes())
        defined = [node for node in tree.body if isinstance(node, _Definition) and node.name == function]
        if not defined:
            raise ValueError(f"{entry}: no such function")
        found[entry] = _digest(defined[0])
        waiting += _imported(module, defined[0])
    while waiting:
        name = waiting.pop()
        if name in found or name.endswith(_DECLARATIONS) or _CARRIES.fullmatch(name):
            continue
        digest, imported = _module(name)
        found[name] = digest
        waiting += imported
    return found


@cache
def _module(name: str) -> tuple[str, tuple[str, ...]]:
    """Return the digest of a module or a file beside one, and the names of what it needs."""
    path = _source(name)
    if path is None or path.suffix != ".py":
        spec = None if path else importlib.util.find_spec(name)  # a compiled module
        binary = path or Path(spec.origin if spec and spec.origin else "")
        return hashlib.sha256(binary.read_bytes()).hexdigest(), ()
    tree = ast.parse(path.read_bytes())
    needed = [*_imported(name, tree), *_packages(name)]
    needed += [
        f"{_package(name)}/{beside.name}" for beside in path.parent.iterdir() if beside.suffix in _DATA
    ]
    return _digest(tree), tuple(needed)


def _source(name: str) -> Path | None:
    """Return where a module of ours is, or the file ``package/file``; None: not among our sources."""
    package, slash, file = name.partition("/")
    inside = package.removeprefix(_COMPONENTS).strip(".").replace(".", "/")
    folder = _FOLDER / inside if inside else _FOLDER
    if slash:
        return folder / file
    for path in (folder / "__init__.py", folder.with_suffix(".py")):
        if path.is_file():
            return path
    return None


def _package(name: str) -> str:
    path = _source(name)
    return name if path is not None and path.name == "__init__.py" else name.rpartition(".")[0]


def _packages(name: str) -> Iterator[str]:
    """Return the packages that a module is in, which are imported before it."""
    while (name := name.rpartition(".")[0]).startswith(_COMPONENTS):
        yield name


def _imported(name: str, tree: ast.AST) -> Iterator[str]:
    """Return our modules that are imported in a tree, wherever it does so."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith(_COMPONENTS))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_COMPONENTS):
            module = node.module or ""
            for alias in node.names:
                inside = f"{module}.{alias.name}"
                yield inside if _source(inside) or alias.name == "_kernel" else module
        elif isinstance(node, ast.Attribute | ast.Name) and _called(node) in _BY_NAME:
            # Chosen by name while it runs: any module beside it may be meant.
            package = _package(name)
            folder = _FOLDER / package.removeprefix(_COMPONENTS).strip(".").replace(".", "/")
            yield from (f"{package}.{path.stem}" for path in folder.glob("[!_]*.py"))


def _called(node: ast.Attribute | ast.Name) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id


def _digest(tree: ast.AST) -> str:
    """Return the SHA-256 of a syntax tree without what is there only for its readers."""
    return hashlib.sha256(ast.dump(_WithoutWords().visit(tree)).encode()).hexdigest()


class _WithoutWords(ast.NodeTransformer):
    """Removes docstrings, also those of attributes and constants, and the descriptions of settings."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Attribute | ast.Name) and _called(node.func) == "Field":
            node.keywords = [keyword for keyword in node.keywords if keyword.arg != "description"]
        return self.generic_visit(node)
