from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hf_ttr.streaming import Divergence, ResultFile, ResultFileError, StreamResult


def result(number: int, stream: str = "door", **facts: Any) -> StreamResult:
    labels = [{"label": "cat", "score": 0.75}, {"label": "dög", "score": 0.25}]
    return StreamResult(stream, number, number, number + 3, number / 25, (number + 3) / 25, labels, **facts)


def test_results_are_lines_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    written = [result(0), result(1, threshold=0.1, divergence=Divergence(0.01, True)), result(0, stream="gate")]
    with ResultFile(path) as file:
        for number, one in enumerate(written, start=1):
            assert file.write(one)
            assert len(path.read_text().splitlines()) == number
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [StreamResult.from_dict(line) for line in lines] == written
    assert (written[0].label, written[0].score) == ("cat", 0.75)
    assert lines[1]["divergence"] == {"kl": 0.01, "same_label": True}


def test_going_on_writes_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with ResultFile(path) as file:
        for number in range(3):
            file.write(result(number))
    before = path.read_bytes()
    with ResultFile(path, resume=True) as file:
        assert file.last == {"door": result(2)}
        assert [file.write(result(number)) for number in range(5)] == [False, False, False, True, True]
        assert file.write(result(0, stream="gate"))
    assert path.read_bytes().startswith(before)
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [0, 1, 2, 3, 4, 0]


@pytest.mark.parametrize("cut", [2, 40, 200])
def test_a_half_written_line_is_written_again(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.jsonl"
    with ResultFile(path) as file:
        file.write(result(0))
        file.write(result(1))
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with ResultFile(path, resume=True) as file:
        assert file.last == {"door": result(0)}
        file.write(result(0))
        file.write(result(1))
    assert path.read_bytes() == whole


def test_results_are_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with ResultFile(path) as file:
        file.write(result(0))
    before = path.read_bytes()
    with pytest.raises(ResultFileError, match=r"a\.jsonl' holds results already; go on behind them with --resume"):
        ResultFile(path)
    assert path.read_bytes() == before
    # It was let go of.
    ResultFile(path, resume=True).close()


@pytest.mark.parametrize("content", ["hello\n", '{"a": 1}\n', '{"stream": 1}\n', "[]\n", "1\n"], ids=repr)
def test_another_file_is_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(ResultFileError, match=r"line 1 of the result file '.*a\.jsonl' is no result of a stream"):
        ResultFile(path, resume=True)
    assert path.read_text() == content


def test_two_processes_cannot_have_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    code = (
        "import sys; from hf_ttr.streaming.result_file import ResultFile, ResultFileError\n"
        "try: ResultFile(sys.argv[1], resume=True)\n"
        "except ResultFileError as error: print(error)"
    )
    with ResultFile(path) as file:
        file.write(result(0))
        out = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True).stdout
        assert out == f"the result file '{path}' is in use by another process; wait for it, or pass another name.\n"
        with pytest.raises(ResultFileError, match="in use"):
            ResultFile(path, resume=True)
        file.write(result(1))
    out = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True).stdout
    assert out == ""


