"""
Writes requirements.lock: the versions of constraints.txt with the SHA-256 of every file that may be installed for
them.

pip takes no hashes in a file of constraints where a folder is installed, so they are in a file of their own. Needs
`uv` (`pip install uv`), and the public index. Run it anew after constraints.txt or the dependencies in pyproject.toml
changed; tests/test_lock.py compares.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
EXTRAS = ("evaluation", "tests")
HEADER = """\
# What the README's commands install, with the SHA-256 of every file. Made by scripts/make_lock.py. Use:
#   pip install --require-hashes --requirement requirements.lock
#   pip install --no-deps --no-build-isolation .
"""


def main() -> None:
    """Writes the file."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--constraint", "constraints.txt"]
    command += [part for extra in EXTRAS for part in ("--extra", extra)]
    command += ["--generate-hashes", "--universal", "--no-header", "--no-annotate", "--quiet", "--native-tls"]
    with tempfile.NamedTemporaryFile("w", suffix=".in") as build:
        # What builds the package itself.
        build.write("setuptools>=77\n")
        build.flush()
        done = subprocess.run([*command, build.name], cwd=ROOT, check=True, capture_output=True, text=True)
    LOCK.write_text(HEADER + done.stdout)


if __name__ == "__main__":
    main()
