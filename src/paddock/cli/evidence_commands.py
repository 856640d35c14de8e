"""The commands below `paddock evidence`: judge a piece of evidence by hand, and list the vendors' roots."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from paddock.attest import collect
from paddock.cli.collateral_commands import read_collateral
from paddock.cli.evidence_files import name_of, read_evidence, read_file
from paddock.cli.options import JsonOption
from paddock.cli.output import SIMULATED, plain, say, say_json, table
from paddock.cli.policy_commands import read_policy_file, read_root
from paddock.cli.policy_words import shipped_roots, suggested_roots
from paddock.crypto.canonical import canonical
from paddock.crypto.moment import read_moment, write_moment
from paddock.errors import (
    AttesterUnavailable,
    BindingMismatch,
    EvidenceMalformed,
    EvidenceNotTrusted,
    MeasurementRefused,
    TrustPolicyInvalid,
)
from paddock.evidence.binding import REPORT_DATA_BYTES, check_report_data
from paddock.evidence.claims import Claims, EvidenceSet
from paddock.evidence.collateral import Collateral
from paddock.evidence.event_log import confirm_cc_event_log
from paddock.evidence.provider import verify_evidence
from paddock.evidence.trust import BUILT_IN, SgxTrust, SimulatedTrust, TrustPolicy, VendorTrust
from paddock.evidence.vector import tier_of, trust_vector, worst
from paddock.party.files import write_bytes

evidence = typer.Typer(no_args_is_help=True, help="Judge attestation evidence by hand; the vendors' roots.")
_MAX_LOG_BYTES = 16 << 20


@evidence.command("verify")
def evidence_verify(
    *,
    file: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="Evidence: a vendor's bytes, hex text of them, what other tools write, or a Conceptual Message Wrapper.",
        ),
    ],
    policy: Annotated[
        Path | None,
        typer.Option(help="A trust policy, e.g. a keeper's trust.toml. Not together with the options below."),
    ] = None,
    root: Annotated[
        list[str] | None,
        typer.Option(
            help="What signatures must lead to: a name (paddock evidence roots), sha256: of a public key, a PEM file, "
            "or a simulator's key. Repeatable."
        ),
    ] = None,
    accept_status: Annotated[
        list[str] | None,
        typer.Option(metavar="STATUS", help="A further state of the platform to accept beside UpToDate."),
    ] = None,
    accept_advisory: Annotated[list[str] | None, typer.Option(metavar="ID", help="An advisory that may apply.")] = None,
    allow: Annotated[
        list[str] | None, typer.Option(metavar="SETTING", help="A setting that may be on, e.g. smt.")
    ] = None,
    require_revocation: Annotated[
        bool, typer.Option("--require-revocation", help="Refuse certificates without a current revocation list.")
    ] = False,
    collateral: Annotated[
        list[Path] | None,
        typer.Option(help="Collateral: a bundle, Intel's as JSON, a certificate or revocation list. Repeatable."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="The time to judge by, e.g. 2025-07-01T00:00:00Z; without it, now."),
    ] = None,
    nonce: Annotated[
        str | None, typer.Option(metavar="HEX", help="What the evidence must carry: its report data or nonce.")
    ] = None,
    measurement: Annotated[
        str | None, typer.Option(metavar="SHA256", help="The measurement that it must have.")
    ] = None,
    event_log: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="A CC event log (CCEL) that must give the registers; its facts are then shown.",
        ),
    ] = None,
    certificates: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="A GPU's certificates in PEM, leaf first, where FILE is its report alone."
        ),
    ] = None,
    kind: Annotated[str | None, typer.Option(help="The provider, where the bytes do not say which.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Say whether evidence is genuine and acceptable; only then exit with 0. A refusal exits with 3 and its code.

    Nothing is trusted by itself: without --policy or --root everything is refused. Everything else begins at its
    strictest. Each piece of a collection is judged; which pieces a contract demands together is for a keeper to say.

    Example: paddock evidence verify quote.bin --root intel-sgx --collateral collateral.json --nonce 00ff…
    """
    pieces = read_evidence(read_file(file), kind, None if certificates is None else read_file(certificates))
    now = _time(at)
    options = _Options(root or [], accept_status or [], accept_advisory or [], allow or [], require_revocation)
    trust = _policy(policy, options, pieces)
    known = Collateral()
    for path in collateral or []:
        known = known.merged(read_collateral(path))
    found = {
        label: verify_evidence(piece, policy=trust, collateral=known, now=now)
        for label, piece in sorted(pieces.pieces.items())
    }
    for label, claims in found.items():
        _check_nonce(nonce, claims)
        if event_log is not None and label == "environment":
            found[label] = confirm_cc_event_log(_log(event_log), claims)[1]
    environment = found["environment"]
    if measurement is not None and environment.measurement != measurement:
        raise MeasurementRefused(f"It is {environment.measurement}.")
    facts = {label: claim_facts(label, claims, checked=measurement is not None) for label, claims in found.items()}
    if json_output:
        simulated = any(claims.simulated for claims in found.values())
        say_json({"accepted": True, "simulated": simulated, "judged_at": write_moment(now), "pieces": facts})
        return
    for label, claims in found.items():
        _say_claims(label, claims, facts[label])
    say(_closing(nonce, measurement, now))


