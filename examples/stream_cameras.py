"""
Classifies several cameras with one model, in time and as good as asked for, and writes every result to a file.

    python examples/stream_cameras.py gate=rtsp://192.0.2.7/live yard=/dev/video0 --model MODEL --out results.jsonl

Thresholds rise while results come later than the latency budget, and fall where a look at the dense model finds that
the scores differ by more than allowed. On the terminal is what changes: a label, each look at the dense model, and a
camera that stalls, vanishes or is back. Files work like cameras. Ctrl-C ends it; with --resume it goes on behind the
last result in the file.
"""

import argparse
import sys
from collections.abc import Iterator

from transformers import pipeline

import hf_ttr  # noqa: F401, which registers the pipeline
from hf_ttr.caching.snapshot import SnapshotError
from hf_ttr.streaming import ResultFile, ResultFileError, SourceError, StreamResult


def named(sources: list[str]) -> dict[str, str]:
    """The sources by name: what is before "=", or else their number."""
    names = {}
    for number, source in enumerate(sources):
        name, separator, address = source.partition("=")
        # Addresses may hold a "=" of their own.
        is_named = separator and name.isidentifier()
        names[name if is_named else f"camera{number}"] = address if is_named else source
    return names


def changes(results: Iterator[StreamResult], file: ResultFile) -> Iterator[str]:
    """Writes all results, and gives a line for each that tells something new."""
    labels: dict[str, str] = {}
    for result in results:
        file.write(result)
        check = result.divergence
        if labels.get(result.stream) == result.label and check is None:
            continue
        labels[result.stream] = result.label
        line = f"{result.arrived_at} {result.stream}: {result.label} ({result.score:.2f})"
        line += f", {result.computed_share:.0%} computed, {result.latency_ms:.0f} ms, {result.dropped} dropped"
        if result.threshold is not None:
            line += f", threshold {result.threshold:.3f}"
        yield line if check is None else f"{line}, {check.kl:.4f} nats from dense"


def main() -> None:
    """Reads the arguments, and follows the streams until they end."""
    parser = argparse.ArgumentParser(description="Classify several cameras with one model.")
    parser.add_argument("sources", nargs="+", metavar="NAME=SOURCE", help="a camera, an address or a file")
    parser.add_argument("--model", required=True, help="folder or Hub id of a ViT or VideoMAE")
    parser.add_argument("--out", required=True, help="file for the results, a line of JSON each")
    parser.add_argument("--resume", action="store_true", help="go on behind the last result in the file")
    parser.add_argument("--latency-budget-ms", type=float, default=200.0)
    parser.add_argument("--verify-every", type=int, default=250, help="frames from one dense check to the next")
    parser.add_argument("--max-divergence", type=float, default=0.02, help="in nats")
    parser.add_argument("--reconnect", type=float, help="seconds to look for a camera that is off; else for ever")
    arguments = parser.parse_args()
    pipe = pipeline("video-classification-reuse", model=arguments.model)
    try:
        with ResultFile(arguments.out, arguments.resume) as file:
            streams = pipe.stream(
                named(arguments.sources),
                latency_budget_ms=arguments.latency_budget_ms,
                verify_every=arguments.verify_every,
                max_divergence=arguments.max_divergence,
                reconnect=arguments.reconnect,
                snapshots=f"{arguments.out}.snapshots",
                resume=arguments.resume,
                kept={name: result.number + 1 for name, result in file.last.items()},
            )
            with streams:
                for line in changes(streams, file):
                    print(line, flush=True)
    except (SourceError, SnapshotError, ResultFileError) as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
