"""`python -m hf_ttr`: the same as `hf-ttr`."""

from hf_ttr.cli import main


if __name__ == "__main__":
    main()
