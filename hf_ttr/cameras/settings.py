"""What a service of cameras is told: which cameras, which model, and who hears of changes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ..answers.candidate_labels import HYPOTHESIS_TEMPLATE, hypotheses
from ..checks import first_line, is_number
from ..display import HIDDEN, shown
from ..streaming.names import said_kind
from ..streaming.options import StreamOptions
from .nearest import nearest
from .secrets import Address, FromEnvironment, WebhookAddress, has_environment, plain, said
from .webhook import OWN_HEADERS, check_address


DATA_FOLDER = "hf-ttr-data"
"""Where a service keeps what outlives it, beside its file of settings, unless that says otherwise."""

SERVICE_MODES = ("causal", "off")
"""Those of live streams, of which nothing is known but the past."""


def broken(predicate: str, *at: str | int) -> PydanticCustomError:
    """
    What a rule says of a setting that breaks it.

    Args:
        predicate (`str`): a sentence without its subject, the key.
        *at (`str` or `int`): from the place where the rule stands to what breaks it.
    """
    return PydanticCustomError("rule", "{predicate}", {"predicate": predicate, "at": at})


class Settings(BaseModel):
    """What all parts of the settings share: fixed once made, equal by value, and shown without their secrets."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )
    _written: Mapping[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _remember_what_to_hide(cls, values: Any, handler: ModelWrapValidatorHandler[Any]) -> Any:
        made = handler(values)
        if isinstance(values, Mapping):
            made._written = {name: value for name, value in values.items() if has_environment(value)}
        return made

    def as_shown(self) -> dict[str, Any]:
        """All fields as JSON can hold them, without passwords and without what came out of the environment."""
        return {name: _as_shown(getattr(self, name), self._written.get(name)) for name in type(self).model_fields}

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __repr_args__(self) -> Any:
        return list(self.as_shown().items())


def _as_shown(value: Any, written: Any) -> Any:
    """A value for eyes; `written` is what it was made of, where something of that is to be hidden."""
    if isinstance(value, Settings):
        return value.as_shown()
    if isinstance(value, SecretStr):
        return str(value)
    if isinstance(written, FromEnvironment):
        return shown(written.template)
    if isinstance(value, Mapping):
        parts = written if isinstance(written, Mapping) else {}
        shown_parts = {name: _as_shown(one, parts.get(name)) for name, one in value.items()}
        # What is not made part by part is not known part by part either.
        return shown_parts if written is None or parts else HIDDEN
    if isinstance(value, (list, tuple)):
        if written is None:
            return [_as_shown(one, None) for one in value]
        if isinstance(written, (list, tuple)) and len(written) == len(value):
            return [_as_shown(one, part) for one, part in zip(value, written)]
        return HIDDEN
    if has_environment(written):
        return HIDDEN
    return shown(value) if isinstance(value, str) else value


Text = Annotated[str, Field(min_length=1, max_length=4096)]


def _check_name(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value):
        raise broken("is no name; use up to 64 letters, digits, _ and -, as names stand in topics.")
    return value


def _check_host(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"[^\s/@]{1,253}", value):
        raise broken("must be a host alone, such as localhost; leave out what stands before and behind it.")
    return value


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=64), BeforeValidator(_check_name)]
Host = Annotated[str, Field(pattern=r"^[^\s/@]+$", max_length=253), BeforeValidator(_check_host)]
Flag = Annotated[bool, BeforeValidator(plain)]
Count = Annotated[int, Field(ge=1), BeforeValidator(plain)]
Port = Annotated[int, Field(ge=1, le=65535), BeforeValidator(plain)]
Positive = Annotated[float, Field(gt=0), BeforeValidator(plain)]
# No socket waits for more than some weeks.
Seconds = Annotated[float, Field(gt=0, le=86_400), BeforeValidator(plain)]
CoolDown = Annotated[float, Field(ge=0, le=366 * 86_400), BeforeValidator(plain)]
Share = Annotated[float, Field(ge=0, le=1), BeforeValidator(plain)]

_CROP = "[left, top, right, bottom], fractions of the picture from 0 to 1, with left below right and top below bottom"


