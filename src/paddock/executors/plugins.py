"""Loading a plug-in by the name that the configuration gives. Installed is not enabled: nothing is loaded unasked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from paddock.errors import ExecutorOptionInvalid, PluginUnknown
from paddock.executors.executor import Executor


def plugin_names(group: str) -> list[str]:
    """The names of what is installed, sorted; nothing is loaded."""
    return sorted({point.name for point in entry_points(group=group)})


def load_plugin(group: str, name: str) -> Callable[..., Any]:
    """What makes the plug-in: the object behind the entry point.

    Args:
        group: `paddock.executors`, `paddock.builders` or `paddock.engines`.
        name: from the configuration.

    Raises:
        PluginUnknown: not installed, installed twice under that name, or it cannot be imported.
    """
    found = list(entry_points(group=group, name=name))
    if not found:
        known = ", ".join(plugin_names(group)) or "none is installed"
        raise PluginUnknown(f"'{name}' is not among {group}: {known}.")
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


def make_executor(name: str, *, attester: str, settings: Mapping[str, str]) -> Executor:
    """The executor of that name, made with what the operator set.

    Args:
        name: from the configuration.
        attester: address of the device that attests runs.
        settings: the operator's; an executor that takes none refuses any.

    Raises:
        PluginUnknown: see `load_plugin`.
        ExecutorOptionInvalid: a setting is unknown, missing, or not understood.
    """
    factory = load_plugin("paddock.executors", name)
    takes_settings = "settings" in inspect.signature(factory).parameters
    if settings and not takes_settings:
        raise ExecutorOptionInvalid(f"The executor '{name}' has none.")
    more: dict[str, Any] = {"settings": settings} if takes_settings else {}
    made: Executor = factory(attester=attester, **more)
    return made
