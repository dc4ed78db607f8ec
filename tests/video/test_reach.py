"""Where videos may lie: what data name leads to no other host and no other folder, at no redirection."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_ttr.streaming import SourceError, open_source
from hf_ttr.video import ConfinedVideo, Reach, VideoDecodingError, read_frames
from hf_ttr.video import download as downloads
from hf_ttr.video.reach import is_public, is_public_address

from ..streaming.clips import encode, pictures, send, serving


NOWHERE = Reach(hosts=(), roots=())


def row(path: object = None, data: bytes | None = None) -> dict[str, object]:
    return {"path": None if path is None else str(path), "bytes": data}


def test_bytes_are_fine_and_paths_only_where_they_may_lie(tmp_path: Path):
    data = encode(pictures(2))
    inside, outside = tmp_path / "in" / "clip.mkv", tmp_path / "out" / "clip.mkv"
    for path in (inside, outside):
        path.parent.mkdir()
        path.write_bytes(data)
    (inside.parent / "link.mkv").symlink_to(outside)
    reach = Reach(hosts=(), roots=(str(inside.parent),))
    assert read_frames(ConfinedVideo(row(data=data), NOWHERE))[1].frames == 2
    assert read_frames(ConfinedVideo(row(inside), reach))[1].frames == 2
    ways_out = (outside, inside.parent / ".." / "out" / "clip.mkv", inside.parent / "link.mkv", outside.as_uri())
    for path in ways_out:
        for read in (read_frames, open_source):
            with pytest.raises(VideoDecodingError, match="is not in the folder of the data that name it; allow its"):
                read(ConfinedVideo(row(path), reach))
    assert read_frames(row(outside))[1].frames == 2


def test_hosts_that_are_not_allowed_are_not_asked():
    asked: list[str] = []

    def answer(handler):
        asked.append(handler.path)
        send(handler, encode(pictures(2)))

    with serving(answer) as url:
        with pytest.raises(
            VideoDecodingError, match=r"leads to the host '127.0.0.1', which is not allowed here \(no h"
        ):
            read_frames(ConfinedVideo(row(f"{url}/router?reboot=1"), NOWHERE))
        with pytest.raises(SourceError, match="is an address that data name; download it first"):
            open_source(ConfinedVideo(row(f"{url}/router?reboot=1"), NOWHERE))
        assert asked == []
        assert read_frames(ConfinedVideo(row(f"{url}/clip"), Reach(hosts=("127.0.0.1",), roots=())))[1].frames == 2
        assert read_frames(f"{url}/clip")[1].frames == 2


def test_redirections_are_looked_at_one_by_one():
    def answer(handler):
        port = handler.server.server_port
        if handler.path == "/away":
            send(handler, b"", 302, Location=f"http://localhost:{port}/clip")
        else:
            send(handler, encode(pictures(2)))

    with serving(answer) as url:
        assert read_frames(f"{url}/away")[1].frames == 2
        with pytest.raises(VideoDecodingError, match=r"leads to the host 'localhost', .* \(127.0.0.1\)"):
            read_frames(ConfinedVideo(row(f"{url}/away"), Reach(hosts=("127.0.0.1",))))


def test_a_public_address_does_not_lead_into_the_own_network(monkeypatch):
    asked: list[str] = []

    def answer(handler):
        asked.append(handler.path)
        if handler.path == "/public":
            send(handler, b"", 302, Location=f"http://localhost:{handler.server.server_port}/router")
        else:
            send(handler, encode(pictures(2)))

    # As if the address that the user named were one of the public network.
    monkeypatch.setattr(downloads, "is_public", lambda host: host == "127.0.0.1")
    monkeypatch.setattr(downloads, "is_public_address", lambda address: True)
    with serving(answer) as url:
        with pytest.raises(VideoDecodingError, match="leads to 'localhost', a host of this machine or its network"):
            read_frames(f"{url}/public")
        assert asked == ["/public"]
        # A name that leads elsewhere when it is asked for again is noticed once it is connected.
        monkeypatch.setattr(downloads, "is_public", lambda host: True)
        monkeypatch.setattr(downloads, "is_public_address", is_public_address)
        with pytest.raises(VideoDecodingError, match=r"lies at 127.0.0.1, which is no public address"):
            read_frames(f"{url}/rebound")
        assert asked == ["/public"]


@pytest.mark.parametrize(
    "address, public",
    [
        ("8.8.8.8", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("::ffff:127.0.0.1", False),
        ("2606:4700::1111", True),
    ],
)
def test_public_addresses(address: str, public: bool):
    assert is_public_address(address) == public
    if "%" not in address:
        assert is_public(address) == public


def test_hosts_below_an_allowed_one_are_allowed():
    reach = Reach(hosts=("hf.co",))
    reach.check_url("https://cdn-lfs.HF.co/a", "The video")
    for url in ("https://evilhf.co/a", "https://hf.co.evil.org/a", "https://hf.co@evil.org/a", "http:///a"):
        with pytest.raises(VideoDecodingError):
            reach.check_url(url, "The video")