def _as_crop(value: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        raise broken(f"is {said(value)}, but must be {_CROP}.")
    sides = tuple(map(plain, value))
    if len(sides) != 4 or not all(map(is_number, sides)):
        raise broken(f"is {said(value)}, but must be four numbers: {_CROP}.")
    left, top, right, bottom = sides
    if max(sides) > 1 and min(sides) >= 0:
        raise broken(f"is {said(value)}, but must be {_CROP}; divide pixels by the width and the height.")
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise broken(f"is {said(value)}, but must be {_CROP}.")
    return tuple(map(float, sides))


Crop = Annotated[
    tuple[float, float, float, float],
    BeforeValidator(_as_crop),
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "number", "minimum": 0, "maximum": 1},
            "minItems": 4,
            "maxItems": 4,
        }
    ),
]


def _as_labels(value: Any) -> Any:
    """A list of labels; each of them is looked at by what it is."""
    if isinstance(value, (list, tuple)):
        texts = [one.strip() for one in value if isinstance(one, str)]
        if len(value) < 2:
            raise broken("must be a list of at least two labels, as a label is chosen from several; add another one.")
        if twice := next((one for index, one in enumerate(texts) if one in texts[:index]), None):
            named = next(one for one in value if isinstance(one, str) and one.strip() == twice)
            raise broken(f"has {said(named)} twice; leave one of them out.")
    return value


Labels = Annotated[tuple[Text, ...], Field(strict=False, max_length=1000, min_length=2), BeforeValidator(_as_labels)]


def _check_template(value: Any) -> Any:
    if isinstance(value, str):
        try:
            hypotheses(["a label"], value)
        except ValueError:
            raise broken(
                f"is {said(value)}, but must be a text with one {{}} in it, where the label belongs, such as "
                f"'{HYPOTHESIS_TEMPLATE}'."
            ) from None
    return value


Template = Annotated[Text, BeforeValidator(_check_template)]


def _check_url(value: Any) -> Any:
    if isinstance(value, WebhookAddress):
        return value
    if not isinstance(value, str):
        raise broken("must be text, an address such as http://localhost:8123/api/webhook/door.")
    if not re.match(r"https?://[^\s/?#]+(?:[/?#]\S*)?$", value, re.IGNORECASE) or not value.isprintable():
        raise broken("must begin with http:// or https:// and a host, without spaces; correct the address.")
    try:
        has_port = urlsplit(value).port != 0
    except ValueError:
        has_port = False
    if not has_port:
        raise broken("has a port that is no number from 1 to 65535, or a host that is none; correct the address.")
    try:
        check_address(value)
    except ValueError:
        raise broken("has a host that cannot be one, or is too long; write it as http://host:port/path.") from None
    return WebhookAddress(value)


def _as_address(value: Any) -> Any:
    if isinstance(value, Address) or not isinstance(value, str):
        return value
    if not value.strip() or not value.isprintable():
        raise broken("must be an address, a file or a camera, in one line; write such as rtsp://10.0.0.5/stream.")
    return Address(value)


Source = Annotated[Address, BeforeValidator(_as_address)]
Url = Annotated[WebhookAddress, BeforeValidator(_check_url)]


def _check_topic(value: Any) -> Any:
    if isinstance(value, str) and (
        not value or re.search(r"[+#\x00-\x20]", value) or value[0] in "/$" or value[-1] == "/" or "//" in value
    ):
        raise broken(
            f"is {said(value)}, but must be the beginning of MQTT topics, without +, #, spaces and empty levels; "
            "write such as hf_ttr or home/cameras."
        )
    return value


Topic = Annotated[str, Field(min_length=1, max_length=1000), BeforeValidator(_check_topic)]


def _settings_or_flag(value: Any) -> Any:
    """`true` stands for all defaults, `false` for leaving it out."""
    value = plain(value)
    return {} if value is True else None if value is False else value


class StateSettings(Settings):
    """When a camera is taken to be in another state."""

    agree: Count = Field(default=3, description="Results in a row that must have the same best label.")
    min_score: Share = Field(
        default=0.5, description="Least score of the best label of a result, from 0 to 1; others count for nothing."
    )


