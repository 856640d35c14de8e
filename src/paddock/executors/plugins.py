"""Loading a plug-in by the name that the configuration gives. Installed is not enabled: nothing is loaded unasked."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from paddock.errors import PluginUnknown


def load_plugin(group: str, name: str) -> Callable[..., Any]:
    """What makes the plug-in: the object behind the entry point.

    Args:
        group: `paddock.executors` or `paddock.engines`.
        name: from the configuration.

    Raises:
        PluginUnknown: not installed, installed twice under that name, or it cannot be imported.
    """
    found = list(entry_points(group=group, name=name))
    if not found:
        known = sorted(point.name for point in entry_points(group=group))
        raise PluginUnknown(f"'{name}' is not among {group}: {', '.join(known) or 'none is installed'}.")
    if len({point.value for point in found}) > 1:
        raise PluginUnknown(f"Two packages bring '{name}' for {group}.")
    try:
        made = found[0].load()
    except (ImportError, AttributeError) as error:
        raise PluginUnknown(f"'{name}' of {group} cannot be imported.") from error
    if not callable(made):
        raise PluginUnknown(f"'{name}' of {group} is not a factory.")
    factory: Callable[..., Any] = made
    return factory
