"""The inputs as the jobs see them: by the view that the contract names, or that fits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack

from paddock.contract.levels import LEVELS, Network
from paddock.contract.terms import Terms
from paddock.jobs.api import Files
from paddock.jobs.registry import job_kind
from paddock.seal import VolumeReader
from paddock.views.files import VolumeFiles
from paddock.views.opening import AUTO, View, choose_view, find_means, open_view


def open_views(terms: Terms, readers: Mapping[str, VolumeReader], views: ExitStack) -> tuple[dict[str, Files], int]:
    """Open a view of each input; they close with the stack.

    Returns:
        Input's name to its files; and what memory is left for the jobs, in bytes, beside what was staged.

    Raises:
        ViewUnavailable: what the contract names cannot be had here.
        StagingRefused, NoRoomInMemory, MountUnavailable, SealRefused, Unavailable: see `open_view`.
    """
    room = terms.limits.memory_bytes
    walled = LEVELS[terms.level].network is Network.GATEWAY
    by_path = {
        reference
        for step in terms.steps
        if job_kind(step.kind).takes_paths
        for references in step.inputs.values()
        for reference in references
    }
    inputs: dict[str, Files] = {}
    for name, reader in readers.items():
        wanted = terms.inputs[name].view
        if name not in by_path and wanted in (AUTO, View.DIRECT):
            inputs[name] = VolumeFiles(reader)  # nothing is asked of the machine that the job does not need
            continue
        # Walls make a job of root's an ordinary user's, and a mount is for whoever made it alone.
        means = find_means(by_path=name in by_path, room_bytes=room, for_another_user=walled and os.geteuid() == 0)
        view = choose_view(wanted, reader.content_bytes, means)
        inputs[name] = views.enter_context(open_view(view, reader, means))
        if view is View.STAGED:
            room -= reader.content_bytes
    return inputs, room
