"""The models and clips that come with the package, by name."""

from __future__ import annotations

import os

from .display import shown


EXAMPLES = ("vit-demo", "videomae-demo", "demo.mp4", "motion-demo.mp4")
"""Two models, and a clip for each."""

SCHEME = "example:"
"""What stands before such a name in the arguments of a command."""


def example(name: str) -> str:
    """
    The path of a model or a clip that comes with the package.

    Args:
        name (`str`): `"vit-demo"`, a small ViT, or `"videomae-demo"`, a small VideoMAE that tells how things move;
            `"demo.mp4"` or `"motion-demo.mp4"`, a clip for each.

    Returns:
        `str`: of the folder, which everything that takes a checkpoint takes, or of the file.

    Raises:
        ValueError: if there is no such example.
        FileNotFoundError: if the package is not installed whole.

    Example:

    ```python
    >>> import hf_ttr

    >>> model = hf_ttr.TemporalReuseViTForVideoClassification.from_pretrained(hf_ttr.example("vit-demo"))
    >>> model.config.num_labels
    8
    ```
    """
    if name not in EXAMPLES:
        raise ValueError(f"there is no example '{shown(name)}'; there are {', '.join(EXAMPLES)}.")
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "assets", name)
    if not os.path.exists(path):
        raise FileNotFoundError(f"the example '{path}' is missing; install hf-ttr anew.")
    return path


def with_examples(text: str) -> str:
    """
    What the argument of a command stands for: the path of an example where it names one, or else the argument.

    Args:
        text (`str`): such as `"example:demo.mp4"`.

    Raises:
        ValueError: as `example` does.
    """
    return example(text.removeprefix(SCHEME)) if text.startswith(SCHEME) and not os.path.exists(text) else text


def as_named(path: str) -> str:
    """The path as it is given to a command: where it is that of an example, `"example:"` and its name."""
    folder, name = os.path.split(path)
    is_ours = name in EXAMPLES and folder == os.path.dirname(example(name))
    return f"{SCHEME}{name}" if is_ours else path
