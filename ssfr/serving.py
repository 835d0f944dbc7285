"""Served models: serve a repository of models, and predict through a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from astropy.table import QTable

from ssfr.components.serving.client.client import ModelClient
from ssfr.models import Galaxies, as_inputs, prediction_table


class Client:
    """Predictions by a model of a server, ours or TensorFlow Serving; a context manager.

    Parameters
    ----------
    address
        "HOST:PORT".
    model
        Name of the model.
    version, label
        Which version answers; neither: the champion. Both can't be given.
    options
        Deadline, retries, limits and certificates, as `ssfr.components.serving.client.client.ModelClient` has
        them.

    Raises
    ------
    InputError
        Not an address, or a certificate that can't be read.

    Examples
    --------
    >>> with ssfr.Client("127.0.0.1:8500", label="canary") as client:
    ...     client.address
    '127.0.0.1:8500'
    """

    def __init__(
        self,
        address: str,
        model: str = "ssfr",
        version: int | None = None,
        label: str | None = None,
        **options: Any,
    ) -> None:
        self.address = address
        self._client = ModelClient(address, model, version, label, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def predict(self, galaxies: Galaxies) -> QTable:
        """Predict the label of galaxies.

        Parameters
        ----------
        galaxies
            As of `ssfr.Model.predict`.

        Returns
        -------
        QTable
            As of `ssfr.Model.predict`, and `version`, the version of the model that answered.

        Raises
        ------
        InputError
            No server, no such model, or not what the model takes.

        Examples
        --------
        >>> maps = ssfr.draw(ssfr.read_report("run/demo").simulation, 99, 0)
        >>> with ssfr.serve("run/demo/models") as address, ssfr.Client(address) as client:
        ...     served = client.predict(maps)
        >>> offline = ssfr.load_model("run/demo").predict(maps)
        >>> round(float(served["log10_ssfr"][0].value - offline["log10_ssfr"][0].value), 4)
        0.0
        """
        inputs = as_inputs(galaxies)
        unit = self._client.describe().label.linear_unit
        answer = self._client.predict(inputs)
        columns = (answer.predicted, answer.lower, answer.upper)
        found = prediction_table(inputs.names, answer.label, unit, *columns)
        found["version"] = answer.versions
        return found


@contextmanager
def serve(repository: str | PathLike[str]) -> Iterator[str]:
    """Serve the models of a repository on a free port of this machine, as long as a block runs.

    Parameters
    ----------
    repository
        Folder of models, such as ``models`` in the folder of a run.

    Yields
    ------
    str
        Address of the server, "HOST:PORT".

    Raises
    ------
    InputError
        The server did not start.

    Examples
    --------
    >>> with ssfr.serve("run/demo/models") as address:
    ...     address.startswith("127.0.0.1:")
    True
    """
    # the pipelines load Kubeflow's library
    from ssfr.pipelines.local.service import served

    with served(Path(repository)) as address:
        yield address
