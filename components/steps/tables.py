"""Parquet files whose columns carry their units."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ssfr.components.steps.checks import UNIT
from ssfr.components.steps.connections import File
from ssfr.components.storage.artifact import atomic_file


def write_table(
    path: Path, table: pd.DataFrame, file: File, metadata: Mapping[str, Any] | None = None
) -> None:
    """Write a table atomically, with the units that are declared of its columns.

    Parameters
    ----------
    path
        Of the parquet file.
    table
        Its rows; the index is not written.
    file
        What is declared of it.
    metadata
        Of the file: name -> anything JSON can hold.
    """
    units = {entry.name: entry.unit for entry in file.entries if entry.unit}
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    schema = pa.schema(
        [
            column.with_metadata({UNIT: units[column.name]}) if column.name in units else column
            for column in arrow.schema
        ],
        metadata={
            **(arrow.schema.metadata or {}),
            **({"PANDAS_ATTRS": json.dumps(table.attrs)} if table.attrs else {}),  # as pandas writes them
            **{name: json.dumps(value) for name, value in (metadata or {}).items()},
        },
    )
    with atomic_file(path) as part:
        pq.write_table(arrow.cast(schema), part)
