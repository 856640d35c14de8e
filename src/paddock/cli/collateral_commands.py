"""The commands below `paddock keeper collateral`: what your keeper knows of platforms, and how it gets there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from paddock.cli.evidence_files import read_evidence, read_file
from paddock.cli.options import DEFAULT_HOME, HomeOption, JsonOption
from paddock.cli.output import notice, plain, say, say_json, table
from paddock.cli.policy_commands import own_keeper
from paddock.crypto.moment import write_moment
from paddock.errors import CollateralInvalid, PaddockError, VendorUnavailable
from paddock.evidence.collateral import CERTIFICATE, Collateral, CollateralItem, CollateralNeed
from paddock.keeper.collateral import CollateralStore, dates_of, needs_of, recognise
from paddock.keeper.fetching import CollateralFetcher
from paddock.keeper.home import PolicyFolder
from paddock.party.files import write_bytes

collateral = typer.Typer(no_args_is_help=True, help="What vendors publish about platforms, as your keeper keeps it.")


@collateral.command("fetch")
def collateral_fetch(
    evidence: Annotated[
        list[Path] | None,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="Files with evidence of the platform; none: what refused runs needed, and all that it got before.",
        ),
    ] = None,
    kind: Annotated[str | None, typer.Option(help="The provider of the files, where their bytes do not say.")] = None,
    mirror: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN=URL", help="Ask URL in place of a vendor's address, e.g. a cache of your own."),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Get certificates, revocation lists and states of firmware from their vendors.

    A keeper that refused evidence because something was missing or too old remembers what; without arguments, that and
    all that was fetched before is got anew. What comes is verified when evidence is judged, not here.

    Example: paddock keeper collateral fetch quote.bin --home north
    """
    own = own_keeper(home)
    store = CollateralStore(own.folder)
    needs = _needs(evidence or [], kind) if evidence else store.needs()
    if evidence and needs:
        store.remember(needs)
    now = datetime.now(UTC)
    fetched: list[CollateralItem] = []
    failed: dict[str, PaddockError] = {}

    def progress(text: str) -> None:
        if not json_output:
            notice(plain(f"asking {text}" if "://" in text else text))

    with CollateralFetcher(mirrors=_mirrors(mirror or []), progress=progress) as fetcher:
        for need in needs:
            try:
                items = fetcher.fetch(need, now=now)
            except VendorUnavailable as error:  # the others may be had
                failed[need.key] = error
                continue
            store.store(items)
            fetched += items
    if json_output:
        errors = {key: error.as_dict() for key, error in failed.items()}
        say_json({"fetched": [item.key for item in fetched], "failed": errors})
    else:
        _say_fetched(needs, fetched, failed)
    if failed:
        raise typer.Exit(VendorUnavailable.exit_code)


