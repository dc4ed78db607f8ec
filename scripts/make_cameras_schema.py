"""Writes docs/cameras.schema.json, which editors read; tests/cameras/test_schema.py compares."""

from __future__ import annotations

from pathlib import Path

from hf_ttr.cameras.schema import write_schema


FILE = Path(__file__).resolve().parent.parent / "docs" / "cameras.schema.json"

if __name__ == "__main__":
    write_schema(FILE)