def test_it_cannot_be_opened(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing" / "a.jsonl"):
        with pytest.raises(ResultFileError, match="cannot be opened"):
            ResultFile(path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here.")
def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    with ResultFile(path) as file:
        file.write(result(0))
        before = path.read_bytes()

        class Full:
            """Takes ten bytes more, and then says what a full disk says."""

            def __init__(self, inner: Any) -> None:
                self.inner, self.left = inner, 10

            def write(self, data: bytes) -> int:
                if not self.left:
                    with open("/dev/full", "wb", buffering=0) as full:
                        return full.write(data)
                self.left = 0
                return self.inner.write(data[:10])

            def __getattr__(self, name: str) -> Any:
                return getattr(self.inner, name)

        monkeypatch.setattr(file, "_file", Full(file._file))
        with pytest.raises(ResultFileError, match=r"cannot be written \(No space left on device\); what came before"):
            file.write(result(1))
        assert path.read_bytes() == before
    with ResultFile(path, resume=True) as file:
        assert file.write(result(1))
    assert len(path.read_text().splitlines()) == 2


FOREIGN = [
    b'{"my": "only copy"}',
    b"my notes",
    b"{",
    b'{"stream": "a"}',
    b'{"stream": "a", "numb',
    b"\x00" * 100,
    b"[" * 10_000,
    "ünï".encode("utf-16"),
]


@pytest.mark.parametrize("content", FOREIGN, ids=lambda content: repr(content[:20]))
@pytest.mark.parametrize("after", [b"", b"\n"], ids=["cut", "line"])
def test_nothing_of_others_is_emptied(tmp_path: Path, content: bytes, after: bytes) -> None:
    path = tmp_path / "notes.json"
    path.write_bytes(content + after)
    for resume in (True, False):
        with pytest.raises(ResultFileError, match=r"is no result of a stream|holds results already"):
            ResultFile(path, resume=resume)
        assert path.read_bytes() == content + after


def test_something_of_others_behind_results_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with ResultFile(path) as file:
        file.write(result(0))
    path.write_bytes(path.read_bytes() + b"and a note")
    before = path.read_bytes()
    with pytest.raises(ResultFileError, match="the end of the result file '.*' is no result of a stream"):
        ResultFile(path, resume=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("results", [1, 2])
def test_a_last_line_without_its_end_is_kept(tmp_path: Path, results: int) -> None:
    path = tmp_path / "a.jsonl"
    with ResultFile(path) as file:
        for number in range(results):
            file.write(result(number))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with ResultFile(path, resume=True) as file:
        assert file.last == {"door": result(results - 1)}
    assert path.read_bytes() == whole


def test_a_first_line_that_was_cut_off_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with ResultFile(path) as file:
        file.write(result(0))
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    with ResultFile(path, resume=True) as file:
        assert file.last == {} and file.write(result(0))
    assert path.read_bytes() == whole


WRONG: dict[str, Any] = {
    "stream": ["a"],
    "number": "5",
    "first_frame": -1,
    "last_frame": 10**30,
    "start": float("nan"),
    "end": "x",
    "labels": [{"label": 3, "score": 1.0}],
    "computed_share": None,
    "multiply_adds": 1.5,
    "latency_ms": float("inf"),
    "threshold": -1,
    "dropped": True,
    "divergence": {"kl": 1.0},
    "unknown": 1,
}


@pytest.mark.parametrize("field", WRONG)
def test_a_crafted_result_is_refused(tmp_path: Path, field: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({**result(0).to_dict(), field: WRONG[field]}) + "\n")
    before = path.read_bytes()
    with pytest.raises(
        ResultFileError, match=r"^line 1 of the result file '.*' is no result of a stream \(.*\); pass"
    ):
        ResultFile(path, resume=True)
    assert path.read_bytes() == before


def test_the_last_result_of_each_stream_is_found_in_a_long_file(tmp_path: Path) -> None:
    path, count = tmp_path / "a.jsonl", 60_000
    names = ['dö"or', "gate", "a\ud800b"]
    first = [json.dumps(result(0, stream=name).to_dict()) for name in names]
    line = json.dumps(result(0).to_dict())
    before, after = line.split('"number": 0')
    lines = [f'{before}"number": {number}{after}\n' for number in range(count)]
    # One of another JSON library.
    other = json.dumps(result(3, stream="yard").to_dict(), separators=(",", ":"), ensure_ascii=False)
    path.write_text("\n".join([*first, other, ""]) + "".join(lines), encoding="utf-8")
    began = time.perf_counter()
    with ResultFile(path, resume=True) as file:
        assert {name: one.number for name, one in file.last.items()} == {
            **dict.fromkeys(names, 0),
            "yard": 3,
            "door": count - 1,
        }
    # 24 MB; a line at a time, byte by byte, took half a minute.
    assert time.perf_counter() - began < 5


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there are no such devices here.")
def test_devices_and_pipes(tmp_path: Path) -> None:
    with ResultFile("/dev/null") as file:
        assert file.write(result(0)) and not file.is_regular
    with ResultFile("/dev/full") as file, pytest.raises(ResultFileError, match=r"to '/dev/full' \(No space left"):
        file.write(result(0))
    for path in ("/dev/full", "/dev/zero"):
        with pytest.raises(ResultFileError, match="is a pipe or a device, of which nothing can be read back"):
            ResultFile(path, resume=True)
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with ResultFile(tmp_path / "pipe") as file:
        file.write(result(0))
    assert json.loads(os.read(reader, 10_000)) == result(0).to_dict()
    os.close(reader)


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "a.jsonl")
    with ResultFile(tmp_path / "link.jsonl") as file:
        file.write(result(0))
    assert (tmp_path / "link.jsonl").is_symlink() and len((tmp_path / "a.jsonl").read_text().splitlines()) == 1
