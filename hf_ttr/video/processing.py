"""The processors that turn videos and images into `pixel_values`, with PIL and PyAV whatever else is installed."""

from __future__ import annotations

import importlib
import inspect
import math
import os
from typing import Any

import numpy as np
import PIL.Image
from transformers import BatchFeature, PreTrainedConfig, VideoMAEImageProcessorPil, ViTImageProcessorPil
from transformers.image_utils import SizeDict
from transformers.processing_utils import ImagesKwargs
from transformers.utils import VIDEO_PROCESSOR_NAME, TensorType
from transformers.video_processing_utils import BaseVideoProcessor

from ..checks import is_whole
from ..hub.remote_code import StaysInPackage, auto_map, is_own, write_loader
from . import VideoDecodingError, read_frames
from .sampling import check_sampling, choose_clips


__all__ = ["TemporalReuseImageProcessor", "TemporalReuseVideoProcessor", "register_processors"]

# The keys that name the classes in the saved files.
_TYPE_KEYS = ("image_processor_type", "video_processor_type")
_AUTO_CLASSES = ("AutoImageProcessor", "AutoVideoProcessor")
_OLD_TYPE_KEY = "feature_extractor_type"
# Processors that make the pixels that the classes here make, whatever else their files say.
_OWN_PIXELS = ("TemporalReuse", "ViTImageProcessor", "ViTFeatureExtractor")
# The tasks of models whose processors make one picture of one picture.
_CLASSIFIERS = (
    "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    "MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    "MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES",
)
LARGEST_SIDE = 4096
"""Height and width that a processor may make of a frame, in pixels."""

# What is tried, to know whether another one does: height and width of a picture that is made smaller, and of others.
_TRIED = ((300, 260), (31, 50), (224, 224))
# The settings for which VideoMAE's processor has defaults of its own.
_VIDEOMAE_KEYS = ("size", "resample", "do_center_crop", "crop_size", "image_mean", "image_std")


# Processors of transformers whose pixels are known, though they need torchvision and so cannot be tried: the module,
# the class whose defaults stand for what a file of theirs leaves open, and other defaults.
_OF_VIDEOS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "VJEPA2VideoProcessor": ("vjepa2", "VJEPA2VideoProcessor", {}),
    "TimesformerVideoProcessor": ("timesformer", "TimesformerVideoProcessor", {}),
    "LlavaOnevisionVideoProcessor": ("llava_onevision", "LlavaOnevisionVideoProcessor", {}),
    # Once it had a class of its own; its files now name the one above.
    "VideoPrismVideoProcessor": (
        "llava_onevision",
        "LlavaOnevisionVideoProcessor",
        {"size": {"height": 288, "width": 288}, "do_normalize": False},
    ),
    **dict.fromkeys(
        ("VivitImageProcessor", "VivitFeatureExtractor", "VivitVideoProcessor"), ("vivit", "VivitVideoProcessor", {})
    ),
}
_VIDEO_KEYS = (
    *("do_resize", "size", "resample", "do_center_crop", "crop_size"),
    *("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"),
)

# The settings of a SigLIP 2's processor that its files may leave open.
_SIGLIP2_KEYS = ("patch_size", "max_num_patches", "resample", "image_mean", "image_std")


class _VideoSettings(ImagesKwargs, total=False):
    num_frames: int | None
    frame_sampling_rate: int | str | None
    do_sample_frames: bool | None
    patch_size: int | None
    max_num_patches: int | None


