"""Makes tests/fixtures/statistics.json: small tables of rows with the crossed t-test of every row against the first,
computed in numpy and scipy from the formulas of book/src/reports.md; Wilson's interval and families of p-values by
statsmodels.

    python3 tests/peers/significance.py > tests/fixtures/statistics.json        (numpy, scipy, statsmodels)
"""

import json

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

generator = np.random.default_rng(1)


def parts(y):
    """Seeds' variance over the noise of users, that noise, the mean square of seed by user, the degrees of freedom."""
    seeds, users = y.shape
    if seeds < 2:
        return 1.0, 0.0, 0.0, 0
    residual = y - y.mean(0) - y.mean(1)[:, None] + y.mean()
    square = (residual**2).sum() / ((seeds - 1) * (users - 1))
    return y.mean(1).var(ddof=1) / (square / users), square / users, square, seeds - 1


def table(rows):
    found = [parts(y) for y in rows]
    total = sum(part[3] for part in found)

    def moderated(m):
        ratio, noise, _, df = found[m]
        if df == 0:
            return 0.0, 0.0, np.inf
        others = [part for k, part in enumerate(found) if k != m and part[3]]
        pool = sum(part[3] for part in others)
        spare = max(pool - 2, 0)
        weight = 4 * spare / (4 + spare)
        prior = sum(part[3] * part[0] for part in others) / pool if pool else 1.0
        ratio = max(1.0, (weight * prior + df * ratio) / (weight + df))
        seeds = len(rows[m])
        return noise * ratio / seeds, noise * (ratio - 1) / seeds, weight + df

    def against(m):
        users = rows[m].shape[1]
        difference = rows[m].mean(0) - rows[0].mean(0)
        (b1, x1, df1), (b0, x0, df0) = moderated(m), moderated(0)
        variance = difference.var(ddof=1) / users + x1 + x0
        inverse = (difference.var(ddof=1) / users) ** 2 / (users - 1)
        if b1 + b0 > 0:
            inverse += (b1 + b0) ** 2 / min((b1 + b0) ** 2 / (b1**2 / df1 + b0**2 / df0), total)
        df = min(max(variance**2 / inverse, 1), users - 1)
        error = variance**0.5
        spread = difference.var(ddof=1) + sum((1 - 1 / len(rows[k])) * found[k][2] for k in (m, 0))
        reach = stats.t.ppf(0.975, df) * error
        return {
            "difference": difference.mean(), "low": difference.mean() - reach, "high": difference.mean() + reach, "df": df,
            "p": 2 * stats.t.sf(abs(difference.mean()) / error, df), "effect": difference.mean() / spread**0.5,
            "smallest_of_3": (stats.t.ppf(1 - 0.05 / 6, df) + stats.t.ppf(0.8, df)) * error,
        }

    return {"rows": [y.tolist() for y in rows], "against_first": [against(m) for m in range(1, len(rows))]}


def row(seeds, users, common, shift=0.0, spread=0.05, noise=0.3):
    own = generator.normal(0, spread, size=(seeds, 1)) + generator.normal(0, noise, size=(seeds, users))
    return np.round(common + shift + own, 3)


def family(p):
    adjusted = {
        key: multipletests(p, method=method)[1].tolist()
        for key, method in [("holm", "holm"), ("benjamini_hochberg", "fdr_bh")]
    }
    return {"p": list(p), **adjusted}


def share(hits, users):
    low, high = proportion_confint(hits, users, method="wilson")
    return {"hits": hits, "users": users, "low": low, "high": high}


users = generator.normal(0.4, 0.3, size=20)
tables = [
    table([row(3, 20, users), row(3, 20, users, 0.05), row(3, 20, users, 0.3)]),
    table([row(5, 20, users, spread=0.2), row(2, 20, users), row(1, 20, users, 0.2), row(4, 20, users, 0.1, spread=0.0)]),
    table([row(1, 20, users), row(1, 20, users, 0.1)]),
]
families = [
    family(generator.uniform(size=7).tolist()),
    family((generator.uniform(size=12) ** 3).tolist()),
    family([0.04, 0.01, 0.04, 0.001, 0.9]),
    family([0.5]),
]
shares = [share(0, 30), share(1, 100), share(37, 122), share(122, 122)]
print(json.dumps({"tables": tables, "families": families, "shares": shares}))
