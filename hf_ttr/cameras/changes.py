"""What is different between two readings of the settings, so that what is the same goes on undisturbed."""

from __future__ import annotations

from dataclasses import dataclass

from .settings import ServiceSettings


@dataclass(frozen=True)
class Changes:
    """
    What differs from one reading of the settings to the next.

    Attributes:
        added, removed, changed: names of cameras; the others go on as they are. A camera that is no longer `enabled`
            is removed, and one that is again is added.
        needs_restart: names of settings of the whole service that hold from its next start.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.needs_restart)


def changed(before: ServiceSettings, after: ServiceSettings) -> Changes:
    """
    What is to be done where the settings are read again.

    Args:
        before, after (`ServiceSettings`): of the service as it runs, and as it is to be.

    Returns:
        `Changes`: names in the order of the files; false where nothing is to be done.

    Example:

    ```python
    >>> from hf_ttr.cameras.changes import changed
    >>> from hf_ttr.cameras.settings import ServiceSettings

    >>> before = ServiceSettings(model="example:vit-demo", cameras={"door": {"source": "rtsp://door/live"}})
    >>> after = ServiceSettings(model="example:vit-demo", cameras={"yard": {"source": "rtsp://yard/live"}})
    >>> changed(before, after)
    Changes(added=('yard',), removed=('door',), changed=(), needs_restart=())
    ```
    """
    old = {name: camera for name, camera in before.cameras.items() if camera.enabled}
    new = {name: camera for name, camera in after.cameras.items() if camera.enabled}
    of_service = [name for name in type(before).model_fields if name != "cameras"]
    return Changes(
        added=tuple(name for name in new if name not in old),
        removed=tuple(name for name in old if name not in new),
        changed=tuple(name for name in new if name in old and new[name] != old[name]),
        needs_restart=tuple(name for name in of_service if getattr(before, name) != getattr(after, name)),
    )
