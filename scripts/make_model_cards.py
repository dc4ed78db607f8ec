"""Makes the cards in model_cards/ anew, from the shipped checkpoints and benchmarks/results.json; needs no network."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from transformers import VideoMAEConfig, ViTConfig  # noqa: E402

from hf_ttr.cards.model_card import ReuseModelCardData  # noqa: E402


COMMAND = "python scripts/make_model_cards.py"
RESULTS = "benchmarks/results.json"
SHIPPED = ("vit-demo", "videomae-demo")
# Checkpoints of the Hub that were never run for these cards. transformers' default configs are of their sizes.
OF_THE_HUB = {
    "google/vit-base-patch16-224": {
        "config": ViTConfig(),
        "license": "apache-2.0",
        "datasets": ["imagenet-1k", "imagenet-21k"],
    },
    "MCG-NJU/videomae-base-finetuned-kinetics": {"config": VideoMAEConfig(), "license": "cc-by-nc-4.0"},
}


def cards() -> dict[str, str]:
    """The text of each card by the name of its file; has to run in the root of the repository."""
    made = {}
    for name in SHIPPED:
        # The examples are to work from the root of the repository.
        folder = f"hf_ttr/assets/{name}"
        data = ReuseModelCardData.from_directory(folder, benchmarks=RESULTS, license="apache-2.0", command=COMMAND)
        made[f"{name}.md"] = data.text()
    for name, about in OF_THE_HUB.items():
        settings = dict(about)
        config = settings.pop("config")
        with tempfile.TemporaryDirectory() as folder:
            config.save_pretrained(folder)
            data = ReuseModelCardData.from_directory(
                folder, benchmarks=RESULTS, model_id=name, base_model=name, command=COMMAND, **settings
            )
        made[f"{name.split('/')[1]}.md"] = data.text()
    return made


def main() -> None:
    """Writes the cards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "model_cards", help="folder of the cards")
    folder = parser.parse_args().out.resolve()
    os.chdir(ROOT)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in cards().items():
        (folder / name).write_text(text, encoding="utf-8")
        print(folder / name)


if __name__ == "__main__":
    main()
