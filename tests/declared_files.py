"""Files of the tests as the steps declare them: what a test has no use for is filled in."""

import json

import numpy as np
import pandas as pd

from ssfr.components.steps.tables import write_table

_JSON = {"object": {}, "array": [], "text": "", "number": 0, "bool": False}


def fill_in(folder, *files):
    """Add the declared columns and keys that parquet and JSON files lack, with nothing in them."""
    for file in files:
        path = folder / file.pattern
        wanted = [entry for entry in file.entries if not entry.optional]
        if file.kind == "json":
            blank = {entry.name: _JSON[entry.dtype.split("|")[0]] for entry in wanted}
            path.write_text(json.dumps(blank | json.loads(path.read_text())))
            continue
        table = pd.read_parquet(path)
        for entry in wanted:
            dtype = entry.dtype.split("|")[0]
            if entry.name in table:
                if dtype != "text":
                    table[entry.name] = table[entry.name].astype(dtype)
            else:
                table[entry.name] = "" if dtype == "text" else np.zeros(len(table), dtype)
        write_table(path, table, file)
