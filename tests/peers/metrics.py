"""Values of ranking metrics by other people's code, for `tests/fixtures/metrics.json`; each call writes its own into it.

    python3 tests/peers/metrics.py trec_eval         (pip install ir_measures)
    python3 tests/peers/metrics.py recbole           (pip install recbole==1.2.1)
    python3 tests/peers/metrics.py elliot FOLDER     (FOLDER holds the sources of Elliot 0.3.1)

A thousand random rankings with ties: scores are small integers, one item is relevant. trec_eval is asked about all of
them, RecBole and Elliot about the first sixty. Each breaks ties in its own way, so the target is put in each place that
it may have among those with its score, and the values are averaged. RecBole's GAUC knows ties and is asked once.
"""

import json
import pathlib
import random
import sys
from types import SimpleNamespace

FIXTURE = pathlib.Path(__file__).parents[1] / "fixtures" / "metrics.json"
CUTOFFS = [1, 5, 10, 20]
FEW = 60

# Lists of eight users, for coverage.
ITEMS = 40
LISTS = [random.Random(user).sample(range(ITEMS), max(CUTOFFS)) for user in range(8)]


def rankings():
    """Scores and the target of each case."""
    random.seed(20261121)
    for _ in range(1000):
        candidates = random.randint(2, 60)
        scores = [random.randint(0, max(2, candidates // random.randint(1, 8))) for _ in range(candidates)]
        yield scores, random.randrange(candidates)


def counted(scores, target):
    above = sum(score > scores[target] for score in scores)
    tied = sum(score == scores[target] for score in scores) - 1
    return [above, tied, len(scores)]


RANKINGS = list(rankings())
CASES = [counted(scores, target) for scores, target in RANKINGS]


def places(cases):
    """Number, rank from 0 and candidates, for each place that a case's target may have."""
    for number, (above, tied, candidates) in enumerate(cases):
        for place in range(above, above + tied + 1):
            yield number, place, candidates


def means(cases, found):
    """The mean of each case's values, which come in the order of `places`."""
    found = iter(found)
    table = [[float(next(found)) for _ in range(tied + 1)] for _, tied, _ in cases]
    assert next(found, None) is None
    return [sum(values) / len(values) for values in table]


def trec_eval():
    import ir_measures
    from ir_measures import AP, RR, P, R, nDCG

    measures = {"ndcg": nDCG, "mrr": RR, "map": AP, "recall": R, "precision": P}
    qrels, run = [], []
    for number, place, candidates in places(CASES):
        query = f"{number}-{place}"
        qrels.append(ir_measures.Qrel(query, "target", 1))
        for rank in range(candidates):
            item = "target" if rank == place else f"item{rank}"
            run.append(ir_measures.ScoredDoc(query, item, float(candidates - rank)))
    wanted = {measure @ k: f"{name}@{k}" for name, measure in measures.items() for k in CUTOFFS}
    values = {name: {} for name in wanted.values()}
    for metric in ir_measures.iter_calc(list(wanted), qrels, run):
        values[wanted[metric.measure]][metric.query_id] = metric.value
    queries = [f"{number}-{place}" for number, place, _ in places(CASES)]
    return {name: means(CASES, [found[query] for query in queries]) for name, found in values.items()}, {}


def recbole():
    import numpy
    import torch

    # RecBole 1.2.1 uses names that NumPy dropped in 1.24.
    for name, kind in {"float": float, "bool": bool}.items():
        if name not in vars(numpy):
            setattr(numpy, name, kind)
    import recbole
    from recbole.evaluator import metrics
    from recbole.evaluator.collector import Collector

    assert recbole.__version__ == "1.2.1", recbole.__version__
    classes = {"hr": "Hit", "ndcg": "NDCG", "mrr": "MRR", "recall": "Recall", "precision": "Precision", "map": "MAP"}
    config = {
        "metrics": [*classes.values(), "GAUC", "ItemCoverage"],
        "topk": CUTOFFS,
        "eval_args": {"mode": {"test": "full"}},
        "device": "cpu",
        "metric_decimal_place": 17,
    }
    cases = CASES[:FEW]

    def collected(rows):
        """What RecBole's evaluation would keep of cases, each the scores of its items and the target."""
        # As in its trainer: item 0 is padding, and all that is no candidate has the score -inf.
        scores = torch.full((len(rows), 1 + 60), -torch.inf, dtype=torch.float64)
        for row, (of_items, _) in enumerate(rows):
            scores[row, 1 : 1 + len(of_items)] = torch.tensor(of_items, dtype=torch.float64)
        collector = Collector(config)
        targets = torch.tensor([1 + target for _, target in rows])
        collector.eval_batch_collect(scores, None, torch.arange(len(rows)), targets)
        kept = collector.get_data_struct()
        kept.set("data.num_items", 1 + ITEMS)
        return kept

    values = {}
    ordered = collected([([-float(n) for n in range(size)], place) for _, place, size in places(cases)])
    for name, class_name in classes.items():
        metric = getattr(metrics, class_name)(config)
        # All values, a row for each case and a column for each cutoff, instead of their rounded means.
        metric.topk_result = lambda _, table: table
        table = metric.calculate_metric(ordered)
        values |= {f"{name}@{k} as recbole": means(cases, table[:, k - 1]) for k in CUTOFFS}
    gauc = metrics.GAUC(config)
    values["gauc as recbole"] = [float(gauc.calculate_metric(collected([case]))["gauc"]) for case in RANKINGS[:FEW]]

    # The k-th item of a list gets the k-th best score.
    best = [([-float(items.index(n)) if n in items else -100.0 for n in range(ITEMS)], 0) for items in LISTS]
    coverage = metrics.ItemCoverage(config).calculate_metric(collected(best))
    return values, {f"coverage@{k} as recbole": float(coverage[f"itemcoverage@{k}"]) for k in CUTOFFS}


def elliot(folder):
    sys.path.insert(0, folder)
    from elliot.evaluation import metrics, relevance

    assert metrics.__version__ == "0.3.1", metrics.__version__
    cases = CASES[:FEW]
    config, num_items, threshold = SimpleNamespace(config_test=True), 100, 3

    def evaluated(name, lists, tests, k, train=()):
        kept = SimpleNamespace(
            cutoff=k,
            relevance=relevance.Relevance(tests, threshold),
            num_items=num_items,
            data=SimpleNamespace(train_dict=dict(enumerate(train))),
        )
        return metrics.parse_metric(name)(dict(enumerate(lists)), config, None, kept)

    # A user for each place; ratings differ, all that were not trained on are candidates.
    lists = [[(item, -float(item)) for item in range(size)] for _, _, size in places(cases)]
    tests = {user: {place: threshold + user % 3} for user, (_, place, _) in enumerate(places(cases))}
    train = [range(size, num_items) for _, _, size in places(cases)]
    names = {"lauc": "LAUC", "hr": "HR", "ndcg": "nDCG", "mrr": "MRR", "recall": "Recall"}
    names |= {"precision": "Precision", "map": "MAP", "mar": "MAR", "f1": "F1"}
    values = {}
    for name, theirs in names.items():
        for k in CUTOFFS:
            found = evaluated(theirs, lists, tests, k, train).eval_user_metric()
            values[f"{name}@{k} as elliot"] = means(cases, [found[user] for user in range(len(lists))])
    gauc = evaluated("GAUC", lists, tests, None, train).eval_user_metric()
    values["gauc as elliot"] = means(cases, [gauc[user] for user in range(len(lists))])
    # It gives no values of users, so one user at a time is all there is.
    auc = [evaluated("AUC", [lists[u]], {0: tests[u]}, None, [train[u]]).eval() for u in range(len(lists))]
    values["auc as elliot"] = means(cases, auc)

    best = [[(item, -float(rank)) for rank, item in enumerate(items)] for items in LISTS]
    return values, {f"coverage@{k} as elliot": float(evaluated("ItemCoverage", best, {}, k).eval()) for k in CUTOFFS}


peer = {"trec_eval": trec_eval, "recbole": recbole, "elliot": elliot}[sys.argv[1]]
fixture = json.loads(FIXTURE.read_text())
values, of_lists = peer(*sys.argv[2:])
fixture["above_tied_candidates"] = CASES
fixture["values"] = fixture.get("values", {}) | values
old = fixture.get("lists", {}).get("values", {})
fixture["lists"] = {"num_items": ITEMS, "lists": LISTS, "values": old | of_lists}
FIXTURE.write_text(json.dumps(fixture, separators=(",", ":")) + "\n")
