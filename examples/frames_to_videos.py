"""
Makes videos of the folders of pictures that CDnet 2014 and ImageNet VID consist of, for `hf-ttr evaluate`.

    python examples/frames_to_videos.py --frames RAW/dataset2014/dataset --pattern "*/*/input" --out cdnet
    python examples/frames_to_videos.py --frames RAW/ILSVRC2015/Data/VID/val --pattern "*" --out imagenet-vid

A video CLASS/VIDEO is made of every folder that fits the pattern; the pictures are only read, and videos that are
there stay. Those are H.264 of high quality, but not without loss: the noise of a camera changes a little.
"""

import argparse
import sys
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image

from hf_ttr.storage.files import replacing


PICTURES = (".jpg", ".jpeg", ".png")


def name_of(folder: Path, root: Path) -> Path:
    """CLASS/VIDEO.mp4 of a folder of pictures; what lies directly in the root has no class, and gets "videos"."""
    parts = [part for part in folder.relative_to(root).parts if part != "input"]
    return Path("-".join(parts[:-1]) or "videos", f"{parts[-1]}.mp4")


def encode(pictures: list[Path], path: Path, fps: float) -> None:
    """Writes a video of pictures, which all get the size of the first, less a row or column where that is odd."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, av.open(temporary, "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        with Image.open(pictures[0]) as first:
            size = stream.width, stream.height = first.width // 2 * 2, first.height // 2 * 2
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "12"}
        for picture in pictures:
            with Image.open(picture) as image:
                frame = av.VideoFrame.from_image(image.convert("RGB").crop((0, 0, *size)))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def main() -> None:
    """Finds the folders, and makes a video of each."""
    parser = argparse.ArgumentParser(description="Make videos of folders of pictures.")
    parser.add_argument("--frames", required=True, type=Path, help="folder in which to look")
    parser.add_argument("--pattern", default="*/*/input", help="of the folders of pictures in it")
    parser.add_argument("--out", required=True, type=Path, help="folder for the videos")
    parser.add_argument("--fps", type=float, default=25.0)
    arguments = parser.parse_args()
    made = 0
    for folder in sorted(arguments.frames.glob(arguments.pattern)):
        pictures = (
            sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES) if folder.is_dir() else []
        )
        path = arguments.out / name_of(folder, arguments.frames)
        if pictures and not path.exists():
            encode(pictures, path, arguments.fps)
        made += bool(pictures)
    if not made:
        sys.exit(f"Error: no folder '{arguments.pattern}' of pictures is in '{arguments.frames}'; check the pattern.")
    print(f"{made} videos in {arguments.out}")


if __name__ == "__main__":
    main()