class PictureSettings(Settings):
    """The JPEG of the last frame before a change; `true` stands for the defaults."""

    quality: Annotated[int, Field(ge=1, le=95), BeforeValidator(plain)] = Field(default=80, description="Of the JPEG.")
    width: Annotated[int, Field(ge=16, le=8192), BeforeValidator(plain)] | None = Field(
        default=None, description="Pixels to which a wider picture is made smaller; by default it stays as it is."
    )


class WebhookSettings(Settings):
    """An address to which each change of a camera is posted, as JSON."""

    url: Url = Field(description="Address, http or https. Of it the host alone is ever shown.")
    headers: Mapping[str, SecretStr] = Field(
        default={}, description="Headers to send along, such as Authorization. Their values are never shown."
    )
    cooldown_s: CoolDown = Field(
        default=0,
        description="Least seconds from one post to the next; of what changes in between the newest is sent.",
    )
    timeout_s: Seconds = Field(default=10, description="Seconds to wait for an answer.")
    picture: Flag = Field(
        default=False,
        description="Whether the JPEG goes along, in the field `picture` as base64; needs `picture` of the camera.",
    )
    most_waiting: Count = Field(
        default=1000, description="Changes that wait on disk while nobody answers; the oldest is dropped beyond that."
    )

    @field_validator("headers", mode="before")
    @classmethod
    def _check_headers(cls, value: Any) -> Any:
        for name, text in value.items() if isinstance(value, Mapping) else ():
            # What is no name, or has nothing behind it, may be a header as a whole.
            if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", str(name)):
                raise broken("has what is no name of a header; use letters, digits and hyphens, and 'Name: value'.")
            if text is None:
                raise broken("has a name without a value; write 'Name: value', with a space behind the colon.")
            if str(name).lower() in OWN_HEADERS:
                raise broken("is a header that each request has already; leave it out.", str(name))
            text = text.get_secret_value() if isinstance(text, SecretStr) else text
            if not isinstance(text, str) or re.search(r"[\x00-\x08\x0a-\x1f\x7f]|^\s|\s$", text):
                raise broken("must be text in one line, without spaces around it; put it in quotes.", str(name))
            if not text.isascii():
                raise broken("has characters beyond ASCII, which headers cannot carry; encode them.", str(name))
        return value


