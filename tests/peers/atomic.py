"""Writes one of RecBole's atomic files, `FOLDER/NAME/NAME.inter`, from ratings or sequences, and reads it back.

    python3 tests/peers/atomic.py SOURCE FOLDER NAME [--users N]

SOURCE is MovieLens-100K's `u.data`, or S3-Rec's text of one user per line, `user item item …`, oldest first. The rows
are sorted by user and time, ties in the order of the source, and the timestamp is the place in the user's sequence:
RecBole holds times as 32-bit floats, which cannot tell the seconds of one minute apart. So `ablate` (the dataset
`recbole`), RecBole and torch_train.py get the same sequences from the same bytes. --users keeps the first users only.
"""

import sys
from pathlib import Path

HEADER = "user_id:token\titem_id:token\ttimestamp:float"


def sequences_of(source: Path) -> dict[str, list[str]]:
    """Each user's items, oldest first."""
    rows = [line.split() for line in source.read_text().splitlines()]
    if source.suffix != ".data":
        return {user: items for user, *items in rows}
    found = {}
    for user, item, _, _ in sorted(rows, key=lambda row: int(row[3])):
        found.setdefault(user, []).append(item)
    return found


def write(sequences: dict[str, list[str]], folder: Path, name: str) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    with open(folder / name / f"{name}.inter", "w") as file:
        print(HEADER, file=file)
        for user, items in sequences.items():
            file.writelines(f"{user}\t{item}\t{place}\n" for place, item in enumerate(items, 1))


def read(folder: str, name: str) -> tuple[list[list[int]], int]:
    """Each user's items as indices, oldest first; the number of items."""
    users, items = {}, {}
    with open(Path(folder) / name / f"{name}.inter") as file:
        assert next(file).rstrip("\n") == HEADER, "not a file of atomic.py"
        for line in file:
            user, item, _ = line.split("\t")
            users.setdefault(user, []).append(items.setdefault(item, len(items)))
    return list(users.values()), len(items)


def main():
    source, folder, name = sys.argv[1:4]
    found = sequences_of(Path(source))
    if "--users" in sys.argv:
        found = dict(list(found.items())[: int(sys.argv[sys.argv.index("--users") + 1])])
    write(found, Path(folder), name)
    items = {item for sequence in found.values() for item in sequence}
    print(f"{len(found)} users, {len(items)} items, {sum(map(len, found.values()))} interactions")


if __name__ == "__main__":
    main()