@collateral.command("import")
def collateral_import(
    files: Annotated[
        list[Path], typer.Argument(help="Bundles, Intel collateral in JSON, certificates, revocation lists.")
    ],
    key: Annotated[
        str | None,
        typer.Option(help="The key of the one item in the file, as a refusal names it; else from its content."),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Bring collateral from files, for a keeper without a network: each is recognised from its bytes.

    Example: paddock keeper collateral import bundle.json vcek.der --home north
    """
    store = CollateralStore(own_keeper(home).folder)
    items = [item for path in files for item in read_collateral(path)]
    if key is not None:
        if len(items) != 1:
            raise CollateralInvalid(f"One key is for one item; there are {len(items)}.")
        items = [CollateralItem(items[0].kind, key, items[0].fetched, items[0].body)]
    store.store(items)
    say_json({"imported": [item.key for item in items]}) if json_output else say(
        plain("\n".join(f"imported {item.key} ({item.kind})" for item in items))
    )


@collateral.command("show")
def collateral_show(
    output: Annotated[
        Path | None, typer.Option(help="Write all of it to this file, for `import` on a keeper without a network.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Show what your keeper knows of platforms: when it was fetched, when the vendor issued it, whether it is too old.

    Example: paddock keeper collateral show --output bundle.json --home north
    """
    own = own_keeper(home)
    store = CollateralStore(own.folder)
    known = store.load()
    if output is not None:
        write_bytes(output, known.to_bytes())
    rows = [_facts(item, own, datetime.now(UTC)) for item in sorted(known, key=lambda each: each.key)]
    missing = [need.key for need in store.needs() if known.get(need.key) is None]
    if json_output:
        say_json({"items": rows, "missing": missing, "digest": known.digest()})
        return
    columns = ["key", "kind", "fetched", "issued by its vendor", "good until", "by your policy"]
    names = ("key", "kind", "fetched", "issued", "until", "state")
    table("", columns, [[str(row[name] or "") for name in names] for row in rows])
    if missing:
        say(plain(f"Needed and not here: {', '.join(missing)}. Get it with: paddock keeper collateral fetch"))
    if output is not None:
        say(plain(f"Written to {output}: {known.digest()}"))


@collateral.command("forget")
def collateral_forget(
    keys: Annotated[list[str], typer.Argument(help="Keys, as `show` lists them.")],
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Drop items that are not used any more.

    Example: paddock keeper collateral forget intel/sgx/00A067110000/processor --home north
    """
    left = CollateralStore(own_keeper(home).folder).forget(keys)
    say_json({"left": len(left)}) if json_output else say(f"{len(left)} items are left.")


def read_collateral(path: Path) -> Collateral:
    """The items in one file.

    Raises:
        CollateralInvalid: it cannot be read or is of no known form.
    """
    try:
        data = path.read_bytes()
        changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError as error:
        raise CollateralInvalid(f"{path}: {error.strerror}.") from error
    try:
        return Collateral(recognise(data, write_moment(changed)))
    except CollateralInvalid as error:
        raise CollateralInvalid(f"{path}: {error.detail}") from error


def _needs(files: list[Path], kind: str | None) -> tuple[CollateralNeed, ...]:
    found: dict[str, CollateralNeed] = {}
    for path in files:
        found |= {need.key: need for need in needs_of(read_evidence(read_file(path), kind))}
    return tuple(found.values())


def _mirrors(options: list[str]) -> dict[str, str]:
    found = {}
    for text in options:
        origin, equals, url = text.partition("=")
        if not equals or not url or not origin.startswith(("https://", "http://")):
            raise typer.BadParameter("a mirror is written ORIGIN=URL", param_hint="--mirror")
        found[origin] = url
    return found


def _say_fetched(
    needs: tuple[CollateralNeed, ...], fetched: list[CollateralItem], failed: dict[str, PaddockError]
) -> None:
    if not needs:
        say(
            "Nothing is needed: name a file with evidence of the platform, or ask for a run and fetch after its refusal."
        )
    for item in fetched:
        say(plain(f"got {item.key} ({item.kind}, {len(item.body)} bytes)"))
    for key, error in failed.items():
        notice(plain(f"not got: {key}: {error.detail}"))


def _facts(item: CollateralItem, own: PolicyFolder, now: datetime) -> dict[str, Any]:
    dates = dates_of(item)
    most = timedelta(seconds=own.policy().max_collateral_age_seconds)
    state = ""
    if dates.until is not None and now > dates.until:
        state = "out of date"
    elif dates.issued is not None and item.kind != CERTIFICATE:  # a certificate's age is its validity
        age = now - dates.issued
        state = f"{'TOO OLD' if age > most else 'good'}: {age.days} of {most.days} days"
    elif dates.issued is not None:
        state = "good"
    return {
        "key": item.key,
        "kind": item.kind,
        "fetched": item.fetched,
        "bytes": len(item.body),
        "issued": None if dates.issued is None else write_moment(dates.issued),
        "until": None if dates.until is None else write_moment(dates.until),
        "state": state,
    }