class TlsSettings(Settings):
    """How the connection is encrypted; `true` stands for the authorities that the system trusts."""

    ca_file: Text | None = Field(
        default=None, description="PEM file of the authorities to trust in place of the system's."
    )
    cert_file: Text | None = Field(default=None, description="PEM file of the client's certificate.")
    key_file: Text | None = Field(default=None, description="PEM file of its key, unless that is in `cert_file`.")

    @field_validator("key_file")
    @classmethod
    def _belongs_to_a_certificate(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("cert_file", "") is None:
            raise broken("is the key of a certificate, of which there is none; add cert_file.")
        return value


class MqttSettings(Settings):
    """The MQTT broker that hears of states and changes."""

    host: Host = Field(description="Name or address of the broker, without mqtt:// and without a port.")
    port: Port = Field(default=1883, description="Port of the broker; brokers with TLS mostly have 8883.")
    username: Text | None = Field(default=None, description="User, if the broker asks for one.")
    password: SecretStr | None = Field(default=None, description="Password of the user; better as ${NAME}.")
    topic_prefix: Topic = Field(default="hf_ttr", description="What all topics begin with.")
    client_id: Text | None = Field(
        default=None,
        description="Name of the client, of which a broker lets in one at a time; by default the topic prefix.",
    )
    discovery: Literal["homeassistant"] | None = Field(
        default=None, description="Whose discovery messages are sent, so that cameras appear there by themselves."
    )
    discovery_prefix: Topic = Field(default="homeassistant", description="What topics of discovery begin with.")
    tls: Annotated[TlsSettings | None, BeforeValidator(_settings_or_flag)] = Field(
        default=None, description="Whether the connection is encrypted: true, or with which certificates."
    )
    keepalive_s: Annotated[int, Field(ge=1, le=65535), BeforeValidator(plain)] = Field(
        default=30, description="Seconds of silence after which the connection is looked at."
    )
    most_waiting: Count = Field(
        default=10_000,
        description="Changes that wait on disk while the broker is away; the oldest is dropped beyond that.",
    )

    @field_validator("password")
    @classmethod
    def _belongs_to_a_user(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None and info.data.get("username", "") is None:
            raise broken("is the password of a user, of whom nothing is said; add username.")
        return value

    @property
    def client(self) -> str:
        """The name of the client: the one given, or made of the topic prefix."""
        return self.client_id or self.topic_prefix.replace("/", "-")


class MetricsSettings(Settings):
    """Where Prometheus finds figures, and others whether the service is well: /metrics, /healthz, /readyz."""

    host: Host = Field(
        default="127.0.0.1", description="Address to listen at; 0.0.0.0 is reached from other machines, too."
    )
    port: Port = Field(default=9464, description="Port to listen at.")


def _check_known_labels(labels: Sequence[str] | None, known: Any) -> None:
    """Looks whether labels are among those of the service; what is no list of labels is found elsewhere."""
    if labels is None:
        return
    if known is None:
        raise broken("chooses among the labels of the service, which has none; add labels at the top of the file.")
    if isinstance(known, (list, tuple)):
        for index, label in enumerate(labels):
            if label not in known:
                many = ", ".join(said(one) for one in known)
                raise broken(f"is not among the labels of the service; use some of {shown(many)}.", index)


def _among_known(labels: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    """Looks at labels where those of the service are known from the file, so that all problems are found at once."""
    if info.context is not None:
        _check_known_labels(labels, info.context.get("labels"))
    return labels


SomeLabels = Annotated[Labels, AfterValidator(_among_known)]


class ZoneSettings(Settings):
    """A part of the picture that has a state of its own."""

    crop: Crop = Field(description="Left, top, right, bottom, as fractions of the whole picture of the camera.")
    labels: SomeLabels | None = Field(
        default=None, description="Some of the labels of the service, at least two; by default those of the camera."
    )
    states: StateSettings | None = Field(
        default=None, description="When its state changes; by default as of the camera."
    )

    @model_validator(mode="before")
    @classmethod
    def _crop_alone(cls, value: Any) -> Any:
        return {"crop": value} if isinstance(value, (list, tuple)) else value


@dataclass(frozen=True)
class Place:
    """
    A camera or one of its zones, with all that holds for it.

    Attributes:
        crop: left, top, right and bottom of what is watched, as fractions of the whole picture.
        labels: that it chooses from; `None` for all.
        states: when its state changes.
    """

    crop: tuple[float, float, float, float]
    # They may be out of the environment.
    labels: tuple[str, ...] | None = field(repr=False)
    states: StateSettings


WHOLE_PICTURE = (0.0, 0.0, 1.0, 1.0)
"""The crop where none is set."""

Protocol = Literal["file", "http", "https", "rtsp", "rtsps"]


class CameraSettings(Settings):
    """A camera, and who hears of it."""

    source: Source = Field(
        description="A URL (rtsp, http, https), a camera of this machine (/dev/video0, camera:0), or a file; live: in "
        "front says that it is live. Files are looked for beside this file first."
    )
    enabled: Flag = Field(default=True, description="Whether it is watched.")
    fps: Annotated[float, Field(gt=0, le=1000), BeforeValidator(plain)] | None = Field(
        default=None, description="Frames that are looked at in a second; by default all that come."
    )
    live: Flag | None = Field(
        default=None,
        description="Whether frames come in their own time, and late ones are dropped; by default what it is.",
    )
    crop: Crop | None = Field(
        default=None,
        description="The part of the picture that is watched, where there are no zones: left, top, right, bottom, as "
        "fractions of the picture.",
    )
    zones: Mapping[Name, ZoneSettings] = Field(
        default={},
        description="Parts of the picture that are watched each by itself, in place of the whole, by name. Their "
        "fractions are of the whole picture.",
        max_length=100,
    )
    labels: SomeLabels | None = Field(
        default=None, description="Some of the labels of the service, at least two; by default all of them."
    )
    states: StateSettings = Field(default=StateSettings(), description="When its state changes.")
    picture: Annotated[PictureSettings | None, BeforeValidator(_settings_or_flag)] = Field(
        default=None, description="Whether a JPEG goes with each change: true, or of which quality and width."
    )
    webhook: WebhookSettings | None = Field(default=None, description="An address that changes are posted to.")
    timeout_s: Seconds = Field(default=10, description="Seconds of silence after which the camera is opened again.")
    protocols: Annotated[tuple[Protocol, ...], Field(strict=False, min_length=1)] = Field(
        default=("file", "http", "https", "rtsp"),
        validate_default=True,
        description="Protocols that the source may use, also where a playlist or a redirection leads; file includes "
        "cameras of this machine.",
    )

    @field_validator("webhook")
    @classmethod
    def _has_a_picture(cls, value: WebhookSettings | None, info: ValidationInfo) -> WebhookSettings | None:
        if value is not None and value.picture and info.data.get("picture", "") is None:
            raise broken("is true, but no picture is made; add picture: true to the camera.", "picture")
        return value

    @field_validator("protocols")
    @classmethod
    def _allow_the_source(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if "source" in info.data:
            protocol = protocol_of(info.data["source"].get_secret_value())
            if protocol not in value:
                raise broken(
                    f"uses a protocol that is not allowed; use one of {', '.join(value)}, or add it to protocols.",
                    "..",
                    "source",
                )
        return value

    @property
    def places(self) -> dict[str | None, Place]:
        """What is watched: zones by name, or under `None` the camera itself."""
        if not self.zones:
            return {None: Place(self.crop or WHOLE_PICTURE, self.labels, self.states)}
        return {
            name: Place(zone.crop, zone.labels or self.labels, zone.states or self.states)
            for name, zone in self.zones.items()
        }


def protocol_of(source: str) -> str:
    """The protocol of a source; `"file"` of files and of cameras of this machine."""
    text, _ = said_kind(source)
    # Two letters at least, so that a drive such as C: remains a path.
    scheme = re.match(r"([a-z][a-z0-9+.-]+)://", text, re.IGNORECASE)
    return scheme[1].lower() if scheme else "file"


class ServiceSettings(Settings):
    """
    Everything that a service of cameras is told, as one YAML file has it.

    Fields are described where they stand, and in the JSON schema that editors read.

    Raises:
        pydantic.ValidationError: if something is wrong; `read_settings` says it in sentences, with line and column.

    Example:

    ```python
    >>> from hf_ttr.cameras.settings import ServiceSettings

    >>> settings = ServiceSettings(model="example:vit-demo", cameras={"door": {"source": "rtsp://me:pw@door/live"}})
    >>> print(settings.cameras["door"].source, settings.cameras["door"].states.agree)
    rtsp://door/live 3
    ```
    """

    model: Text = Field(
        description="Folder or Hub id of an image or video classifier, or of an encoder of pictures and texts, plain "
        "or with reuse; or example:vit-demo. Folders are looked for beside this file first."
    )
    labels: Labels | None = Field(
        default=None, description="Texts to tell apart, at least two, for models that know pictures and texts."
    )
    template: Template | None = Field(
        default=None,
        description="The sentence that the text tower reads of each of labels, with {} where the label belongs; by "
        f"default '{HYPOTHESIS_TEMPLATE}'",
    )
    temporal_reuse: Mapping[str, Any] = Field(
        default={"mode": "causal"},
        description="Settings of temporal token reuse; mode is causal unless it is said to be off.",
    )
    device: Text | None = Field(
        default=None, description="Where to run, such as cpu or cuda; by default a GPU if there is one."
    )
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        default=None,
        description="What to compute with; by default as the weights are saved, on a CPU float32 for float16.",
    )
    data: Text = Field(default=DATA_FOLDER, description="Folder of what outlives the service, beside this file.")
    snapshot_every_s: Seconds = Field(
        default=30, description="Seconds between snapshots, from which the service goes on."
    )
    batch_size: Count = Field(default=16, description="Most cameras and zones in one call of the model.")
    latency_budget_ms: Positive | None = Field(
        default=None, description="Raise the threshold of reuse while results come later than that, in milliseconds."
    )
    max_threshold: Positive | None = Field(
        default=None,
        description="Highest threshold that latency_budget_ms may set; by default four times that of the model.",
    )
    verify_every: Count | None = Field(
        default=None, description="Frames from one comparison with the model without reuse to the next."
    )
    max_divergence: Positive | None = Field(
        default=None,
        description="Lower the threshold where a comparison differs more than that, in nats (KL divergence).",
    )
    mqtt: MqttSettings | None = Field(default=None, description="The MQTT broker that hears of states and changes.")
    metrics: MetricsSettings | None = Field(
        default=None, description="Where Prometheus finds figures; {} stands for the defaults."
    )
    cameras: Annotated[Mapping[Name, CameraSettings], Field(min_length=1, max_length=1000)] = Field(
        description="The cameras by name: letters, digits, _ and -."
    )

    @field_validator("temporal_reuse")
    @classmethod
    def _check_reuse(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        settings = _without_templates(value)
        mode = settings.setdefault("mode", "causal")
        if mode not in SERVICE_MODES:
            raise broken(
                f"is {said(value['mode'])}, but cameras are live, so it must be one of {', '.join(SERVICE_MODES)}.",
                "mode",
            )
        if settings.keys() - {"mode"}:
            # It needs torch, which takes seconds to load.
            from ..configuration import TemporalReuseConfig

            known = TemporalReuseConfig().settings_to_dict()
            if unknown := [name for name in settings if name not in known]:
                raise broken(f"is no setting of reuse; {nearest(unknown[0], known)}", unknown[0])
            try:
                TemporalReuseConfig(**settings)
            except (ValueError, TypeError) as error:
                raise _broken_reuse(first_line(error), value) from None
        return settings

    @field_validator("template", "max_threshold", "max_divergence")
    @classmethod
    def _has_what_it_goes_with(cls, value: Any, info: ValidationInfo) -> Any:
        partner, does = {
            "template": ("labels", "is what they are put into"),
            "max_threshold": ("latency_budget_ms", "bounds what it does to the threshold"),
            "max_divergence": ("verify_every", "judges what it finds"),
        }[str(info.field_name)]
        if value is not None and info.data.get(partner, "") is None:
            raise broken(f"has no meaning without {partner}, as it {does}; add {partner} as well.")
        return value

    @model_validator(mode="after")
    def _labels_of_cameras_are_known(self) -> ServiceSettings:
        for name, camera in self.cameras.items():
            zones = ((zone.labels, ("zones", key)) for key, zone in camera.zones.items())
            for labels, at in [(camera.labels, ()), *zones]:
                try:
                    _check_known_labels(labels, self.labels)
                except PydanticCustomError as error:
                    context = error.context or {}
                    raise broken(context["predicate"], "cameras", name, *at, "labels", *context["at"]) from None
        return self

    @property
    def stream_options(self) -> StreamOptions:
        """How the streams of all cameras are looked at."""
        return StreamOptions(
            latency_budget_ms=self.latency_budget_ms,
            max_threshold=self.max_threshold,
            verify_every=self.verify_every,
            max_divergence=self.max_divergence,
            batch_size=self.batch_size,
        )


def _without_templates(value: Any) -> Any:
    """The same in plain `dict`, `list` and scalars; texts of the environment as YAML would read them."""
    if isinstance(value, Mapping):
        return {name: _without_templates(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_templates(one) for one in value]
    value = plain(value)
    return str(value) if isinstance(value, str) else value


def _broken_reuse(sentence: str, written: Mapping[str, Any]) -> PydanticCustomError:
    """What the settings of reuse say of themselves, which begins with the name of one, at its place."""
    found = re.match(r"temporal_reuse\.(\w+) is .*, but must be (.*)", sentence)
    if found and found[1] in written:
        return broken(f"is {said(written[found[1]])}, but must be {found[2]}.", found[1])
    if has_environment(written):
        return broken("has a value of the environment that cannot be used; look at the variables in it.")
    return broken(f"cannot be used: {shown(sentence)}.")
