"""Writes large data of no meaning, for measurements: python3 generated.py wide|items|pictures FOLDER.

wide      3,000,000 rows of 200,000 users and 50,000 items with eight columns, as CSV and as JSON lines
items     300,000 items, each met at least once: 5,000 users with 60 of a shuffled catalogue and 10 popular ones
pictures  1,000 PNG files of 1.08 MB of noise, and 200 users with 20 of them each
"""

import json
import os
import random
import struct
import sys
import zlib

what, folder = sys.argv[1:]
random.seed(1)
os.makedirs(folder, exist_ok=True)


def spec(more=""):
    with open(f"{folder}/spec.toml", "w") as file:
        file.write(f'name = "{what}"\n[dataset]\nuse = "table"\nfolder = ""\nitems = false\n{more}')
        file.write('[protocol]\nk_core = 0\n[recommender]\nuse = "popularity"\n')


def rows(pairs):
    with open(f"{folder}/interactions.csv", "w") as file:
        file.write("user_id,item_id,timestamp\n")
        for n, (user, item) in enumerate(pairs):
            file.write(f"u{user},i{item},{1600000000 + n}\n")


def wide():
    spec()
    with open(f"{folder}/interactions.csv", "w") as table, open(f"{folder}/interactions.jsonl", "w") as lines:
        table.write("user_id,item_id,timestamp,rating,a,b,c,d\n")
        for n in range(3_000_000):
            user, item = f"user{random.randrange(200_000)}", f"item{random.randrange(50_000)}"
            table.write(f"{user},{item},{1500000000 + n},4.0,some text,1,2,x\n")
            row = {"user_id": user, "item_id": item, "timestamp": 1500000000 + n, "rating": 4.0, "text": "some text"}
            lines.write(json.dumps(row) + "\n")


def items():
    spec()
    catalogue = list(range(300_000))
    random.shuffle(catalogue)
    pairs = []
    for user in range(5_000):
        own = catalogue[user * 60 : (user + 1) * 60]
        while len(own) < 70:
            item = int(300_000 * random.random() ** 3)
            if item not in own:
                own.append(item)
        pairs += [(user, item) for item in own]
    rows(pairs)


def pictures():
    spec('images = "images"\n')
    os.makedirs(f"{folder}/images", exist_ok=True)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    for n in range(1_000):
        pixels = b"".join(b"\0" + random.randbytes(1800) for _ in range(600))
        parts = [
            chunk(b"IHDR", struct.pack(">IIBBBBB", 600, 600, 8, 2, 0, 0, 0)),
            chunk(b"IDAT", zlib.compress(pixels, 0)),
            chunk(b"IEND", b""),
        ]
        with open(f"{folder}/images/i{n}.png", "wb") as file:
            file.write(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    rows((user, item) for user in range(200) for item in random.sample(range(1_000), 20))


{"wide": wide, "items": items, "pictures": pictures}[what]()
