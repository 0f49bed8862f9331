"""Reviews in the form of Amazon's 2023 release, and polars as the peer that reads them.

    python3 tests/peers/reviews.py write CACHE ROWS    writes CACHE/amazon-2023/Toys.jsonl and its products
    python3 tests/peers/reviews.py read CACHE          reads them as polars does: who, what, when and titles; prints JSON
"""
import json
import os
import random
import resource
import sys
import time

what, cache = sys.argv[1:3]
folder = os.path.join(cache, "amazon-2023")
reviews, products = os.path.join(folder, "Toys.jsonl"), os.path.join(folder, "meta_Toys.jsonl")
if what == "write":
    os.makedirs(folder, exist_ok=True)
    random.seed(1)
    rows = int(sys.argv[3])
    users, items = rows // 8, rows // 20
    words = ["it", "works", "as", "it", "should", "and", "came", "in", "time", "\"great\"", "toy", "\n"]
    texts = [" ".join(random.choices(words, k=random.randrange(5, 160))) for _ in range(1000)]
    with open(reviews, "w") as file:
        for row in range(rows):
            item = int(items * random.random() ** 3)
            file.write(json.dumps({
                "rating": 5.0, "title": "Five stars", "text": texts[row % 997], "images": [], "asin": f"V{item:09}",
                "parent_asin": f"B{item:09}", "user_id": f"AE{random.randrange(users):026}",
                "timestamp": 1_400_000_000_000 + random.randrange(10**11), "helpful_vote": 0, "verified_purchase": True,
            }) + "\n")
    with open(products, "w") as file:
        for item in range(items):
            file.write(json.dumps({
                "main_category": "Toys & Games", "title": f"Toy {item}", "average_rating": 4.5, "features": [],
                "description": [texts[item % 997]], "price": None, "images": [], "parent_asin": f"B{item:09}",
            }) + "\n")
    print(f"{os.path.getsize(reviews) / 1e9:.2f} GB of reviews")
else:
    import polars

    start = time.time()
    review = {"user_id": polars.String, "parent_asin": polars.String, "timestamp": polars.Int64}
    product = {"parent_asin": polars.String, "title": polars.String}
    table = polars.scan_ndjson(reviews, schema=review).collect(engine="streaming")
    titles = polars.scan_ndjson(products, schema=product).collect(engine="streaming")
    joined = table.select("parent_asin").unique().join(titles, on="parent_asin", how="left")
    cpu = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"rows": table.height, "users": table["user_id"].n_unique(), "titled": joined["title"].count()}
    print(json.dumps({**found, "wall_s": time.time() - start, "cpu_s": cpu, "peak_mib": peak, "polars": polars.__version__}))
