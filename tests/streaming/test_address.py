"""What a text means, and that FFmpeg gets no more than it needs for it."""

import pytest

from hf_ttr.streaming import SourceError
from hf_ttr.streaming.address import PROTOCOLS, read_address


ALL = (*PROTOCOLS, "rtsps")
ADDRESSES = {
    "http": ("http://host/a", ("http", "https", "tcp", "tls"), None, False),
    "https": ("https://host/a", ("https", "http", "tls", "tcp"), None, False),
    "rtsp": ("rtsp://host/a", ("rtsp", "rtp", "rtcp", "udp", "tcp"), "rtsp", True),
    "rtsps": ("rtsps://host/a", ("rtsps", "rtp", "rtcp", "udp", "tls", "tcp"), "rtsp", True),
    "camera": ("/dev/video0", ("none",), "v4l2", True),
}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize("text, whitelist, kind, live", ADDRESSES.values(), ids=ADDRESSES)
def test_whitelist_is_what_is_needed(text, whitelist, kind, live):
    address = read_address(text, ALL, "linux")
    assert (set(address.whitelist), address.format, address.is_live) == (set(whitelist), kind, live)
    assert address.url == text
    assert "file" not in address.whitelist


def test_other_protocols_are_not_reached_by_a_redirection():
    assert set(read_address("https://host/a", ("https",)).whitelist) == {"https", "tls", "tcp"}


def test_a_proxy_is_used_only_where_one_is_set(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert "httpproxy" in read_address("http://host/a", PROTOCOLS).whitelist


CAMERAS = {
    "linux": ("camera:2", "linux", "/dev/video2", "v4l2"),
    "mac": ("camera:0", "darwin", "0", "avfoundation"),
    "windows": ("camera:USB Camera", "win32", "video=USB Camera", "dshow"),
}


@pytest.mark.parametrize("text, platform, url, kind", CAMERAS.values(), ids=CAMERAS)
def test_cameras(text, platform, url, kind):
    address = read_address(text, PROTOCOLS, platform)
    assert (address.url, address.format, address.is_live) == (url, kind, True)


@pytest.mark.parametrize("text", ["clip.mp4", "/a/clip.mp4", "file:///a/clip.mp4", "C:\\clip.mp4", "a clip: 1.mp4"])
def test_files_are_left_to_python(text):
    assert read_address(text, PROTOCOLS) is None


def test_file_whose_name_looks_like_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "concat:clip.mkv").touch()
    assert read_address("concat:clip.mkv", PROTOCOLS) is None


REFUSED = {
    "concat": ("concat:a.ts|b.ts", PROTOCOLS, "concat"),
    "subfile": ("subfile,,start,0,end,9,,:clip.mp4", PROTOCOLS, "subfile"),
    "data": ("data:video/mp4;base64,AAAA", PROTOCOLS, "data"),
    "capitals": ("HTTP://host/a", ("file",), "http"),
    "rtsps": ("rtsps://host/a", PROTOCOLS, "rtsps"),
    "path": ("clip.mp4", ("http",), "file"),
    "camera": ("camera:0", ("http",), "file"),
    "nothing": ("http://host/a", (), "http"),
}


@pytest.mark.parametrize("text, protocols, protocol", REFUSED.values(), ids=REFUSED)
def test_protocols_that_are_not_allowed(text, protocols, protocol):
    with pytest.raises(SourceError) as caught:
        read_address(text, protocols)
    allowed = ", ".join(protocols) or "none"
    message = f"uses the protocol '{protocol}', which is not allowed; use one of: {allowed}."
    assert str(caught.value) == f"The stream '{text}' {message}"


def test_allowed_but_unknown_protocol():
    with pytest.raises(SourceError, match="uses the protocol 'ftp', which is not read; pass a file or a URL"):
        read_address("ftp://host/a", ("ftp",))


def test_a_stream_with_a_name_is_called_by_it():
    with pytest.raises(SourceError, match="^The stream 'door' uses the protocol 'foo'") as caught:
        read_address("foo:SECRET", PROTOCOLS, name="door")
    assert "SECRET" not in str(caught.value)


def test_capitals_are_no_other_protocol():
    assert read_address("HTTP://Host/A", PROTOCOLS).url == "http://Host/A"


def test_line_breaks_do_not_get_into_a_request():
    with pytest.raises(SourceError, match="spaces or control characters; escape them"):
        read_address("http://host/a\r\nHost: other", PROTOCOLS)


@pytest.mark.parametrize("text", ["rtsp://me:secret@host/a", "rtsp://me:sec@ret@host/a", "rtsp://me:secret@[host/a"])
def test_password_is_not_in_the_name(text):
    name = read_address(text, PROTOCOLS).name
    assert "sec" not in name and "ret" not in name
    assert name.endswith("host/a")
