"""
Trains a classification head on the frozen features of a ViT or VideoMAE, and saves the model with reuse.

    python examples/train_head.py --model google/vit-base-patch16-224 --dataset FOLDER --out my-vit
    hf-ttr evaluate --model my-vit --dataset FOLDER --split test --out results

FOLDER is laid out as SPLIT/CLASS/VIDEO. The features are what the head of the model sees, without reuse: of a ViT the
mean of the CLS states of the frames, of a VideoMAE the mean of all tokens. The head is a logistic regression with a
penalty on its weights, which is the one that does best on fifths of the videos left out in turn; it is found by L-BFGS
from zero, so the same videos give the same head. Videos are only read.
"""

import argparse
import os
import sys

import torch
from transformers import PretrainedConfig

import hf_ttr
from hf_ttr.evaluation import DataError, Protocol, open_dataset
from hf_ttr.video import VideoDecodingError
from hf_ttr.video.sampling import rate_in_force


PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
PARTS = 5
MODELS = {
    "vit": hf_ttr.TemporalReuseViTForVideoClassification,
    "videomae": hf_ttr.TemporalReuseVideoMAEForVideoClassification,
}


def load(name: str) -> torch.nn.Module:
    """The model with reuse, in single precision; plain checkpoints are taken as they are."""
    model_type = PretrainedConfig.get_config_dict(name)[0].get("model_type", "").removeprefix("temporal_reuse_")
    if model_type not in MODELS:
        sys.exit(f"Error: the model '{name}' is of the type '{model_type}'; pass a ViT or a VideoMAE.")
    return MODELS[model_type].from_pretrained(name, dtype=torch.float32).eval()


@torch.no_grad()
def features_of(model, processor, dataset, protocol) -> tuple[torch.Tensor, list[str]]:
    """What the head sees of each video, `(videos, hidden_size)`, and the names of their classes."""
    head, model.classifier = model.classifier, torch.nn.Identity()
    features, labels = [], []
    for video in dataset:
        try:
            pixels = protocol.pixel_values(processor, video.source).to(model.device)
        except VideoDecodingError as error:
            print(f"Warning: {video.name} is left out: {error}", file=sys.stderr)
            continue
        if video.label is None:
            sys.exit(f"Error: the video '{video.name}' has no class; lay the folder out as SPLIT/CLASS/VIDEO.")
        features.append(model(pixels, temporal_reuse={"mode": "off"}).logits.mean(0).cpu())
        labels.append(video.label)
        print(f"\r{len(labels)} videos", end="", file=sys.stderr)
    print(file=sys.stderr)
    model.classifier = head
    if len(set(labels)) < 2:
        sys.exit(f"Error: the videos of '{dataset.name}' have fewer than two classes; pass some of at least two.")
    return torch.stack(features), labels


def fit_head(features: torch.Tensor, targets: torch.Tensor, classes: int, penalty: float) -> torch.nn.Linear:
    """
    A logistic regression.

    Args:
        features: `(videos, hidden_size)`.
        targets (`torch.LongTensor` of shape `(videos,)`): numbers of classes.
        classes: how many there are.
        penalty: on half the sum of the squares of the weights, of features with a variance of one.
    """
    features = features.double()
    mean, scale = features.mean(0), features.std(0).clamp(min=1e-6)
    inputs = (features - mean) / scale
    head = torch.nn.Linear(features.shape[1], classes).double()
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    search = torch.optim.LBFGS(head.parameters(), max_iter=1000, tolerance_grad=1e-8, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        search.zero_grad()
        value = torch.nn.functional.cross_entropy(head(inputs), targets) + penalty / 2 * head.weight.square().sum()
        value.backward()
        return value

    search.step(loss)
    with torch.no_grad():
        # The model hands over features as they are.
        head.weight /= scale
        head.bias -= head.weight @ mean
    return head.float()


def best_penalty(features: torch.Tensor, targets: torch.Tensor, classes: int) -> float:
    """The penalty with the least loss on parts of the videos that are left out in turn."""
    part = torch.zeros_like(targets)
    for number in range(classes):
        own = (targets == number).nonzero().squeeze(1)
        # Neighbours may be of one scene, and stay together.
        part[own] = torch.arange(len(own)) * PARTS // len(own)
    losses = {}
    for penalty in PENALTIES:
        losses[penalty] = 0.0
        for number in part.unique():
            kept, left_out = part != number, part == number
            head = fit_head(features[kept], targets[kept], classes, penalty)
            with torch.no_grad():
                logits = head(features[left_out])
            losses[penalty] += torch.nn.functional.cross_entropy(logits, targets[left_out], reduction="sum").item()
    return min(losses, key=lambda penalty: losses[penalty])


def main() -> None:
    """Makes the features, fits the head, and saves the model."""
    parser = argparse.ArgumentParser(description="Train a head on frozen features, and save the model with reuse.")
    parser.add_argument("--model", required=True, help="folder or Hub id of a ViT or VideoMAE, plain or with reuse")
    parser.add_argument("--dataset", required=True, help="folder of videos, SPLIT/CLASS/VIDEO")
    parser.add_argument("--split", default="train")
    parser.add_argument("--out", required=True, help="new folder for the model")
    parser.add_argument("--num-frames", type=int, default=16, help="frames of each video; that of a VideoMAE is fixed")
    parser.add_argument("--penalty", type=float, help="on large weights; by default the best of a few")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    if os.path.isdir(arguments.out) and os.listdir(arguments.out):
        sys.exit(f"Error: the folder '{arguments.out}' is not empty; pass a new one.")

    try:
        dataset = open_dataset(arguments.dataset, arguments.split)
    except DataError as error:
        sys.exit(f"Error: {error}")
    model = load(arguments.model).to(arguments.device)
    processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(arguments.model)
    frames = model.config.window_frames or arguments.num_frames
    # As `hf-ttr evaluate` looks at a video if nothing else is asked for.
    protocol = Protocol(1, 1, frames, rate_in_force(None, processor))
    features, labels = features_of(model, processor, dataset, protocol)

    names = sorted(set(labels))
    targets = torch.tensor([names.index(label) for label in labels])
    penalty = arguments.penalty or best_penalty(features, targets, len(names))
    model.classifier = fit_head(features, targets, len(names), penalty).to(arguments.device)
    with torch.no_grad():
        right = (model.classifier(features.to(arguments.device)).argmax(-1).cpu() == targets).float().mean()
    model.config.id2label = dict(enumerate(names))
    model.config.label2id = {name: number for number, name in enumerate(names)}
    model.config.num_frames = frames
    model.num_labels = len(names)
    model.save_pretrained(arguments.out)
    processor.save_pretrained(arguments.out)
    print(f"{len(labels)} videos of {len(names)} classes, {right:.1%} of them right with the penalty {penalty:g}")
    print(f"The model is in {arguments.out}")


if __name__ == "__main__":
    main()
