"""Damaged videos without number: each is read, and gives frames or one sentence, within limits of memory and time.

    python scripts/fuzz_videos.py --count 44000 --out fuzz.jsonl

Files of many formats are made and then damaged: bytes flipped, cut out, repeated, put elsewhere, numbers made huge,
the end cut off. Each is read by `read_frames` and by `open_source`, in processes that may take 2 GiB. A run that was
stopped goes on where it was. What is neither frames nor one sentence is printed, with the number that makes it again
(`--only`).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

import av
import numpy as np
import PIL.Image


# Container, codec and pixel format.
FORMATS: dict[str, tuple[str, str, str]] = {
    "mp4-h264": ("mp4", "libx264", "yuv420p"),
    "mp4-mpeg4": ("mp4", "mpeg4", "yuv420p"),
    "mp4-hevc": ("mp4", "libx265", "yuv420p"),
    "mp4-fragmented": ("mp4", "mpeg4", "yuv420p"),
    "mov-png-alpha": ("mov", "png", "rgba"),
    "mov-prores": ("mov", "prores_ks", "yuv422p10le"),
    "mkv-ffv1": ("matroska", "ffv1", "yuv420p10le"),
    "mkv-h264": ("matroska", "libx264", "yuv444p"),
    "webm-vp8": ("webm", "libvpx", "yuv420p"),
    "webm-vp9": ("webm", "libvpx-vp9", "yuv420p"),
    "webm-av1": ("webm", "libsvtav1", "yuv420p"),
    "ts-mpeg2": ("mpegts", "mpeg2video", "yuv420p"),
    "ts-h264": ("mpegts", "libx264", "yuv420p"),
    "mpg-mpeg1": ("mpeg", "mpeg1video", "yuv420p"),
    "avi-mjpeg": ("avi", "mjpeg", "yuvj420p"),
    "avi-msmpeg4": ("avi", "msmpeg4", "yuv420p"),
    "avi-raw": ("avi", "rawvideo", "bgr24"),
    "flv-flv1": ("flv", "flv", "yuv420p"),
    "asf-wmv2": ("asf", "wmv2", "yuv420p"),
    "ogg-theora": ("ogg", "libtheora", "yuv420p"),
    "gif": ("gif", "gif", "rgb8"),
    "apng": ("apng", "apng", "rgba"),
    "nut-huffyuv": ("nut", "huffyuv", "yuv422p"),
    "y4m": ("yuv4mpegpipe", "wrapped_avframe", "yuv420p"),
    "raw-h264": ("h264", "libx264", "yuv420p"),
    "raw-mjpeg": ("mjpeg", "mjpeg", "yuvj420p"),
    "mxf-mpeg2": ("mxf", "mpeg2video", "yuv420p"),
    "3gp-h263": ("3gp", "h263", "yuv420p"),
    "swf-flv1": ("swf", "flv", "yuv420p"),
    "ivf-vp8": ("ivf", "libvpx", "yuv420p"),
}
PICTURES = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")

MEMORY = 2 * 2**30
SECONDS = 20
BATCH = 40


def samples() -> dict[str, bytes]:
    """A short video of each format that this FFmpeg can write, and a few pictures."""
    found: dict[str, bytes] = {}
    for name, kind in FORMATS.items():
        try:
            found[name] = encoded(*kind, fragmented=name == "mp4-fragmented")
        except Exception as error:
            print(f"{name} cannot be made here: {error}")
    for form in PICTURES:
        buffer = io.BytesIO()
        PIL.Image.fromarray(_frame(0, 72, 88)).save(buffer, form)
        found[form.lower()] = buffer.getvalue()
    return found


def _frame(index: int, height: int, width: int) -> np.ndarray:
    random = np.random.default_rng(index)
    frame = np.full((height, width, 3), 30 + 20 * index, np.uint8)
    frame[8:40, 8 + 4 * index : 40 + 4 * index] = random.integers(0, 256, (32, 32, 3))
    return frame


def encoded(container_format: str, codec: str, pixels: str, fragmented: bool = False) -> bytes:
    """Six frames, and in some containers a sound."""
    width, height = (176, 144) if codec == "h263" else (88, 72)
    buffer = io.BytesIO()
    options = {"movflags": "frag_keyframe+empty_moov"} if fragmented else {}
    with av.open(buffer, "w", format=container_format, options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        for index in range(6):
            frame = av.VideoFrame.from_ndarray(_frame(index, height, width), format="rgb24").reformat(format=pixels)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


HUGE = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x00", b"\x80\x00\x00\x00")


def damaged(data: bytes, number: int) -> bytes:
    """The data with up to 8 faults, the same for the same number."""
    random = np.random.default_rng(number)
    out = bytearray(data)
    for _ in range(int(random.integers(1, 9))):
        if len(out) < 8:
            break
        # Headers are short, and matter most.
        end = len(out) if random.random() < 0.5 else min(len(out), 600)
        place = int(random.integers(0, max(1, end - 4)))
        size = int(random.integers(1, 64))
        kind = int(random.integers(0, 8))
        if kind <= 1:
            out[place] = int(random.integers(0, 256))
        elif kind == 2:
            out[place] ^= 1 << int(random.integers(0, 8))
        elif kind == 3:
            out[place : place + 4] = HUGE[int(random.integers(0, len(HUGE)))]
        elif kind == 4:
            del out[place : place + size]
        elif kind == 5:
            out[place:place] = out[place : place + size]
        elif kind == 6:
            other = int(random.integers(0, len(out)))
            out[place : place + size] = out[other : other + size]
        elif random.random() < 0.3:
            del out[max(place, 16) :]
    return bytes(out)


def spliced(one: bytes, other: bytes, number: int) -> bytes:
    """The beginning of one file with the rest of another."""
    random = np.random.default_rng(number)
    return one[: int(random.integers(8, len(one)))] + other[int(random.integers(0, len(other))) :]


def case(files: dict[str, bytes], number: int) -> tuple[str, bytes]:
    """The format and the content of a damaged file."""
    names = list(files)
    name = names[number % len(names)]
    if number % 10 == 9:
        other = names[(number // 7) % len(names)]
        return name, damaged(spliced(files[name], files[other], number), number)
    return name, damaged(files[name], number)


def outcome(data: bytes) -> list[str]:
    """What `read_frames` and `open_source` make of a file: `frames`, a sentence without its numbers, or `FAULT`."""
    from hf_ttr.streaming import open_source
    from hf_ttr.video import read_frames

    return [
        _said(lambda: read_frames(data, None, lambda frame: frame.shape)),
        _said(lambda: _stream(open_source, data)),
    ]


def _stream(open_source: Callable[..., Any], data: bytes) -> None:
    with open_source(data) as source:
        for frame in source.frames():
            _ = frame.pixels


def _said(read: Callable[[], Any]) -> str:
    from hf_ttr.video import VideoDecodingError

    try:
        read()
        return "frames"
    except VideoDecodingError as error:
        text = str(error)
        if "\n" in text or not text.endswith(".") or not text.isprintable():
            return f"FAULT no sentence: {text!r}"
        return re.sub(r"\d[\d,]*", "N", re.sub(r"^The (?:video given as bytes|stream 'bytes') ", "", text))[:110]
    except Exception:
        return f"FAULT {traceback.format_exc()[-600:]}"


def run_forked(numbers: list[int], files: dict[str, bytes]) -> dict[str, Any]:
    """Reads files in a process of their own; what it says, its largest memory and its slowest file."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        code = 1
        try:
            os.close(reading)
            resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))
            signal.setitimer(signal.ITIMER_REAL, SECONDS * max(1, len(numbers) // 8))
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            found: Counter[str] = Counter()
            faults: list[tuple[int, str]] = []
            slowest = (0.0, -1)
            for number in numbers:
                name, data = case(files, number)
                began = time.monotonic()
                for said in outcome(data):
                    found[said.partition("\n")[0][:110]] += 1
                    if said.startswith("FAULT"):
                        faults.append((number, f"{name}: {said}"))
                slowest = max(slowest, (round(time.monotonic() - began, 3), number))
            with os.fdopen(writing, "w") as pipe:
                json.dump({"found": found, "faults": faults, "slowest": slowest}, pipe)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status, usage = os.wait4(child, 0)
    result = json.loads(text) if text else {"found": {}, "faults": [], "slowest": [0.0, -1]}
    return {**result, "exit": os.waitstatus_to_exitcode(status), "memory": usage.ru_maxrss * 1024}


def run_batch(numbers: list[int], files: dict[str, bytes], base: int) -> dict[str, Any]:
    """A batch in one process, or, if that ends or takes too much, each file in one."""
    batch = run_forked(numbers, files)
    if len(numbers) == 1:
        if batch["exit"] != 0:
            batch["faults"].append((numbers[0], f"the process ended with {batch['exit']}"))
        if batch["memory"] - base > MEMORY:
            batch["faults"].append((numbers[0], f"took {(batch['memory'] - base) / 2**20:.0f} MiB"))
        return batch
    if batch["exit"] == 0 and batch["memory"] - base <= MEMORY:
        return batch
    singles = [run_batch([number], files, base) for number in numbers]
    return {
        "found": sum((Counter(one["found"]) for one in singles), Counter()),
        "faults": [fault for one in singles for fault in one["faults"]],
        "slowest": max(one["slowest"] for one in singles),
        "exit": max((one["exit"] for one in singles), key=abs),
        "memory": max(one["memory"] for one in singles),
    }


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="number of damaged files")
    parser.add_argument("--out", help="file of results to go on with; in memory alone without it")
    parser.add_argument("--only", type=int, help="number of one file, whose outcome is printed")
    arguments = parser.parse_args()
    import hf_ttr.streaming
    import hf_ttr.video  # noqa: F401

    files = samples()
    print(f"{len(files)} formats: {', '.join(files)}", flush=True)
    if arguments.only is not None:
        name, data = case(files, arguments.only)
        print(name, len(data), run_batch([arguments.only], files, 0), *outcome(data), sep="\n")
        return
    done: dict[int, dict[str, Any]] = {}
    if arguments.out and os.path.exists(arguments.out):
        with open(arguments.out, encoding="utf-8") as file:
            done = {row["first"]: row for line in file if line.endswith("\n") for row in [json.loads(line)]}
    base = run_forked([], files)["memory"]
    for first in range(0, arguments.count, BATCH):
        if first in done:
            continue
        numbers = list(range(first, min(first + BATCH, arguments.count)))
        row = {"first": first, "count": len(numbers), "base": base, **run_batch(numbers, files, base)}
        done[first] = row
        for number, fault in row["faults"]:
            print(f"{number}: {fault}", flush=True)
        if arguments.out:
            with open(arguments.out, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    _report([done[first] for first in sorted(done)])


def _report(rows: list[dict[str, Any]]) -> None:
    found: Counter[str] = sum((Counter(row["found"]) for row in rows), Counter())
    print(f"{sum(row['count'] for row in rows)} files, each read in two ways")
    for said, count in found.most_common(60):
        print(f"{count:7} {said}")
    seconds, number = max(row["slowest"] for row in rows)
    print(f"slowest: {seconds} s (file {number})")
    print(f"largest growth of memory: {max(row['memory'] - row['base'] for row in rows) / 2**20:.0f} MiB")
    print(f"faults: {sum(len(row['faults']) for row in rows)}")


if __name__ == "__main__":
    main()
