"""Pieces are what the processor, or the protocol, makes of the whole video at once."""

from __future__ import annotations

import dataclasses
import pickle
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch

from hf_ttr.archive.cut import Clips, Cut, Piece, WholeVideo
from hf_ttr.evaluation import Protocol
from hf_ttr.video import VideoDecodingError, VideoInfo, VideoLimits, read_frames
from hf_ttr.video.processing import TemporalReuseVideoProcessor

from ..evaluation.videos import write_video


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames, wider than high, that are all different."""
    path = tmp_path_factory.mktemp("videos") / "clip.mp4"
    write_video(path, np.random.default_rng(0).integers(0, 256, (10, 32, 48, 3), dtype=np.uint8))
    return path


def processor(**settings: Any) -> TemporalReuseVideoProcessor:
    return TemporalReuseVideoProcessor(**{"size": {"height": 24, "width": 24}, **settings})


def all_of(cut: Cut, processor: Any, source: Any) -> tuple[list[Piece], VideoInfo]:
    pieces = []
    generator = cut.pieces(processor, source)
    while True:
        try:
            pieces.append(next(generator))
        except StopIteration as end:
            return pieces, end.value


@pytest.mark.parametrize("num_frames, step, sizes", [(4, 1, [4, 4, 2]), (5, 1, [5, 5]), (3, 2, [3, 2]), (32, 1, [10])])
def test_pieces_of_a_whole_video_are_what_the_processor_makes_of_it(
    num_frames: int, step: int, sizes: list[int], path: Path
) -> None:
    own = processor(image_mean=[0.2, 0.4, 0.6], do_center_crop=True, crop_size={"height": 20, "width": 16})
    pieces, info = all_of(WholeVideo(num_frames, frame_sampling_rate=step), own, path)
    assert [piece.frames for piece in pieces] == sizes
    assert {(piece.pixels.dtype, piece.pixel_values.dtype) for piece in pieces} == {
        (np.dtype(np.float32), torch.float32)
    }
    whole = own(str(path), return_tensors="pt").pixel_values[:, ::step]
    assert torch.equal(torch.cat([piece.pixel_values for piece in pieces], 1), whole)
    assert info == read_frames(path)[1]
    assert (info.frames, info.fps) == (10, 25.0)


def test_views_of_a_whole_video_are_those_of_a_protocol(path: Path) -> None:
    pieces, _ = all_of(WholeVideo(4, views=3), processor(), path)
    expected = Protocol(views=3, num_frames=10).pixel_values(processor(), path)
    assert pieces[0].pixels.shape == (3, 4, 3, 24, 24)
    assert torch.equal(torch.cat([piece.pixel_values for piece in pieces], 1), expected)


def test_clips_are_those_of_a_protocol(path: Path) -> None:
    protocol = Protocol(num_clips=3, views=3, num_frames=4, frame_sampling_rate=2)
    pieces, info = all_of(Clips(protocol), processor(), path)
    assert [piece.pixels.shape for piece in pieces] == [(3, 4, 3, 24, 24)] * 3
    expected = protocol.pixel_values(processor(), path)
    assert torch.equal(torch.cat([piece.pixel_values for piece in pieces]), expected)
    assert (info.frames, info.fps) == (10, 25.0)


def test_frames_of_several_sizes_are_refused_in_whichever_piece_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def frames(source: Any, step: int, limits: VideoLimits) -> Iterator[np.ndarray]:
        yield np.zeros((24, 24, 3), np.uint8)
        yield np.zeros((24, 48, 3), np.uint8)

    monkeypatch.setattr("hf_ttr.archive.cut.iterate_frames", frames)
    own = processor(size={"shortest_edge": 24})
    for num_frames, before in ((1, 1), (2, 0)):
        pieces = WholeVideo(num_frames).pieces(own, "clip.mp4")
        assert len([next(pieces) for _ in range(before)]) == before
        with pytest.raises(VideoDecodingError, match="have the sizes .*; set a fixed `size`"):
            next(pieces)


def test_cuts_are_values_that_can_be_pickled() -> None:
    for cut in (WholeVideo(16, 3, 2), Clips(Protocol(num_clips=2))):
        assert pickle.loads(pickle.dumps(cut)) == cut
        with pytest.raises(dataclasses.FrozenInstanceError):
            cut.views = 1  # type: ignore[misc, union-attr]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"num_frames": 0}, "num_frames is 0, but must be a whole number of at least 1."),
        ({"num_frames": 4, "views": 2}, "views is 2, but must be 1, or 3 squares along the longer side."),
        ({"num_frames": 4, "frame_sampling_rate": "spread"}, "frame_sampling_rate is 'spread', but must be a whole"),
    ],
    ids=["frames", "views", "rate"],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        WholeVideo(**settings)


# ---------------------------------------------------------------------------------------------------------------------
# Addresses
# ---------------------------------------------------------------------------------------------------------------------


def test_a_video_in_a_bucket_is_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = fsspec.filesystem("memory")
    files.pipe("/archive/clip.mp4", path.read_bytes())
    expected, _ = all_of(WholeVideo(4), processor(), path)
    try:
        for source in ("memory://archive/clip.mp4", path.as_uri(), path.read_bytes()):
            pieces, info = all_of(WholeVideo(4), processor(), source)
            assert all(np.array_equal(one.pixels, other.pixels) for one, other in zip(pieces, expected, strict=True))
            assert info.frames == 10
        # One that is too large for a temporary file is read where it lies.
        monkeypatch.setattr("hf_ttr.archive.opening.spooled", None)
        monkeypatch.setattr(type(files.open("/archive/clip.mp4")), "size", None)
        pieces, _ = all_of(WholeVideo(4), processor(), "memory://archive/clip.mp4")
        assert np.array_equal(pieces[0].pixels, expected[0].pixels)
    finally:
        files.rm("/archive", recursive=True)


def test_what_is_wrong_with_an_address_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    # As where the driver is not installed.
    monkeypatch.setitem(sys.modules, "s3fs", None)
    fsspec.filesystem("memory").pipe("/archive/noise.mp4", b"noise" * 100)
    try:
        for address, message in {
            "memory://archive/missing.mp4": "does not exist; check the address.",
            "memory://archive/noise.mp4": "is not a video in a format that FFmpeg reads",
            "nowhere://a/b.mp4": "uses the protocol 'nowhere', which fsspec does not know; pass",
            "s3://bucket/clip.mp4": "needs a driver of fsspec that is not installed (ImportError: Install s3fs to",
        }.items():
            with pytest.raises(VideoDecodingError) as caught:
                all_of(WholeVideo(4), processor(), address)
            assert str(caught.value).startswith(f"The video '{address}' {message}")
            assert str(caught.value).endswith(".")
    finally:
        fsspec.filesystem("memory").rm("/archive", recursive=True)
