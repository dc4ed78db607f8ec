"""`hf-ttr watch`: cameras, and word of what changes in them to MQTT, webhooks and Prometheus."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..checks import first_line
from ..display import shown
from ..machine import few_kernels
from .errors import INTERRUPTED, InputError, ends_quietly


if TYPE_CHECKING:
    from ..cameras.service import CameraService
    from ..cameras.settings import ServiceSettings


INSTALL = "Watching cameras needs the package {}, which is not installed; pip install 'hf-ttr[cameras]'."

PATIENCE = 3
"""The signal with which the program ends at once."""

logger = logging.getLogger("hf_ttr.watch")


@ends_quietly
def watch(
    settings: Annotated[
        str | None,
        typer.Argument(metavar="SETTINGS.yaml", help="Which cameras, which model, and who hears of changes."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Say what is wrong with the settings, with line and column, and end.")
    ] = False,
    schema: Annotated[
        str | None,
        typer.Option(metavar="FILE.json", help="Write the JSON schema of the settings, for editors, and end."),
    ] = None,
) -> None:
    """Watch cameras, and tell MQTT, webhooks and Prometheus what changes. SIGHUP reads the settings again."""
    _check_packages()
    if schema is not None:
        from ..cameras.schema import write_schema

        try:
            write_schema(schema)
        except OSError as error:
            raise InputError(f"--schema is '{shown(schema)}', which cannot be written ({error.strerror}).") from error
        typer.echo(f"The schema is in {shown(schema)}.")
    if settings is None:
        if schema is None:
            raise InputError("there are no settings; pass a YAML file, such as examples/cameras.yaml.")
        return
    wanted = _read(settings, all_problems=check)
    if check:
        watched = [name for name, camera in wanted.cameras.items() if camera.enabled]
        typer.echo(f"{shown(settings)} is fine: {len(watched)} of {len(wanted.cameras)} cameras are enabled.")
        return
    _run(settings, wanted)


def _run(path: str, settings: ServiceSettings) -> None:
    with _not_read_again():
        from ..cameras.service import CameraService
        from ..streaming import SourceError
        from .loading import quiet

        service = CameraService(settings)
    with _logging(), _signals(service, path) as signals, quiet(), few_kernels():
        try:
            service.run()
        except (SourceError, OSError, ValueError, ImportError) as error:
            raise InputError(str(error)) from error
    if signals:
        raise typer.Exit(INTERRUPTED if signal.SIGINT in signals else 0)


def _read(path: str, all_problems: bool) -> ServiceSettings:
    """The settings, or what is wrong with them on stderr: the first of it, or all."""
    from ..cameras.problems import SettingsError
    from ..cameras.reading import read_settings

    try:
        return read_settings(path)
    except SettingsError as error:
        if not all_problems:
            raise InputError(str(error)) from error
        for line in error.lines():
            typer.echo(line, err=True)
        raise typer.Exit(2) from None


def _check_packages() -> None:
    for module, package in (("pydantic", "pydantic"), ("ruamel.yaml", "ruamel.yaml")):
        try:
            __import__(module)
        except ImportError:
            raise InputError(INSTALL.format(package)) from None


@contextmanager
def _logging() -> Iterator[None]:
    """Writes what the service says to stderr, a line each, with the time."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    own = [logging.getLogger(name) for name in ("hf_ttr.cameras", logger.name)]
    for one in own:
        one.addHandler(handler)
        one.setLevel(logging.INFO)
        one.propagate = False
    try:
        yield
    finally:
        for one in own:
            one.removeHandler(handler)
            one.propagate = True


@contextmanager
def _signals(service: CameraService, path: str) -> Iterator[list[int]]:
    """SIGTERM and Ctrl-C end the service behind the results that are there, SIGHUP reads the settings again."""
    came: list[int] = []
    if not _is_main_thread():
        # Signals are not for this thread.
        yield came
        return

    def end(number: int, frame: Any) -> None:
        came.append(number)
        if len(came) >= PATIENCE:
            os._exit(INTERRUPTED)
        service.stop()

    def reread(number: int, frame: Any) -> None:
        threading.Thread(target=_reload, args=(service, path), name="settings", daemon=True).start()

    handlers: dict[int, Any] = {signal.SIGTERM: end, signal.SIGINT: end}
    if hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = reread
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if came and number != getattr(signal, "SIGHUP", None) else handler)


@contextmanager
def _not_read_again() -> Iterator[None]:
    """What asks for the settings to be read again, while all is loaded that does so, would end the program."""
    if not hasattr(signal, "SIGHUP") or not _is_main_thread():
        yield
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _reload(service: CameraService, path: str) -> None:
    """Reads the settings again; where something is wrong with them, the service goes on with those that it has."""
    from ..cameras.problems import SettingsError
    from ..cameras.reading import read_settings

    try:
        service.reload(read_settings(path))
    except SettingsError as error:
        for line in error.lines():
            logger.error(f"{line} The settings stay as they are.")
    except Exception as error:  # the cameras go on, whatever it is
        logger.error(f"The settings cannot be read again ({shown(first_line(error))}); they stay as they are.")
