"""
Labels for the videos of an archive, on a Ray cluster: a job for `ray job submit`, or to be run on a laptop as it is.

    python examples/ray_archive.py /archive my-vit labels/
    ray job submit --address http://head:8265 -- python ray_archive.py s3://bucket/videos my-vit s3://bucket/labels
"""

from __future__ import annotations

import argparse

import ray

import hf_ttr.ray


def label(source: str, model: str, out: str, workers: int, gpus: float, verify: float) -> None:
    """Writes a table with a row for each video."""
    # Or ray.data.read_parquet(...), with a column of paths, addresses or the bytes of files.
    videos = hf_ttr.ray.find_videos(source)
    table = videos.map_batches(
        hf_ttr.ray.VideoClassifier,
        fn_constructor_kwargs={"model": model, "verify": verify},
        # A block is a batch: each process gets some videos, and gives back their rows.
        batch_size=None,
        # Other columns keep their types, also one in which all is missing.
        batch_format="pyarrow",
        num_gpus=gpus or None,
        num_cpus=None if gpus else 1,
        compute=ray.data.ActorPoolStrategy(size=workers),
    )
    table.write_parquet(out)


def main() -> None:
    """Reads the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="folder, pattern, list of paths or address of videos")
    parser.add_argument("model", help="folder or Hub id of a classifier, which every node must reach")
    parser.add_argument("out", help="folder or address for the table")
    parser.add_argument("--workers", type=int, default=1, help="processes with a model each")
    parser.add_argument("--gpus", type=float, default=0, help="GPUs of each of them")
    parser.add_argument("--verify", type=float, default=0.01, help="share of the videos that the dense model sees too")
    arguments = parser.parse_args()

    label(**vars(arguments))
    print(f"The labels are in {arguments.out}; videos without any have an error.")


if __name__ == "__main__":
    main()
