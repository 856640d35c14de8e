"""The commands below `paddock keeper policy`: what evidence a keeper accepts, in words, and how to change it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

import tomlkit
import typer
from tomlkit.exceptions import TOMLKitError

from paddock.cli.options import DEFAULT_HOME, HomeOption, JsonOption, open_party
from paddock.cli.output import SIMULATED, plain, say, say_json
from paddock.cli.policy_words import as_json, explain, shortcomings, template
from paddock.errors import TrustPolicyInvalid
from paddock.evidence.roots import read_anchor
from paddock.evidence.trust import BUILT_IN, TrustPolicy, read_trust_policy
from paddock.keeper.collateral import CollateralStore
from paddock.keeper.home import KeeperHome, PolicyFolder
from paddock.party.files import one_at_a_time, write_bytes
from paddock.party.home import Home

policy = typer.Typer(no_args_is_help=True, help="What evidence your keeper accepts.")
_KEY = re.compile(r"[0-9a-f]{64}")
_BY_KEY = frozenset({"simulated", "host"})
_PATH = re.compile(r"[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,3}")
_MAX_FILE_BYTES = 1 << 18


def keeper_home(home: Home) -> KeeperHome:
    """The keeper that lives in a party's home."""
    return KeeperHome.load(home.keeper_folder)


def own_keeper(home: Path) -> PolicyFolder:
    """The policy of the keeper in the home that a command was given, or of one that is kept elsewhere for it."""
    folder = Home.load(home.expanduser()).keeper_folder
    return PolicyFolder(folder) if KeeperHome.is_elsewhere(folder) else KeeperHome.load(folder)


