"""Videos through a model: rows against the model called by hand, packed and in pieces; faults are rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import hf_ttr
from hf_ttr.answers.scores import RunningMean, divergence, mean_logits
from hf_ttr.archive.answers import Embeddings, Features, Labels
from hf_ttr.archive.cut import Clips, WholeVideo
from hf_ttr.archive.decoding import DecodingFault
from hf_ttr.archive.worker import OFF, VideoWorker, is_chosen
from hf_ttr.evaluation import Protocol
from hf_ttr.video import VideoInfo

from ..tiny import tiny_parent, tiny_videomae


@dataclass
class FakeVideo:
    """What `GuardedDecoder.open` gives, of pixels `(views, frames, channels, height, width)` or a fault."""

    pixels: Any
    size: int
    log: Counter[str]
    decoding_seconds: float = 0.5
    facts: Any = None
    fps: float | None = 25.0
    duration: float | None = None
    _pieces: Iterator[torch.Tensor] | None = None

    def prefetch(self) -> None:
        self.log["asked"] += 1

    def close(self) -> None:
        self.log["closed"] += 1

    def next(self) -> Any:
        if isinstance(self.pixels, DecodingFault):
            raise self.pixels
        self._pieces = self._pieces or iter(self.pixels.split(self.size, dim=1))
        piece = next(self._pieces, None)
        if piece is None:
            self.facts = VideoInfo(self.pixels.shape[1], self.fps, 24, 24, duration=self.duration)
            return None
        return SimpleNamespace(pixel_values=piece)


@dataclass
class FakeDecoder:
    """Gives videos out of memory; those in `heals` are well when they are tried again."""

    size: int
    heals: dict[int, torch.Tensor] = field(default_factory=dict)
    log: Counter[str] = field(default_factory=Counter)
    facts: dict[str, Any] = field(default_factory=dict)

    def open(self, source: Any) -> FakeVideo:
        self.log["opened"] += 1
        return FakeVideo(source, self.size, self.log, **self.facts)

    def retry(self, source: Any) -> FakeVideo:
        self.log["again"] += 1
        return FakeVideo(self.heals.get(id(source), source), self.size, self.log)


UNTIMED: dict[str, Any] = {"seconds": 0.0, "waiting_seconds": 0.0}
"""What differs from run to run."""


def videos(*lengths: int, views: int = 1, size: int = 24) -> list[torch.Tensor]:
    """Videos in which little moves."""
    generator = torch.Generator().manual_seed(len(lengths))
    found = []
    for length in lengths:
        frames = torch.randn(views, 1, 3, size, size, generator=generator).repeat(1, length, 1, 1, 1)
        for number in range(length):
            frames[:, number, :, :8, :8] += 0.3 * number
        found.append(frames)
    return found


def model_of(name: str = "vit", **settings: Any) -> Any:
    parent = {"vit": tiny_parent, "videomae": tiny_videomae}[name]()
    return hf_ttr.with_temporal_reuse(parent, {"threshold": 0.3, **settings}).eval()


def worker(model: Any, decoder: Any, cut: Any, **options: Any) -> VideoWorker:
    task = options.pop("task", None) or Labels(model, by_clip=isinstance(cut, Clips))
    return VideoWorker(task, cut, decoder, **options)


def named(sources: list[Any]) -> list[tuple[str, Any]]:
    return [(f"{number}.mp4", source) for number, source in enumerate(sources)]


@pytest.mark.parametrize("mode", ["bidirectional", "causal", "off"])
@pytest.mark.parametrize("pack", [1, 3])
def test_rows_are_what_the_model_says_piece_by_piece(mode: str, pack: int) -> None:
    model, found = model_of(mode=mode), videos(10, 4, 7, 9)
    rows = worker(model, FakeDecoder(4), WholeVideo(4), pack=pack).rows(named(found))
    assert [row.path for row in rows] == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"]
    for row, pixels in zip(rows, found):
        cache, logits, spent = None, [], 0
        for piece in pixels.split(4, dim=1):
            with torch.inference_mode():
                out = model(piece, **({} if mode == "off" else {"past_key_values": cache}))
            cache = out.past_key_values
            logits.append(out.frame_logits[0])
            spent += 0 if mode == "off" else out.reuse.multiply_adds.sum().item()
        best = mean_logits(torch.cat(logits), "softmax").softmax(-1).sort(descending=True)
        assert row.labels == [model.config.id2label[number] for number in best.indices.tolist()[:5]]
        assert row.scores == pytest.approx(best.values.tolist()[:5], abs=1e-4)
        assert (row.multiply_adds, row.frames, row.error) == (spent, pixels.shape[1], None)
        assert row.duration == pixels.shape[1] / 25 and row.decoding_seconds == 0.5


@pytest.mark.parametrize(
    ("facts", "duration"),
    [({"duration": 60.0}, 60.0), ({"duration": 60.0, "fps": None}, 60.0), ({}, 0.16), ({"fps": None}, None)],
)
def test_a_video_is_as_long_as_it_states_or_else_by_its_rate(facts: dict[str, Any], duration: float | None) -> None:
    (row,) = worker(model_of(mode="off"), FakeDecoder(4, facts=facts), WholeVideo(4)).rows(named(videos(4)))
    assert row.duration == duration


@pytest.mark.parametrize("mode", ["bidirectional", "causal"])
def test_rows_do_not_depend_on_other_videos(mode: str) -> None:
    model, found = model_of(mode=mode), named(videos(10, 4, 7, 9))
    together = worker(model, FakeDecoder(4), WholeVideo(4)).rows(found)
    alone = [worker(model, FakeDecoder(4), WholeVideo(4)).rows([one])[0] for one in reversed(found)]
    said = ("path", "labels", "scores", "frames", "computed_tokens", "multiply_adds")
    for row, other in zip(together, reversed(alone)):
        assert [getattr(row, name) for name in said] == [getattr(other, name) for name in said]


def test_pieces_of_any_size_are_the_same_video() -> None:
    # Of the mode that knows nothing of what comes.
    model, found = model_of(mode="causal"), videos(9, 6)
    rows = [worker(model, FakeDecoder(size), WholeVideo(size)).rows(named(found)) for size in (1, 4, 16)]
    for row, *others in zip(*rows):
        for other in others:
            assert other.labels == row.labels and other.scores == pytest.approx(row.scores, abs=2e-4)
            assert (other.computed_tokens, other.multiply_adds) == (row.computed_tokens, row.multiply_adds)


@pytest.mark.parametrize("views", [1, 3])
def test_clips_are_those_of_an_evaluation(views: int) -> None:
    model, found = model_of(), videos(8, 8, 8, views=views)
    rows = worker(model, FakeDecoder(4), Clips(Protocol(2, views, 4))).rows(named(found))
    for row, pixels in zip(rows, found):
        with torch.inference_mode():
            logits = torch.cat([model(clip).logits for clip in pixels.split(4, dim=1)])
        assert row.scores == pytest.approx(
            mean_logits(logits, "softmax").softmax(-1).sort(descending=True).values.tolist(), abs=1e-4
        )
        assert row.total_tokens == 2 * views * 4 * (1 + 36)


def test_windows_go_on_and_the_last_one_is_filled_up() -> None:
    model = model_of("videomae")
    frames = model.config.window_frames
    (pixels,) = videos(2 * frames + 1)
    (row,) = worker(model, FakeDecoder(frames), WholeVideo(frames)).rows(named([pixels]))
    held = torch.cat([pixels, pixels[:, -1:].expand(-1, frames - 1, -1, -1, -1)], 1)
    cache, logits = None, []
    for number, window in enumerate(held.split(frames, dim=1)):
        options = {"past_key_values": cache, "stride": frames} if number else {}
        with torch.inference_mode():
            out = model(window, **options)
        cache = out.past_key_values
        logits.append(out.logits)
    expected = mean_logits(torch.cat(logits), "softmax").softmax(-1).sort(descending=True).values
    assert row.scores == pytest.approx(expected[: len(row.scores)].tolist(), abs=1e-4)
    assert row.frames == 2 * frames + 1


def test_those_that_are_chosen_are_checked() -> None:
    model, found = model_of(threshold=0.6), videos(8, 8, 8, 8, 8, 8)
    rows = worker(model, FakeDecoder(4), WholeVideo(4), verify=0.5).rows(named(found))
    chosen = [is_chosen(row.path, 0.5) for row in rows]
    assert [row.divergence is not None for row in rows] == chosen and 0 < sum(chosen) < len(rows)
    for row, pixels in zip(rows, found):
        if row.divergence is None:
            assert row.dense_seconds is None and row.same_answer is None
            continue
        with torch.inference_mode():
            dense = mean_logits(model(pixels, temporal_reuse=OFF).frame_logits[0], "softmax")
            logits, cache = [], None
            for piece in pixels.split(4, dim=1):
                out = model(piece, past_key_values=cache)
                cache, logits = out.past_key_values, [*logits, out.frame_logits[0]]
        kl = divergence(dense, mean_logits(torch.cat(logits), "softmax"), "softmax").item()
        assert row.divergence == pytest.approx(kl, abs=1e-6) and kl > 0
        assert row.dense_seconds > 0 and isinstance(row.same_answer, bool)


def test_numbers_that_are_no_labels_have_no_answer_that_is_the_same() -> None:
    model = model_of(threshold=0.6)
    model.config.problem_type = "regression"
    (row,) = worker(model, FakeDecoder(4), WholeVideo(4), verify=1.0).rows(named(videos(8)))
    assert row.divergence is not None and row.dense_seconds > 0 and row.same_answer is None


def test_about_as_many_are_chosen_as_were_asked_for() -> None:
    names = [f"video {number}" for number in range(4000)]
    assert 0.07 < sum(is_chosen(name, 0.1) for name in names) / len(names) < 0.13
    assert not any(is_chosen(name, 0.0) for name in names) and all(is_chosen(name, 1.0) for name in names)


@pytest.mark.parametrize("kind", ["killed", "hung", "memory"])
def test_a_fault_that_may_be_of_others_is_tried_again_alone(kind: str) -> None:
    (good, other, healed) = videos(6, 5, 7)
    passing, lasting = DecodingFault(kind, "The decoder died."), DecodingFault(kind, "The decoder died.")
    decoder = FakeDecoder(4, heals={id(passing): healed})
    model = model_of()
    rows = worker(model, decoder, WholeVideo(4)).rows(named([good, passing, lasting, other]))
    assert [row.error_kind for row in rows] == [None, None, kind, None]
    assert rows[2].error == "The decoder died." and rows[2].labels == () and rows[2].frames == 0
    assert decoder.log["again"] == 2 and decoder.log["closed"] == decoder.log["opened"] + decoder.log["again"]
    (alone,) = worker(model, FakeDecoder(4), WholeVideo(4)).rows([("1.mp4", healed)])
    assert rows[1].scores == alone.scores


@pytest.mark.parametrize("pack", [1, 3])
def test_the_next_videos_are_decoded_while_the_model_runs(pack: int, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, model, found = FakeDecoder(4), model_of(), videos(*[4] * 7)
    forward, opened = type(model).forward, []

    def counts(self: Any, pixels: torch.Tensor, **options: Any) -> Any:
        opened.append((decoder.log["opened"], len(pixels)))
        return forward(self, pixels, **options)

    monkeypatch.setattr(type(model), "forward", counts)
    worker(model, decoder, WholeVideo(4), pack=pack).rows(named(found))
    taken = 0
    for count, rows in opened:
        taken += rows
        assert count >= min(taken + 1, len(found)) and count <= taken + pack + rows


def test_what_cannot_be_read_is_not_tried_again() -> None:
    decoder = FakeDecoder(4)
    fault = DecodingFault("unreadable", "The video 'x' is damaged.")
    (row,) = worker(model_of(), decoder, WholeVideo(4)).rows([("x", fault)])
    assert (row.error_kind, row.error) == ("unreadable", "The video 'x' is damaged.") and decoder.log["again"] == 0


def test_a_model_that_fails_on_one_video_gives_rows_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    model, found = model_of(), videos(6, 6, 6)
    forward = type(model).forward
    found[1][..., 0, 0] = 77.0

    def fails(self: Any, pixels: torch.Tensor, **options: Any) -> Any:
        if bool((pixels == 77.0).any()):
            raise RuntimeError("out of memory\nwith details")
        return forward(self, pixels, **options)

    expected = worker(model, FakeDecoder(4), WholeVideo(4), pack=1).rows(named(found))
    monkeypatch.setattr(type(model), "forward", fails)
    rows = worker(model, FakeDecoder(4), WholeVideo(4), pack=3).rows(named(found))
    assert [row.error_kind for row in rows] == [None, "model", None]
    assert rows[1].error == "The model fails on '1.mp4' (out of memory); check the two."
    for row, other in zip(rows, expected):
        assert row.error is not None or (row.labels, row.scores) == (other.labels, other.scores)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_call_that_is_broken_off_leaves_nothing_to_the_next(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, (long, short) = model_of(), videos(10, 7)
    alone = worker(model, FakeDecoder(4), WholeVideo(4)).rows(named([short]))
    decoder = FakeDecoder(4)
    running = worker(model, decoder, WholeVideo(4))
    give = FakeVideo.next

    def broken_off(video: FakeVideo) -> Any:
        if video._pieces is not None:  # its first piece is in the cache
            raise error
        return give(video)

    monkeypatch.setattr(FakeVideo, "next", broken_off)
    with pytest.raises(error):
        running.rows(named([long, short]))
    assert decoder.log["closed"] == decoder.log["opened"] == 2
    monkeypatch.setattr(FakeVideo, "next", give)
    assert [replace(row, **UNTIMED) for row in running.rows(named([short]))] == [
        replace(row, **UNTIMED) for row in alone
    ]


def test_no_numbers_are_an_error() -> None:
    model = model_of(mode="off")
    model.classifier.weight.data.fill_(torch.nan)
    (row,) = worker(model, FakeDecoder(4), WholeVideo(4)).rows(named(videos(4)))
    assert row.error_kind == "model" and "no number" in row.error


def test_memory_is_for_the_videos_at_hand_alone() -> None:
    model, decoder = model_of(), FakeDecoder(2)
    one = worker(model, decoder, WholeVideo(2), pack=2)
    one.rows(named(videos(9, 3, 8, 5, 6)))
    assert one._caches.memory_bytes == 0


@pytest.mark.parametrize("per_frame", [False, True])
def test_features(per_frame: bool) -> None:
    parent = tiny_parent().vit
    model = hf_ttr.with_temporal_reuse(parent, {"threshold": 0.3, "mode": "causal"}).eval()
    (pixels,) = videos(6)
    task = Embeddings(model, has_pooler=False, per_frame=per_frame)
    (row,) = worker(model, FakeDecoder(4), WholeVideo(4), task=task, verify=1.0).rows(named([pixels]))
    with torch.inference_mode():
        states = model(pixels).last_hidden_state[0, :, 0]
        dense = model(pixels, temporal_reuse=OFF).last_hidden_state[0, :, 0]
    expected = states if per_frame else states.mean(0)
    assert torch.allclose(torch.tensor(row.embedding), expected, atol=1e-4)
    cosine = torch.nn.functional.cosine_similarity(states.mean(0), dense.mean(0), dim=0).item()
    assert row.divergence == pytest.approx(1 - cosine, abs=1e-5) and row.same_answer is None


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "none"])
def test_running_means_are_means(kind: Any) -> None:
    logits = 20 * torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    running = RunningMean(kind)
    for part in logits.split([1, 4, 2]):
        running.add(part)
    assert torch.allclose(running.logits, mean_logits(logits, kind), atol=1e-9)
    features = Features(per_frame=False)
    for part in logits.split([3, 4]):
        features.add(part)
    assert torch.allclose(features.mean, logits.double().mean(0))
