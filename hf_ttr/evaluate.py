"""`python -m hf_ttr.evaluate`, for `torchrun` and `accelerate launch`: the same as `hf-ttr evaluate`."""

import sys

from hf_ttr.cli import app


if __name__ == "__main__":
    app(["evaluate", *sys.argv[1:]], prog_name="hf-ttr")
