"""
Evaluates a model on a test split of UCF101, as it is unpacked.

    python examples/evaluate_ucf101.py --data DATA --model MODEL --out results [--split 1] [options of hf-ttr evaluate]

DATA holds the folders UCF-101/CLASS and ucfTrainTestlist. They stay as they are: the videos of the split are linked
into a folder in OUT. The same command goes on with a run that was stopped.
"""

import argparse
import os
import sys
from pathlib import Path

from hf_ttr.cli import app


def videos_of_split(data: Path, split: int) -> list[str]:
    """
    Names of the videos of a test split, as CLASS/VIDEO.

    Raises:
        SystemExit: if the list or one of its videos is missing.
    """
    path = data / "ucfTrainTestlist" / f"testlist{split:02}.txt"
    if not path.is_file():
        sys.exit(f"Error: there is no '{path}'; unpack the lists of the splits beside the folder UCF-101.")
    # Lists of the training splits have a number behind the name.
    names = [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
    missing = [name for name in names if not (data / "UCF-101" / name).is_file()]
    if missing:
        sys.exit(f"Error: {len(missing)} of {len(names)} videos are missing, such as '{missing[0]}'; unpack them all.")
    return names


def link_videos(data: Path, names: list[str], folder: Path) -> None:
    """Makes links to the videos, CLASS/VIDEO, in a folder of their own; those that are there stay."""
    for name in names:
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to((data / "UCF-101" / name).resolve())


def main() -> None:
    """Links the videos, and runs the evaluation on the links."""
    parser = argparse.ArgumentParser(description="Evaluate a model on a test split of UCF101.")
    parser.add_argument("--data", required=True, type=Path, help="folder with UCF-101 and ucfTrainTestlist")
    parser.add_argument("--model", required=True, help="folder or Hub id, of a model with the classes of UCF101")
    parser.add_argument("--out", required=True, type=Path, help="folder for the links and the results")
    parser.add_argument("--split", type=int, choices=(1, 2, 3), default=1)
    arguments, others = parser.parse_known_args()
    names = videos_of_split(arguments.data, arguments.split)
    folder = arguments.out / f"videos{arguments.split:02}"
    link_videos(arguments.data, names, folder)
    results = arguments.out / f"results{arguments.split:02}"
    options = ["--model", arguments.model, "--dataset", os.fspath(folder), "--out", os.fspath(results), *others]
    app(["evaluate", *options])


if __name__ == "__main__":
    main()