class TemporalReuseImageProcessor(StaysInPackage, ViTImageProcessorPil):
    """Turn images into `pixel_values`, and carry the settings of the video processor of the same checkpoint.

    It is `ViTImageProcessorPil` for images: called with pictures (`PIL.Image.Image`) or arrays, it returns a
    `BatchFeature` whose `pixel_values` are `float32` of shape (batch, channels, height, width).

    Its `save_pretrained` writes the settings for images and for videos, so that nothing is lost when a pipeline, which
    saves its image processor only, is saved and loaded again.

    With the file of a `Siglip2ImageProcessor` pictures keep their proportions as far as whole patches allow, and are
    as large as `max_num_patches` allows: height and width are those that it chooses. Unlike there, pictures come as
    pictures, not as patches, and nothing is filled up: those of one call have to have the same proportions.

    Args:
        num_frames (`int`, *optional*): Number of frames that `TemporalReuseVideoProcessor` takes from a video.
        frame_sampling_rate (`int` or `"spread"`, *optional*): Step between these frames, in frames.
        do_sample_frames (`bool`): Whether frames are chosen at all.
        patch_size, max_num_patches (`int`, *optional*): Side of a patch in pixels, and how many of them a picture has
            at most; both, in the place of `size`, or neither.
        kwargs: The settings of `ViTImageProcessorPil`: `do_resize`, `size`, `resample`, `do_center_crop`,
            `crop_size`, `do_rescale`, `rescale_factor`, `do_normalize`, `image_mean`, `image_std`, `do_convert_rgb`.

    Raises:
        TypeError: A setting has an unknown name.
        ValueError: `num_frames` is not a positive integer, `frame_sampling_rate` neither one nor `"spread"`, or the
            two settings of patches are none.
    """

    valid_kwargs = _VideoSettings
    do_convert_rgb = True
    do_sample_frames = True
    num_frames: int | None = None
    frame_sampling_rate: int | str | None = None
    patch_size: int | None = None
    max_num_patches: int | None = None

    def __init__(self, **kwargs: Any) -> None:
        settings = {key: value for key, value in kwargs.items() if key not in (*_TYPE_KEYS, "auto_map")}
        self._check_names(settings)
        super().__init__(**settings)
        check_sampling(self.num_frames, self.frame_sampling_rate)
        for name in ("size", "crop_size"):
            _check_size(name, getattr(self, name))
        _check_patches(self.patch_size, self.max_num_patches)

    @classmethod
    def _check_names(cls, settings: dict[str, Any]) -> None:
        if unknown := sorted(settings.keys() - cls.valid_kwargs.__annotations__.keys()):
            raise TypeError(f"{cls.__name__} has no setting {', '.join(map(repr, unknown))}.")

    @classmethod
    def from_dict(cls, image_processor_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Make a processor from saved settings.

        Args:
            image_processor_dict (`dict[str, Any]`): The content of a preprocessor file of this package, of a ViT, of a
                VideoMAE, of a SigLIP 2, of a ViViT, V-JEPA 2 or VideoPrism, or of any other image processor of
                transformers that makes the same pixels, which is tried. What the file leaves open is as the processor
                that it names has it.
            kwargs: Settings that override the saved ones. Other names, such as the arguments of the model that
                `pipeline(model_kwargs=...)` passes to its processors too, are ignored.

        Returns:
            The processor, and the ignored arguments with it if `return_unused_kwargs=True`.

        Raises:
            ValueError: The file is of a processor that makes other pixels, or of one that is not known.
        """
        known = cls.valid_kwargs.__annotations__
        names = (image_processor_dict.get(key) for key in (*_TYPE_KEYS, _OLD_TYPE_KEY))
        name = next((name for name in names if isinstance(name, str)), None)
        if name is not None and name.startswith("VideoMAE"):
            image_processor_dict = _as_videomae(image_processor_dict)
        elif name is not None and name.startswith("Siglip2"):
            image_processor_dict = _as_siglip2(image_processor_dict)
        elif name in _OF_VIDEOS:
            image_processor_dict = _as_of_videos(name, image_processor_dict)
        elif name is not None and not name.startswith(_OWN_PIXELS):
            image_processor_dict = _of_other_class(name, image_processor_dict)
        return super().from_dict({key: value for key, value in image_processor_dict.items() if key in known}, **kwargs)

    def _preprocess(  # type: ignore[override]
        self,
        images: list[np.ndarray],
        *,
        size: Any,
        patch_size: int | None = None,
        max_num_patches: int | None = None,
        return_tensors: str | TensorType | None = None,
        **settings: Any,
    ) -> BatchFeature:
        _check_patches(patch_size, max_num_patches)
        if max_num_patches is None:
            return super()._preprocess(images, size=size, return_tensors=return_tensors, **settings)
        pictures = []
        for image in images:
            own = _size_of_patches(image.shape[-2:], patch_size, max_num_patches)
            pictures += super()._preprocess([image], size=own, return_tensors=None, **settings)["pixel_values"]
        if return_tensors is not None and len(shapes := {picture.shape[1:] for picture in pictures}) > 1:
            raise ValueError(
                f"The pictures become {' and '.join(map(str, sorted(shapes)))} pixels large and cannot make a batch; "
                "process those of other proportions on their own."
            )
        return BatchFeature({"pixel_values": pictures}, tensor_type=return_tensors)

    def to_dict(self) -> dict[str, Any]:
        """Give the settings as they are saved, with the names of the processors of images and of videos.

        Returns:
            `dict[str, Any]`: The settings that are not `None`.
        """
        names = (TemporalReuseImageProcessor.__name__, TemporalReuseVideoProcessor.__name__)
        settings = super().to_dict() | dict(zip(_TYPE_KEYS, names))
        if is_own(type(self)):
            settings["auto_map"] = auto_map(dict(zip(_AUTO_CLASSES, names)))
        return settings

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any
    ) -> list[str]:
        """Save the settings for images and for videos, in the two files where transformers looks for them.

        Both files hold all the settings, so that either is enough and neither is ever older than the other.

        Args:
            save_directory (`str` or `os.PathLike`): The folder to write `preprocessor_config.json` and
                `video_preprocessor_config.json` in. It is created if needed.
            push_to_hub (`bool`): Whether to upload the two files to the Hub as well.
            kwargs: The arguments of `push_to_hub`; `repo_id` is the name of the folder by default.

        Returns:
            `list[str]`: The paths of the two files.
        """
        files = super().save_pretrained(save_directory)
        files.append(os.path.join(save_directory, VIDEO_PROCESSOR_NAME))
        self.to_json_file(files[-1])
        if is_own(type(self)):
            write_loader(save_directory)
        if push_to_hub:
            repo_id = kwargs.pop("repo_id", os.path.basename(os.path.abspath(save_directory)))
            self.push_to_hub(repo_id, **kwargs)
        return files


class TemporalReuseVideoProcessor(TemporalReuseImageProcessor):
    """Turn videos into `pixel_values`: choose frames, decode them with PyAV, then resize, crop and normalise with PIL.

    The pixels are those that `ViTImageProcessorPil` gives for the same frames. Only the chosen frames are kept while
    a file is decoded, and at the size that the model wants.

    Args:
        num_frames (`int`, *optional*): Number of frames to take from each video. A shorter video is followed by
            copies of its last frame. All the frames are taken without it.
        frame_sampling_rate (`int` or `"spread"`, *optional*): Take the frames 0, `frame_sampling_rate`, 2 *
            `frame_sampling_rate` and so on; each frame without it. `"spread"` takes them from the whole video:
            `round(linspace(0, total - 1, num_frames))`.
        do_sample_frames (`bool`): Whether to choose frames at all. If not, every frame is taken, whatever the two
            settings above.
        patch_size, max_num_patches (`int`, *optional*): As in `TemporalReuseImageProcessor`, for the frames of each
            video.
        kwargs: The settings of `ViTImageProcessorPil`: `do_resize`, `size`, `resample`, `do_center_crop`,
            `crop_size`, `do_rescale`, `rescale_factor`, `do_normalize`, `image_mean`, `image_std`, `do_convert_rgb`.

    Raises:
        TypeError: A setting has an unknown name.
        ValueError: `num_frames` is not a positive integer, `frame_sampling_rate` neither one nor `"spread"`, or the
            two settings of patches are none.

    Example:

    ```python
    >>> from hf_ttr import TemporalReuseVideoProcessor, example

    >>> processor = TemporalReuseVideoProcessor.from_pretrained(example("vit-demo"), num_frames=16)
    >>> processor(example("demo.mp4"), return_tensors="pt").pixel_values.shape
    torch.Size([1, 16, 3, 224, 224])
    ```
    """

    def __call__(self, videos: Any, **kwargs: Any) -> BatchFeature:  # type: ignore[override]
        """Process one video or a batch of videos, see `preprocess`."""
        return self.preprocess(videos, **kwargs)

    def preprocess(self, videos: Any, **kwargs: Any) -> BatchFeature:
        """Process one video or a batch of videos.

        Args:
            videos: A video, or a list of videos: each a path, an http(s) URL, `bytes`, a binary file, a NumPy array or
                PyTorch tensor of shape (frames, height, width, channels) or (frames, channels, height, width), or a
                list of pictures or arrays; see `hf_ttr.video.read_frames`. An array with a fifth axis in front is a
                batch.
            kwargs: Any setting of the processor, for this call only, and `return_tensors`: `"pt"` for a
                `torch.Tensor`, `"np"` for a `numpy.ndarray`. Float arrays in [0, 1] are taken for 1/255 of the pixel
                values, so that they remain in [0, 1] with `do_rescale=False`.

        Returns:
            `BatchFeature`: `pixel_values`, `float32`, of shape (batch, frames, channels, height, width). Without
            `return_tensors`, a list with one array of shape (frames, channels, height, width) for each video.

        Raises:
            VideoDecodingError: A video cannot be read.
            ValueError: A setting is wrong, or the videos have different shapes and cannot make a batch.
            TypeError: A setting has an unknown name.
        """
        self._check_names(kwargs)
        return super().preprocess(videos, **kwargs)

    @classmethod
    def get_image_processor_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Find the saved settings as transformers does for video processors.

        Args:
            pretrained_model_name_or_path (`str` or `os.PathLike`): A folder, a file or a repository of the Hub, with
                `video_preprocessor_config.json` or, failing that, `preprocessor_config.json`.
            kwargs: The arguments of `from_pretrained`.

        Returns:
            `tuple[dict, dict]`: The content of the file, and the arguments that remain.
        """
        return BaseVideoProcessor.get_video_processor_dict(pretrained_model_name_or_path, **kwargs)

    def _preprocess_image_like_inputs(  # type: ignore[override]
        self, images: Any, *, return_tensors: str | TensorType | None = None, **settings: Any
    ) -> BatchFeature:
        check_sampling(settings["num_frames"], settings["frame_sampling_rate"])
        _check_patches(settings["patch_size"], settings["max_num_patches"])
        clips = []
        videos = _as_batch(images)
        for number, video in enumerate(videos, start=1):
            try:
                clips.append(self._process_video(video, **settings))
            except VideoDecodingError as error:
                if len(videos) == 1:
                    raise
                raise VideoDecodingError(f"{str(error)[:-1]} (video {number} of {len(videos)}).") from error
        if return_tensors is None:
            return BatchFeature({"pixel_values": clips})
        if shapes := sorted({clip.shape for clip in clips} - {clips[0].shape}):
            raise ValueError(
                f"Videos of shapes {clips[0].shape} and {shapes[0]} (frames, channels, height, width) cannot make a "
                "batch; set `num_frames` and a fixed `size`, or process them one by one."
            )
        # A batch of one is not copied.
        batch = clips[0][None] if len(clips) == 1 else np.stack(clips)
        return BatchFeature({"pixel_values": batch}, tensor_type=return_tensors)

    def _process_video(
        self,
        video: Any,
        *,
        num_frames: int | None,
        frame_sampling_rate: Any,
        do_sample_frames: bool | None,
        patch_size: int | None,
        max_num_patches: int | None,
        do_convert_rgb: bool | None,
        input_data_format: str | None,
        do_resize: bool | None,
        size: Any,
        resample: Any,
        do_center_crop: bool | None,
        crop_size: Any,
        do_rescale: bool | None,
        rescale_factor: float,
        do_normalize: bool | None,
        image_mean: Any,
        image_std: Any,
        **unused: Any,
    ) -> np.ndarray:
        def select(total: int) -> list[int]:
            return choose_clips(total, num_frames, frame_sampling_rate)[0] if do_sample_frames else list(range(total))

        def shrink(frame: np.ndarray) -> np.ndarray:
            frame = np.moveaxis(frame, -1, 0)
            if do_resize and max_num_patches is not None:
                frame = self.resize(frame, _size_of_patches(frame.shape[1:], patch_size, max_num_patches), resample)
            elif do_resize:
                _check_shape(frame.shape[1:], size)
                frame = self.resize(frame, size, resample)
            return self.center_crop(frame, crop_size) if do_center_crop else frame

        frames, info = read_frames(
            video, select, shrink, input_data_format=input_data_format, convert_rgb=do_convert_rgb is not False
        )
        if len(shapes := {frame.shape[1:] for frame in frames}) > 1:
            raise VideoDecodingError(
                f"The frames of the video have the sizes {' and '.join(map(str, sorted(shapes)))}; set a fixed `size`."
            )
        if info.unit_range and not do_rescale:
            do_rescale, rescale_factor = True, 1 / 255
        clip = np.empty((len(frames), *frames[0].shape), dtype=np.float32)
        for index, frame in enumerate(frames):
            if do_rescale:
                frame = self.rescale(frame, rescale_factor)
            if do_normalize:
                frame = self.normalize(frame, image_mean, image_std)
            clip[index] = frame
        return clip


def register_processors(config_class: type[PreTrainedConfig]) -> None:
    """Make the Auto classes, and so the pipelines, choose the processors of this module for a configuration class.

    They do so with and without torchvision. Calling it again changes nothing.

    Args:
        config_class (`type[PreTrainedConfig]`): The configuration class of a model of this package.
    """
    # What `transformers` exports are placeholders without torchvision; the pipelines use the classes themselves.
    images = importlib.import_module("transformers.models.auto.image_processing_auto").AutoImageProcessor
    videos = importlib.import_module("transformers.models.auto.video_processing_auto").AutoVideoProcessor
    backends = ("torchvision", "pil")
    image_classes = dict.fromkeys(backends, TemporalReuseImageProcessor)
    images.register(config_class, image_processor_classes=image_classes, exist_ok=True)
    if "video_processor_classes" in inspect.signature(videos.register).parameters:
        video_classes = dict.fromkeys(backends, TemporalReuseVideoProcessor)
        videos.register(config_class, video_processor_classes=video_classes, exist_ok=True)
    else:
        videos.register(config_class, TemporalReuseVideoProcessor, exist_ok=True)


def _as_videomae(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a VideoMAE's preprocessor file, complete; a size that is one number is the short edge."""
    settings = {key: value for key, value in settings.items() if value is not None}
    for key in _VIDEOMAE_KEYS:
        settings.setdefault(key, getattr(VideoMAEImageProcessorPil, key))
    if isinstance(settings["size"], int):
        settings["size"] = {"shortest_edge": settings["size"]}
    return settings


def _as_of_videos(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a file of one of `_OF_VIDEOS`, complete, as settings of the processors here."""
    folder, class_name, defaults = _OF_VIDEOS[name]
    module = importlib.import_module(f"transformers.models.{folder}.video_processing_{folder}")
    known = {key: getattr(getattr(module, class_name), key, None) for key in _VIDEO_KEYS} | defaults
    settings = known | {key: value for key, value in settings.items() if value is not None}
    if isinstance(settings["size"], int):
        settings["size"] = {"shortest_edge": settings["size"]}
    if folder == "vjepa2":
        # Whatever its file says, the size is that of the crop and a margin.
        crop = settings["crop_size"]
        side = crop["height"] if isinstance(crop, dict) else crop
        settings["size"] = {"shortest_edge": int(side * 256 / 224)}
    if folder == "vivit" and settings["do_rescale"] and settings.get("offset", True):
        # It takes 1 from the rescaled pixels, and then the mean.
        of_channels = (settings["image_mean"], settings["image_std"]) if settings["do_normalize"] else (0.0, 1.0)
        mean, deviation = (np.broadcast_to(values, 3).tolist() for values in of_channels)
        mean = [1 + value for value in mean]
        settings |= {"do_normalize": True, "image_mean": mean, "image_std": deviation}
    return {key: value for key, value in settings.items() if value is not None}


def _as_siglip2(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a SigLIP 2's preprocessor file, complete; `size` is that of square pictures."""
    from transformers import Siglip2ImageProcessorPil

    settings = {key: value for key, value in settings.items() if value is not None}
    for key in _SIGLIP2_KEYS:
        settings.setdefault(key, getattr(Siglip2ImageProcessorPil, key))
    _check_patches(settings["patch_size"], settings["max_num_patches"])
    side = math.isqrt(settings["max_num_patches"]) * settings["patch_size"]
    # It has no use for what crops and fills up.
    return {**settings, "size": {"height": side, "width": side}, "do_center_crop": False, "do_pad": False}


def _size_of_patches(shape: tuple[int, ...], patch_size: Any, max_num_patches: int) -> SizeDict:
    """Height and width that SigLIP 2 gives a picture of this shape."""
    from transformers.models.siglip2.image_processing_pil_siglip2 import get_image_size_for_max_num_patches

    height, width = get_image_size_for_max_num_patches(shape[0], shape[1], patch_size, max_num_patches)
    return SizeDict(height=height, width=width)


def _of_other_class(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of another class of transformers, complete, after a look at whether it makes the same pixels."""
    other = _other_processor(name, settings)
    if other is None:
        raise ValueError(
            f"the preprocessor file is of the class '{name}', whose pixels are not known here; write one of the class "
            "'ViTImageProcessor' with the size, rescale_factor, image_mean and image_std that the model was trained "
            "with."
        )
    complete = {key: value for key, value in other.to_dict().items() if value is not None}
    known = {key: complete[key] for key in TemporalReuseImageProcessor.valid_kwargs.__annotations__ if key in complete}
    own = TemporalReuseImageProcessor(**known)
    for height, width in _TRIED:
        picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        found = np.asarray(own(picture, return_tensors="np")["pixel_values"])
        try:
            expected = np.asarray(other(picture, return_tensors="np")["pixel_values"])
        except Exception:  # it takes more than a picture, or gives something else
            expected = np.empty(0)
        if expected.shape != found.shape or not np.allclose(expected, found, rtol=0, atol=1e-5):
            unknown = sorted(complete.keys() & (type(other).valid_kwargs.__annotations__.keys() - known.keys()))
            settings_text = f", which has the settings {', '.join(unknown)}" if unknown else ""
            raise ValueError(
                f"the preprocessor file is of the class '{name}'{settings_text}, and its pixels are not those of a "
                "ViTImageProcessor; process the frames with it, and hand the model `pixel_values`."
            )
    return complete


def _other_processor(name: str, settings: dict[str, Any]) -> Any:
    """The image processor of a classifier that a preprocessor file names, where it can be made without torchvision."""
    base = name
    for ending in ("FeatureExtractor", "ImageProcessorFast", "ImageProcessorPil", "ImageProcessor", "VideoProcessor"):
        base = base.removesuffix(ending)
    models = importlib.import_module("transformers.models.auto.modeling_auto")
    processors = importlib.import_module("transformers.models.auto.image_processing_auto")
    types = {model_type for task in _CLASSIFIERS for model_type in getattr(models, task)}
    for model_type in types & processors.IMAGE_PROCESSOR_MAPPING_NAMES.keys():
        if f"{base}ImageProcessorPil" in processors.IMAGE_PROCESSOR_MAPPING_NAMES[model_type].values():
            kind: Any = processors.get_image_processor_class_from_name(f"{base}ImageProcessorPil")
            return kind.from_dict({key: value for key, value in settings.items() if key != "auto_map"})
    return None


def _check_size(name: str, size: Any) -> None:
    """Refuse what would take all memory, before a frame is there."""
    sides = [side for side in dict(size or {}).values() if side is not None]
    if any(not isinstance(side, (int, float)) or not 1 <= side <= LARGEST_SIDE for side in sides):
        raise ValueError(f"`{name}` is {dict(size)}, but the sides of a frame have from 1 to {LARGEST_SIDE} pixels.")


def _check_patches(patch_size: Any, max_num_patches: Any) -> None:
    """Refuse what is no number of patches, or would take all memory."""
    if patch_size is None and max_num_patches is None:
        return
    if not all(is_whole(value) and value >= 1 for value in (patch_size, max_num_patches)):
        raise ValueError(
            f"`patch_size` is {patch_size!r} and `max_num_patches` {max_num_patches!r}, but both have to be whole "
            "numbers of at least 1, or None."
        )
    if max_num_patches * patch_size**2 > LARGEST_SIDE**2:
        raise ValueError(
            f"`max_num_patches` is {max_num_patches} and `patch_size` {patch_size}, but a frame has at most "
            f"{LARGEST_SIDE} x {LARGEST_SIDE} pixels."
        )


def _check_shape(shape: tuple[int, ...], size: Any) -> None:
    """Refuse frames so long and narrow that making the short side as large as wanted makes the long one endless."""
    sides = dict(size)
    edge = sides.get("shortest_edge")
    if edge and not sides.get("longest_edge") and max(shape) * edge > LARGEST_SIDE**2 * min(shape) / edge:
        raise VideoDecodingError(
            f"The frames of the video have {shape[1]} x {shape[0]} pixels; made {edge} pixels on the shorter "
            "side they would be endless on the other: cut them."
        )


def _as_batch(videos: Any) -> list[Any]:
    """Tell a batch of videos from one video: a list of frames is one video, any other list is a batch."""
    if getattr(videos, "ndim", 0) == 5:
        return list(videos)
    if not isinstance(videos, (list, tuple)):
        return [videos]
    if len(videos) == 0:
        raise VideoDecodingError("The list holds no video; pass at least one.")
    is_frame = [isinstance(item, PIL.Image.Image) or getattr(item, "ndim", 0) in (2, 3) for item in videos]
    return [videos] if all(is_frame) else list(videos)
