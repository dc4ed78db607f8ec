"""What leaves the program has no secret in it, and steers nothing."""

from __future__ import annotations

import traceback

import pytest

from hf_ttr.display import printable, scrub, shown, without_secrets


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://admin:S3cret@door/live", "rtsp://door/live"),
        ("rtsp://admin:S3@cret@door:554/live", "rtsp://door:554/live"),
        ("rtsp://admin:S3/cret@door/live", "rtsp://door/live"),
        ("rtsp://admin:S3?cr#et@door/live", "rtsp://door/live"),
        ("rtsp://admin:S3 cret@door/live", "rtsp://door/live"),
        ("HTTP://S3cret@door/a.mp4", "HTTP://door/a.mp4"),
        ("https://door/a.mp4?X-Amz-Signature=S3cret&x=1", "https://door/a.mp4?X-Amz-Signature=***&x=1"),
        ("https://door/a.mp4?access_token=S3cret", "https://door/a.mp4?access_token=***"),
        ("rtsp://door/user=admin&password=S3cret&channel=1", "rtsp://door/user=admin&password=***&channel=1"),
        ("cannot open 'http://u:S3cret@a/b' (http://u:S3cret@a/c)", "cannot open 'http://a/b' (http://a/c)"),
        ("front=rtsp://admin:S3cret@door/live", "front=rtsp://door/live"),
        ("admin:S3cret@door/live", "door/live"),
    ],
)
def test_secrets_are_left_out(text: str, expected: str) -> None:
    assert shown(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a.mp4",
        "me@home.mp4",
        "http://door:80/a@b.mp4",
        "http://[::1]:80/a@b.mp4",
        r"C:\films\me@home.mp4",
        "rtsp://door/live?channel=1",
        "x=1",
        "",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_secrets(text) == text == shown(text)


def test_control_characters_stand_as_escapes() -> None:
    assert shown("a\x1b]0;x\x07\r\n\tb\x9b\u202e\u2028\udcff\x00") == (
        r"a\x1b]0;x\x07\r\n\tb\x9b\u202e\u2028\udcff\x00"
    )


def test_writing_of_people_stays() -> None:
    for text in ("Überwachung", "кошка", "猫", "👩\u200d🚒", "a\u00a0b", "नमस्ते"):
        assert printable(text) == text


def test_long_text_is_cut_off() -> None:
    assert shown("a" * 1000) == "a" * 300 + "..."
    assert shown("a" * 1000, None) == "a" * 1000


def test_errors_are_scrubbed_with_all_behind_them() -> None:
    address = "rtsp://admin:" + "S3" + "cret@door/live"  # in pieces, as the traceback has this line
    try:
        try:
            raise OSError(5, f"cannot open {address}", address)
        except OSError as error:
            raise ValueError(address) from error
    except ValueError as error:
        text = "".join(traceback.format_exception(scrub(error)))
    assert "S3cret" not in text and "rtsp://door/live" in text
