"""Writes generated files of MovieLens-1M's size and form, to measure loading where the real ones cannot be had.

    python3 tests/peers/ratings.py FOLDER        (FOLDER is CACHE/ml-1m)
"""
import os
import random
import sys

USERS, ITEMS, ROWS = 6040, 3706, 1_000_209

folder = sys.argv[1]
os.makedirs(folder, exist_ok=True)
random.seed(1)
with open(os.path.join(folder, "movies.dat"), "w", encoding="latin-1") as movies:
    for item in range(1, ITEMS + 1):
        movies.write(f"{item}::Film {item} ({1920 + item % 80})::Drama\n")
with open(os.path.join(folder, "ratings.dat"), "w", encoding="latin-1") as ratings:
    for row in range(ROWS):
        item = min(ITEMS, 1 + int(random.paretovariate(0.8)) % ITEMS)
        ratings.write(f"{1 + row % USERS}::{item}::{1 + row % 5}::{956_703_932 + random.randrange(90_000_000)}\n")
