"""Reads a results store as it is, with polars and with DuckDB: prints every run's metric means as JSON.

    python3 tests/peers/read_store.py STORE        (polars, duckdb)

A run is `runs/ID.json`. Its scores are a parquet file under the hash in `outcome.scores["scores.parquet"]`: the object
`objects/ab/cdef…`, a row per user, a column per metric. The output is `{run: {metric: [polars, duckdb, recorded]}}`.
"""

import json
import sys
from pathlib import Path

import duckdb
import polars

store = Path(sys.argv[1])
means = {}
for path in sorted((store / "runs").glob("*.json")):
    run = json.loads(path.read_text())
    name = run["outcome"]["scores"]["scores.parquet"]
    scores = store / "objects" / name[:2] / name[2:]
    table = polars.read_parquet(scores)
    means[run["run"]] = {
        metric: [
            table[metric].mean(),
            duckdb.sql(f"select avg(\"{metric}\") from read_parquet('{scores}')").fetchall()[0][0],
            summary["mean"],
        ]
        for metric, summary in run["metrics"].items()
        if metric in table.columns  # the others belong to the whole test set
    }
print(json.dumps(means))
