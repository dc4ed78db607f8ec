"""
Lays a data set out for `hf-ttr evaluate`, as links to its videos, CLASS/VIDEO, in a new folder.

    python examples/link_dataset.py kinetics --list val.csv --videos RAW/val --out kinetics-val
    python examples/link_dataset.py ssv2 --list validation.json --videos RAW/20bn-something-something-v2 --out ssv2-val
    python examples/link_dataset.py hmdb51 --list RAW/testTrainMulti_7030_splits --videos RAW/hmdb51_org --out hmdb51-1

The videos are only looked at. Those in the list that are missing are counted; links that are there stay.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path


def kinetics(path: Path) -> Iterator[tuple[str, str]]:
    """Of val.csv, with the columns label, youtube_id, time_start and time_end."""
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            yield row["label"], f"{row['youtube_id']}_{int(row['time_start']):06}_{int(row['time_end']):06}.mp4"


def ssv2(path: Path) -> Iterator[tuple[str, str]]:
    """Of validation.json, a list of objects with id and template; labels have no brackets."""
    for entry in json.loads(path.read_text()):
        yield entry["template"].replace("[", "").replace("]", ""), f"{entry['id']}.webm"


def hmdb51(path: Path, split: int = 1) -> Iterator[tuple[str, str]]:
    """Of a folder with CLASS_test_splitN.txt, in which the videos of the test have the number 2."""
    ending = f"_test_split{split}.txt"
    for file in sorted(path.glob(f"*{ending}")):
        label = file.name.removesuffix(ending)
        for line in file.read_text().splitlines():
            if line.split()[1:] == ["2"]:
                yield label, f"{label}/{line.split()[0]}"


LISTS = {"kinetics": kinetics, "ssv2": ssv2, "hmdb51": hmdb51}


def link(entries: Iterator[tuple[str, str]], videos: Path, out: Path) -> tuple[int, int]:
    """Makes links CLASS/VIDEO to the videos of a list; returns how many are there, and how many are missing."""
    there = missing = 0
    for label, name in entries:
        video = videos / name
        if not video.is_file():
            missing += 1
            continue
        there += 1
        # A WebM file is a Matroska file, and the data sets library knows the ending of those alone.
        place = out / label.replace("/", "-") / (f"{video.stem}.mkv" if video.suffix == ".webm" else video.name)
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.is_symlink():
            place.symlink_to(video.resolve())
    return there, missing


def main() -> None:
    """Reads the list, and makes the links."""
    parser = argparse.ArgumentParser(description="Lay a data set out as links to its videos.")
    parser.add_argument("kind", choices=LISTS)
    parser.add_argument("--list", required=True, type=Path, help="the list of the split, or of HMDB51 their folder")
    parser.add_argument("--videos", required=True, type=Path, help="folder of the videos")
    parser.add_argument("--out", required=True, type=Path, help="folder for the links")
    arguments = parser.parse_args()
    if not arguments.list.exists():
        sys.exit(f"Error: there is no '{arguments.list}'; pass the list that comes with the videos.")
    there, missing = link(LISTS[arguments.kind](arguments.list), arguments.videos, arguments.out)
    if not there:
        sys.exit(f"Error: none of the {missing} videos in the list is in '{arguments.videos}'; check the folder.")
    print(f"{there} videos in {arguments.out}, {missing} missing")


if __name__ == "__main__":
    main()
