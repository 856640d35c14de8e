"""The demo `attacks`: what attackers try, tried on this machine before your eyes, and what refuses it."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from paddock.cli.demo.malice import ATTACKS, NOTHING, Refused, victims
from paddock.cli.demo.malicious_jobs import JOB_ATTACKS, JobAttack, try_job
from paddock.cli.output import SIMULATED, plain, say, working
from paddock.errors import DemoUnknown, WallsUnavailable

_BY_JOB = "a malicious job"


@dataclass(frozen=True)
class Tried:
    """One attack and what became of it.

    Args:
        id: as in docs/attacks.md.
        by: who attacks.
        tried: what was done.
        without: what the same try got where the defence is missing; empty where that cannot be shown harmlessly.
        code: of the error that refused it, or the name of the system's; `NOTHING`: what was looked for is not there.
        said: in words.
        rules: of the specification.
    """

    id: str
    by: str
    tried: str
    without: str
    code: str
    said: str
    rules: str


def play(folder: Path, *, quiet: bool) -> dict[str, Any]:
    """Play it.

    Args:
        folder: a folder that does not exist yet; everything is made in it.
        quiet: whether to print nothing.

    Returns:
        What `--json` prints: each attack, and why those by a job could not be shown, if so.

    Raises:
        RuntimeError: an attack was not refused.
    """
    if folder.exists():
        raise DemoUnknown(f"{folder} exists already.")
    folder.mkdir(mode=0o700, parents=True)
    return _Play(folder, quiet).all()


class _Play:
    def __init__(self, folder: Path, quiet: bool) -> None:
        self.folder = folder
        self.quiet = quiet
        self.began = time.monotonic()
        self.tried: list[Tried] = []

    def all(self) -> dict[str, Any]:
        self.say(SIMULATED)
        with ExitStack() as stack:
            with self.working("two parties seal, sign and start their keepers"):
                scene = stack.enter_context(victims(self.folder))
            self.say(
                "North, a hospital, and modelco, a developer, have signed a contract at level 5. An honest run has just "
                "been granted its keys. Now whoever is not honest tries."
            )
            for each in ATTACKS:
                with self.working(each.tried):
                    refused = each.carry_out(scene)
                self.note(each.id, each.by, each.tried, each.rules, refused)
            unavailable = self.jobs()
        seconds = round(time.monotonic() - self.began, 1)
        self.say(
            f"\n{len(self.tried)} attacks, each refused, in {seconds:.0f} s. All that are tested: docs/attacks.md."
        )
        return {
            "simulated": True,
            "attacks": [asdict(each) for each in self.tried],
            "jobs_not_shown": unavailable,
            "home": str(self.folder),
            "seconds": seconds,
        }

    def jobs(self) -> str | None:
        """Those by a job; why they could not be shown, or None."""
        for each in JOB_ATTACKS:
            try:
                with self.working(each.tried):
                    refused = self.job(each)
            except WallsUnavailable as error:
                self.say(f"\nWhat a job tries cannot be shown: {error.code} {plain(error.detail)}")
                return f"{error.code} {error.detail}"
            self.note(each.id, _BY_JOB, each.tried, each.rules, refused)
        return None

    def job(self, attack: JobAttack) -> Refused:
        without, behind = try_job(attack, self.folder)
        if behind.got:
            raise RuntimeError(f"an attack was not refused, the job has {behind.got}")
        return Refused(without.got and f"without walls, as at L1: {without.got}", behind.code, behind.said)

    def note(self, name: str, by: str, tried: str, rules: str, refused: Refused) -> None:
        self.tried.append(Tried(name, by, tried, refused.without, refused.code, refused.said, rules))
        self.say(f"\n[bold cyan]{len(self.tried)}[/] [bold]{plain(tried)}[/]  ({by}; {name})")
        if refused.without:
            self.say(f"   [yellow]open[/]    {plain(refused.without)}")
        code = "found nothing:" if refused.code == NOTHING else f"[bold]{refused.code}[/]"
        self.say(f"   [red]refused[/] {code} {plain(refused.said)}  ({rules})")

    def say(self, text: str) -> None:
        if not self.quiet:
            say(text)

    def working(self, text: str) -> AbstractContextManager[None]:
        return working(text, quiet=self.quiet)
