"""Values of ranking metrics by trec_eval (through ir_measures), for `tests/fixtures/metrics.json`.

    pip install ir_measures
    python3 tests/peers/metrics.py > tests/fixtures/metrics.json

A thousand random rankings with ties: scores are small integers, one item is relevant. trec_eval breaks ties by the item's
name, so the target is put in each place that it may have among those with its score, and the values are averaged.
"""

import json
import random
import sys

import ir_measures
from ir_measures import AP, RR, P, R, nDCG

MEASURES = {"ndcg": nDCG, "mrr": RR, "map": AP, "recall": R, "precision": P}
CUTOFFS = [1, 5, 10, 20]

random.seed(20261121)
cases, qrels, run = [], [], []
for number in range(1000):
    candidates = random.randint(2, 60)
    scores = [random.randint(0, max(2, candidates // random.randint(1, 8))) for _ in range(candidates)]
    target = random.randrange(candidates)
    above = sum(score > scores[target] for score in scores)
    tied = sum(score == scores[target] for score in scores) - 1
    cases.append([above, tied, candidates])
    for place in range(tied + 1):
        query = f"{number}-{place}"
        qrels.append(ir_measures.Qrel(query, "target", 1))
        for rank in range(candidates):
            item = "target" if rank == above + place else f"item{rank}"
            run.append(ir_measures.ScoredDoc(query, item, float(candidates - rank)))

values = {(name, k): {} for name in MEASURES for k in CUTOFFS}
wanted = {measure @ k: (name, k) for name, measure in MEASURES.items() for k in CUTOFFS}
for metric in ir_measures.iter_calc(list(wanted), qrels, run):
    number = int(metric.query_id.split("-")[0])
    values[wanted[metric.measure]].setdefault(number, []).append(metric.value)

table = {}
for (name, k), found in values.items():
    assert all(len(found[n]) == cases[n][1] + 1 for n in range(len(cases)))
    table[f"{name}@{k}"] = [sum(found[n]) / len(found[n]) for n in range(len(cases))]
json.dump({"above_tied_candidates": cases, "values": table}, sys.stdout, separators=(",", ":"))
sys.stdout.write("\n")