@evidence.command("collect")
def evidence_collect(
    attester: Annotated[
        str,
        typer.Option(help="Which device, e.g. tsm, gramine, tpm, tsm+gpu-0=nvidia; auto finds one (paddock doctor)."),
    ],
    nonce: Annotated[
        str,
        typer.Option(
            metavar="HEX", help="The 64 bytes of report data to bind, chosen by whoever verifies: openssl rand -hex 64."
        ),
    ],
    output: Annotated[Path, typer.Option(help="File for the evidence, as `verify` reads it.")],
    json_output: JsonOption = False,
) -> None:
    """Ask the devices of this machine for evidence, over a nonce that somebody else chose.

    Example: paddock evidence collect --attester tsm --nonce 00ff… --output evidence.json
    """
    report_data = _hex(nonce)
    if len(report_data) != REPORT_DATA_BYTES:
        raise typer.BadParameter(f"report data has {REPORT_DATA_BYTES} bytes", param_hint="--nonce")
    found = collect(attester, report_data)
    if found is None:
        raise AttesterUnavailable("'none' asks no device.")
    write_bytes(output, canonical(found.to_wrapper()))
    kinds = {label: name_of(piece) for label, piece in found.pieces.items()}
    if json_output:
        say_json({"output": str(output), "digest": found.digest(), "pieces": kinds})
        return
    say(
        plain(
            f"Written to {output}: {', '.join(f'{label} ({name})' for label, name in kinds.items())}. {found.digest()}"
        )
    )


@evidence.command("roots")
def evidence_roots(json_output: JsonOption = False) -> None:
    """List the vendors' roots that come with Paddock, with the digests of their public keys. None is trusted by itself.

    Example: paddock evidence roots
    """
    found = shipped_roots()
    if json_output:
        say_json([root.as_dict() for root in found])
        return
    columns = ["name", "digest of its public key", "subject", "valid until"]
    table("", columns, [(root.name, root.digest, root.subject, root.until) for root in found])
    say("Compare a digest with the vendor's own publication before you name its root in a policy.")


class _Options:
    """What the command line accepts in place of a policy."""

    def __init__(
        self, roots: list[str], statuses: list[str], advisories: list[str], allow: list[str], require_revocation: bool
    ) -> None:
        self.roots = roots
        self.statuses = statuses
        self.advisories = advisories
        self.allow = allow
        self.require_revocation = require_revocation

    def given(self) -> bool:
        return bool(self.roots or self.statuses or self.advisories or self.allow or self.require_revocation)


def _policy(path: Path | None, options: _Options, pieces: EvidenceSet) -> TrustPolicy:
    names = sorted({name_of(piece) for piece in pieces.pieces.values()})
    if path is not None:
        if options.given():
            raise typer.BadParameter(
                "the policy says what is accepted: not together with --root, --accept-… or --allow"
            )
        return read_policy_file(path)
    if not options.roots:
        known = [f"--root {root}" for name in names for root in suggested_roots(name)]
        hint = f", e.g. {' '.join(known)}" if known else ""
        raise EvidenceNotTrusted(f"Nothing is trusted by itself: pass --policy FILE or --root{hint}.")
    sections: dict[str, Any] = {}
    try:
        for name in names:
            section = _section(name, options)
            if name in BUILT_IN:
                sections[name] = section
            else:
                sections.setdefault("plugins", {})[name] = section.model_dump()
        return TrustPolicy.model_validate(sections)
    except ValidationError as error:
        row = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise TrustPolicyInvalid(f"{'.'.join(map(str, row['loc']))}: {row['msg']}.") from error


