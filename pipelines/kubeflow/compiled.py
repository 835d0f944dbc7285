"""A compiled pipeline, as `ssfr compile` writes it: name, digest, the parameters it takes, its tasks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ssfr.components.errors import InputError, nearest

_SUFFIXES = (".yaml", ".yml")
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "STRING": ((str,), "text"),
    "NUMBER_INTEGER": ((int,), "an integer"),
    "NUMBER_DOUBLE": ((int, float), "a number"),
    "BOOLEAN": ((bool,), "true or false"),
    "LIST": ((list,), "a list"),
    "STRUCT": ((dict,), "a mapping"),
}
_DIGITS = 12


@dataclass(frozen=True)
class CompiledPipeline:
    """A compiled pipeline in a file.

    Attributes
    ----------
    digest
        Of the file's bytes: the same file is the same version.
    types
        The type of each parameter, by its name in the compiled file, like STRING.
    required
        Parameters without a default.
    """

    path: Path
    name: str
    digest: str
    types: Mapping[str, str]
    required: frozenset[str]

    @property
    def version(self) -> str:
        """The name of the version on the cluster."""
        return f"{self.name}-{self.digest}"

    @classmethod
    def read(cls, path: Path) -> CompiledPipeline:
        """Read a compiled pipeline.

        Raises
        ------
        InputError
            No such file, not YAML, or not a compiled pipeline.
        """
        if path.suffix not in _SUFFIXES:
            raise InputError(f"{path}: a compiled pipeline ends in .yaml; write one with ssfr compile")
        try:
            data = path.read_bytes()
            documents = list(yaml.load_all(data, Loader=_LOADER))
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; write it with ssfr compile") from None
        except OSError as error:
            raise InputError(f"{path}: can't be read: {error.strerror}") from None
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
        try:
            spec = documents[0]
            name = spec["pipelineInfo"]["name"]
            declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
            types = {key: one["parameterType"] for key, one in declared.items()}
            required = frozenset(key for key, one in declared.items() if not one.get("isOptional"))
            next(_leaves(spec))
        except (IndexError, KeyError, TypeError, AttributeError, StopIteration):
            raise InputError(
                f"{path}: not a compiled pipeline; write one with ssfr compile (a manifest of kind Pipeline,"
                " of its --crd, is for kubectl apply)"
            ) from None
        return cls(path, name, hashlib.sha256(data).hexdigest()[:_DIGITS], types, required)

    def parse(self, texts: list[str]) -> dict[str, Any]:
        """Read parameters of the command line, each ``KEY=VALUE``: text as it is, else YAML.

        Raises
        ------
        InputError
            No equals sign, or a value that is not YAML.
        """
        given: dict[str, Any] = {}
        for item in texts:
            key, equals, value = item.partition("=")
            if not equals:
                raise InputError(f"--parameter {item}: expected KEY=VALUE, like workdir=s3://bucket/study")
            if self.types.get(key) == "STRING":
                given[key] = value
                continue
            try:
                given[key] = yaml.safe_load(value)
            except yaml.YAMLError:
                raise InputError(f"--parameter {item}: the value is not valid YAML") from None
        return given

    def check(self, given: Mapping[str, Any], origin: str) -> None:
        """Check that the pipeline takes these parameters.

        Raises
        ------
        InputError
            A parameter that it does not have, one of another type, or one that is missing.
        """
        for key, value in given.items():
            if key not in self.types:
                raise InputError(f"{origin}: {self.name} has no parameter '{key}'{nearest(key, self.types)}")
            types, expected = _TYPES.get(self.types[key], ((object,), ""))
            truth = int in types and isinstance(value, bool)  # which to Python is an integer
            if truth or not isinstance(value, types):
                raise InputError(f"{origin}: parameter '{key}': expected {expected}, found {value!r:.60}")
        missing = sorted(self.required - given.keys())
        if missing:
            raise InputError(f"{origin}: {self.name} needs a value for {', '.join(missing)}")


def task_names(spec: Mapping[str, Any]) -> list[str]:
    """Return the tasks of a pipeline that run in a container, in its order; of a spec as the API has it."""
    return list(dict.fromkeys(_leaves(spec.get("pipeline_spec", spec))))


def _leaves(spec: Any) -> Iterator[str]:
    components = spec["components"]

    def walk(graph: Any) -> Iterator[str]:
        for name, task in graph["tasks"].items():
            component = components[task["componentRef"]["name"]]
            if "dag" in component:
                yield from walk(component["dag"])
            else:
                yield name

    return walk(spec["root"]["dag"])


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Compiled pipelines are long, and YAML in Python slow."""
