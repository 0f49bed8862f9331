"""Compares stored runs of one seed each by a paired t-test over users, after Holm: for experiments whose runs were made by
an earlier program, so that a report on their spec no longer finds them.

    python3 tests/peers/stored_pairs.py results/reference tallrec-movielens-100k llm        (polars, scipy, statsmodels)
"""

import json
import sys
from pathlib import Path

import polars as pl
from scipy import stats
from statsmodels.stats.multitest import multipletests

store, experiment, base = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
rows = {}
for path in sorted((store / "runs").glob("*.json")):
    record = json.loads(path.read_text())
    if record["name"] == experiment:
        digest = record["outcome"]["scores"]["scores.parquet"]
        scores = pl.read_parquet(store / "objects" / digest[:2] / digest[2:])
        metric = next(name for name in scores.columns if name.startswith(record["plan"]["evaluator"]["selects_by"]))
        if record["variant"] in rows:
            sys.exit(f"{record['variant']} has several runs: this is for one seed each")
        rows[record["variant"]] = scores[metric].to_numpy()
others = [name for name in rows if name != base]
differences = [rows[name] - rows[base] for name in others]
p = [stats.ttest_1samp(difference, 0).pvalue for difference in differences]
for name, difference, adjusted in zip(others, differences, multipletests(p, method="holm")[1]):
    print(f"{name} against {base}: {metric} {difference.mean():+.4f}, p after Holm {adjusted:.1e}, {len(difference)} users")