def _section(name: str, options: _Options) -> VendorTrust | SimulatedTrust:
    common: dict[str, Any] = {
        "tcb_statuses": ["UpToDate", *options.statuses],
        "advisories": options.advisories,
        "allow": options.allow,
    }
    if name == "simulated":
        return SimulatedTrust(keys=options.roots, **common)
    roots = [read_root(text) for text in options.roots]
    kind = SgxTrust if name == "sgx" else VendorTrust
    return kind(roots=roots, require_revocation=options.require_revocation, **common)


def _time(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        return read_moment(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--at") from error


def _check_nonce(text: str | None, claims: Claims) -> None:
    if text is None:
        return
    wanted = _hex(text)
    if len(wanted) == REPORT_DATA_BYTES:
        check_report_data(wanted, claims.report_data)
    elif wanted != claims.report_data:
        raise BindingMismatch(f"It carries {claims.report_data.hex()}.")


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise typer.BadParameter("it is written in hex digits", param_hint="--nonce") from error


def _log(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_LOG_BYTES)
    except OSError as error:
        raise EvidenceMalformed(f"{path}: {error.strerror}.") from error


def claim_facts(label: str, claims: Claims, *, checked: bool) -> dict[str, Any]:
    """The claims of one piece as JSON values.

    Args:
        label: which piece it is.
        claims: of verified evidence.
        checked: whether its measurement was held against an expected one.
    """
    vector = trust_vector(claims, label=label, reference=checked)
    return {
        "provider": claims.provider,
        "tee": claims.tee,
        "simulated": claims.simulated,
        "measurement": claims.measurement,
        "registers": dict(sorted(claims.registers.items())),
        "report_data": claims.report_data.hex(),
        "signer": claims.signer,
        "issued": None if claims.issued is None else write_moment(claims.issued),
        "tcb_status": claims.tcb_status,
        "advisories": list(claims.advisories),
        "svns": dict(sorted(claims.svns.items())),
        "settings": sorted(claims.settings),
        "collateral": list(claims.collateral),
        "collateral_issued": None if claims.collateral_issued is None else write_moment(claims.collateral_issued),
        "details": dict(sorted(claims.details.items())),
        "status": worst(map(tier_of, vector.values())).value,
        "trust_vector": vector,
    }


def _say_claims(label: str, claims: Claims, facts: dict[str, Any]) -> None:
    say(f"[bold]{plain(label)}[/]: evidence of {plain(claims.provider)} ({plain(claims.tee)}), genuine and accepted")
    if claims.simulated:
        say(SIMULATED)
    rows = [("measurement", claims.measurement)]
    rows += [(f"  {name}", value) for name, value in facts["registers"].items()]
    rows.append(("report data", claims.report_data.hex()))
    rows.append(("led to", claims.signer))
    for name in ("issued", "tcb_status", "collateral_issued"):
        if facts[name] is not None:
            rows.append((name.replace("_", " "), facts[name]))
    rows.append(("advisories", ", ".join(claims.advisories) or "none"))
    rows.append(("settings", ", ".join(facts["settings"]) or "none that weakens it"))
    rows += [(name, str(value)) for name, value in {**facts["svns"], **facts["details"]}.items()]
    rows.append(
        ("worth (AR4SI)", f"{facts['status']}: {', '.join(f'{k} {v}' for k, v in facts['trust_vector'].items())}")
    )
    table("", ["claim", "value"], rows)


def _closing(nonce: str | None, measurement: str | None, now: datetime) -> str:
    left = []
    if nonce is None:
        left.append("that it is fresh and made for you (--nonce)")
    if measurement is None:
        left.append("that what it measured is what you expect (--measurement)")
    text = f"Judged at {write_moment(now)}."
    return f"{text} [yellow]Not checked: {' and '.join(left)}.[/]" if left else text