@policy.command("explain")
def policy_explain(
    home: HomeOption = DEFAULT_HOME,
    as_template: Annotated[
        bool, typer.Option("--template", help="Print a policy with every member explained instead; needs no home.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Say in plain words what evidence is accepted per provider and level, what is refused, and what is missing.

    Example: paddock keeper policy explain --home north
    """
    if as_template:
        say_json({"template": template()}) if json_output else typer.echo(template(), nl=False)
        return
    own = own_keeper(home)
    trust = own.policy()
    if json_output:
        say_json({**as_json(trust), "file": str(own.trust_file()), "digest": own.policy_digest()})
        return
    say(plain("\n".join(explain(trust))))
    if trust.simulated is not None and trust.simulated.keys:
        say(SIMULATED)
    say(plain(f"\nfile: {own.trust_file()}   {own.policy_digest()}"))


@policy.command("show")
def policy_show(home: HomeOption = DEFAULT_HOME, json_output: JsonOption = False) -> None:
    """Show the trust policy's file as it stands: with nothing configured, everything is refused.

    Example: paddock keeper policy show --home north
    """
    own = own_keeper(home)
    trust = own.policy()
    if json_output:
        say_json(trust.model_dump(mode="json"))
        return
    if trust.accepts_nothing():
        say("This keeper accepts no evidence at all, so it releases no key (level L1 aside).")
    for key in trust.simulated.keys if trust.simulated else []:
        say(f"accepts the simulator {key}\n{SIMULATED}")
    say(plain(own.trust_file().read_text(encoding="utf-8")))
    say(plain(f"file: {own.trust_file()}"))


@policy.command("check")
def policy_check(
    home: HomeOption = DEFAULT_HOME,
    file: Annotated[Path | None, typer.Option(help="Check this file instead of your keeper's.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Check that the policy can be read, and list what can never work or is laxer than it looks.

    Example: paddock keeper policy check --file trust.toml
    """
    trust = read_policy_file(file) if file is not None else own_keeper(home).policy()
    found = shortcomings(trust)
    if json_output:
        say_json({"valid": True, "accepts_nothing": trust.accepts_nothing(), "to_be_looked_at": found})
        return
    say("It can be read." + (" It accepts nothing." if trust.accepts_nothing() else ""))
    for problem in found:
        say(plain(f"- {problem}"))


@policy.command("trust")
def policy_trust(
    vendor: Annotated[
        str, typer.Argument(help=f"One of {', '.join(name for name in BUILT_IN if name not in _BY_KEY)}.")
    ],
    root: Annotated[
        list[str],
        typer.Option(
            help="A root's name (paddock evidence roots), sha256: of a public key, or a PEM file. Repeatable."
        ),
    ],
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Accept a vendor's evidence that leads to a root, at its strictest; the file's comments stay.

    Example: paddock keeper policy trust sgx --root intel-sgx --home north
    """
    if vendor not in BUILT_IN or vendor in _BY_KEY:
        raise TrustPolicyInvalid(f"There is no vendor '{plain(vendor)}'.")
    own = own_keeper(home)
    wanted = [read_root(text) for text in root]

    def change(document: tomlkit.TOMLDocument) -> None:
        _add(_table(document, vendor), "roots", wanted)

    trust = _edit(own, change)
    if json_output:
        say_json(as_json(trust))
        return
    say(
        f"Your keeper accepts \\[{vendor}] from now on, at its strictest. Look at it with: paddock keeper policy explain"
    )


@policy.command("set")
def policy_set(
    member: Annotated[str, typer.Argument(help="Which, e.g. max_age_seconds, sgx.tcb_statuses, levels.L5.require.")],
    values: Annotated[list[str], typer.Argument(help="Its value, or the values of a list.")],
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Set one member of the policy; the file's comments stay, and a policy that could not be read is not written.

    Example: paddock keeper policy set sgx.tcb_statuses UpToDate SWHardeningNeeded --home north
    """
    trust = _edit(own_keeper(home), lambda document: _set(document, member, values))
    say_json(as_json(trust)) if json_output else say(
        plain(f"Set {member}. Look at it with: paddock keeper policy explain")
    )


@policy.command("remove")
def policy_remove(
    member: Annotated[str, typer.Argument(help="Which member or section, e.g. tdx or sgx.allow.")],
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Remove a member, which falls back to its strictest, or a section, so that its provider is refused.

    Example: paddock keeper policy remove simulated --home north
    """

    def change(document: tomlkit.TOMLDocument) -> None:
        *path, last = _path(member)
        table: Any = document
        for name in path:
            table = table.get(name, {})
        if last not in table:
            raise TrustPolicyInvalid(f"It does not hold {plain(member)}.")
        del table[last]

    trust = _edit(own_keeper(home), change)
    say_json(as_json(trust)) if json_output else say(plain(f"Removed {member}."))


@policy.command("allow-simulator")
def policy_allow_simulator(
    key: Annotated[str, typer.Argument(help="The simulator's public key: 64 hex digits, from its operator.")],
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Accept a simulator in place of hardware. It protects nobody from the machine's operator.

    Example: paddock keeper policy allow-simulator 0f1e… --home north
    """
    allow_simulator(own_keeper(home), key)
    say_json({"allowed": key}) if json_output else say(f"Your keeper accepts that simulator from now on.\n{SIMULATED}")


@policy.command("allow-host")
def policy_allow_host(
    key: Annotated[str, typer.Argument(help="The host's public key: 64 hex digits, from its operator (host key).")],
    tpm: Annotated[
        list[str] | None,
        typer.Option(
            help="Accept its TPM's quotes beside its statements, at level 3: sha256: of the TPM's attestation key, or a "
            "PEM file of whoever certifies it. Repeatable."
        ),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Accept a host's statements about its runtime and walls, at level 2. They hold against jobs, not against the host.

    Example: paddock keeper policy allow-host 0f1e… --home north
    """
    if not _KEY.fullmatch(key):
        raise TrustPolicyInvalid("A host's key has 64 lower-case hex digits.")
    roots = [read_root(text) for text in tpm or []]

    def change(document: tomlkit.TOMLDocument) -> None:
        _add(_table(document, "host"), "keys", [key])
        if roots:
            _add(_table(document, "tpm"), "roots", roots)
            _add(_table(_table(document, "levels"), "L3"), "allow", ["host"])

    trust = _edit(own_keeper(home), change)
    if json_output:
        say_json(as_json(trust))
        return
    say("Your keeper accepts that host from now on. Look at it with: paddock keeper policy explain")


@policy.command("push")
def policy_push(home: HomeOption = DEFAULT_HOME, json_output: JsonOption = False) -> None:
    """Have a keeper that is kept elsewhere judge by your home's policy and collateral from now on.

    Example: paddock keeper policy push --home north
    """
    party = open_party(home)
    folder = PolicyFolder(party.home.keeper_folder)
    folder.policy()
    known = CollateralStore(folder.folder).load()
    answer = party.set_keeper_policy(folder.trust_file().read_text("utf-8"), known)
    if json_output:
        say_json(answer)
        return
    say(
        plain(
            f"Your keeper judges by it from now on: {answer['policy']}, entry {answer['ledger_index']} of its ledger."
        )
    )


def allow_simulator(own: PolicyFolder, key: str) -> None:
    """Add a simulator's key to the trust policy, keeping the file's comments.

    Raises:
        TrustPolicyInvalid: not such a key, or the file cannot be read.
    """
    if not _KEY.fullmatch(key):
        raise TrustPolicyInvalid("A simulator's key has 64 lower-case hex digits.")

    def change(document: tomlkit.TOMLDocument) -> None:
        _add(_table(document, "simulated"), "keys", [key])

    _edit(own, change)


def read_policy_file(path: Path) -> TrustPolicy:
    """A trust policy from any file.

    Raises:
        TrustPolicyInvalid: it cannot be read.
    """
    try:
        data = path.read_bytes()
        if len(data) > _MAX_FILE_BYTES:
            raise TrustPolicyInvalid(f"{path}: it is too large.")
        return read_trust_policy(data.decode("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise TrustPolicyInvalid(f"{path}: {getattr(error, 'strerror', None) or 'it is not UTF-8'}.") from error


def read_root(text: str) -> str:
    """One entry of `roots` as the policy holds it: a name, a digest, or the content of a PEM file.

    Raises:
        TrustPolicyInvalid: none of these.
    """
    path = Path(text).expanduser()
    try:
        if not text.startswith("sha256:") and ("/" in text or "." in text) and path.is_file():
            text = path.read_bytes()[:_MAX_FILE_BYTES].decode("ascii")
        read_anchor(text)
    except (ValueError, OSError) as error:
        raise TrustPolicyInvalid(f"{path.name[:100]}: {error}.") from error
    return text


def _edit(own: PolicyFolder, change: Any) -> TrustPolicy:
    """Change the policy's file in place; nothing is written that could not be read again."""
    with one_at_a_time(own.trust_file()):
        own.policy()
        document = tomlkit.parse(own.trust_file().read_text(encoding="utf-8"))
        try:
            change(document)
        except TOMLKitError as error:
            raise TrustPolicyInvalid(f"{error}.") from error
        text = tomlkit.dumps(document)
        try:
            trust = read_trust_policy(text)
        except TrustPolicyInvalid as error:
            raise TrustPolicyInvalid(f"{error.detail} Nothing was changed.") from error
        write_bytes(own.trust_file(), text.encode("utf-8"))
    return trust


def _add(table: Any, member: str, values: list[str]) -> None:
    found = table.setdefault(member, tomlkit.array())
    for value in values:
        if value not in list(found):
            found.append(value)


def _table(parent: Any, name: str) -> Any:
    if name not in parent:
        parent[name] = tomlkit.table()
    if not isinstance(parent[name], dict):
        raise TrustPolicyInvalid(f"{plain(name)} is no section.")
    return parent[name]


def _path(member: str) -> list[str]:
    if not _PATH.fullmatch(member):
        raise TrustPolicyInvalid("A member is named like sgx.tcb_statuses.")
    return member.split(".")


def _set(document: tomlkit.TOMLDocument, member: str, values: list[str]) -> None:
    *path, last = _path(member)
    table: Any = document
    for name in path:
        table = _table(table, name)
    read = [_value(text) for text in values]
    if len(read) != 1 or _is_list(path, last):
        table[last] = read if not (len(read) == 1 and isinstance(read[0], list)) else read[0]
    else:
        table[last] = read[0]


def _is_list(path: list[str], last: str) -> bool:
    """Whether the policy's types say that a member is a list, so that one value is a list of one."""
    schema = TrustPolicy.model_json_schema()
    node: dict[str, Any] = schema
    for name in (*path, last):
        while "$ref" in node or "anyOf" in node:
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]] if "$ref" in node else node["anyOf"][0]
        node = node.get("properties", {}).get(name) or node.get("additionalProperties") or {}
        if not isinstance(node, dict):
            return False
    return node.get("type") == "array"


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
