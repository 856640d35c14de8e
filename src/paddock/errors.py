"""The error tree of Paddock.

    PaddockError
    ├── Refused            the other side's input did not pass          exit 3
    │   ├── CryptoRefused      E-CRYPTO-*
    │   ├── SealRefused        E-SEAL-*
    │   ├── ContractRefused    E-CONTRACT-*
    │   ├── EvidenceRefused    E-EVIDENCE-*
    │   ├── ReleaseRefused     E-RELEASE-*
    │   ├── LedgerRefused      E-LEDGER-*
    │   ├── ProgramRefused     E-PROGRAM-*
    │   ├── JobRefused         E-JOB-*
    │   ├── RunRefused         E-RUN-*
    │   ├── ReceiptRefused     E-RECEIPT-*
    │   ├── HubRefused         E-HUB-*
    │   ├── PartyRefused       E-PARTY-*
    │   └── QueryRefused       E-QUERY-*
    ├── Unavailable        network, store, hardware: may be tried again exit 4
    └── Misconfigured      a setting, a file, a path of this machine     exit 5

One class per code. The class's docstring says what happened, `action` says what to do about it; both are public
(docs/errors.md is made from them) and neither ever holds a secret. A programmer's fault (`RuntimeError`,
`TypeError`) stays outside this tree.
"""

from __future__ import annotations

from typing import ClassVar

EXIT_REFUSED = 3
EXIT_UNAVAILABLE = 4
EXIT_MISCONFIGURED = 5

CATALOGUE: dict[str, type[PaddockError]] = {}
"""Every code and its class, filled as the classes below are defined."""


class PaddockError(Exception):
    """Base of everything that Paddock raises on purpose.

    Args:
        detail: one public sentence about this very case: names, sizes, digests; never key, plaintext or path of
            another party.
    """

    code: ClassVar[str] = ""
    action: ClassVar[str] = ""
    branch: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, detail: str = "") -> None:
        self.detail = detail
        super().__init__(detail)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        code = cls.__dict__.get("code", "")
        if not code:
            return
        if code in CATALOGUE:
            raise RuntimeError(f"error code {code} is used twice")
        if not cls.__doc__ or not cls.action:
            raise RuntimeError(f"error code {code} needs a docstring and an action")
        CATALOGUE[code] = cls

    @classmethod
    def summary(cls) -> str:
        """The first line of the class's docstring: what happened, in one sentence."""
        return (cls.__doc__ or "").strip().splitlines()[0]

    def __str__(self) -> str:
        text = self.summary() if not self.detail else f"{self.summary()} {self.detail}"
        return f"{text} {self.action}".strip()

    def as_dict(self) -> dict[str, str]:
        """The public form that services send and `--json` prints."""
        return {
            "code": self.code,
            "branch": self.branch,
            "message": self.summary(),
            "detail": self.detail,
            "action": self.action,
        }


class Refused(PaddockError):
    """The other side's input did not pass a check."""

    branch = "refused"
    exit_code = EXIT_REFUSED


class Unavailable(PaddockError):
    """Something outside this process did not answer: network, store, disk, hardware."""

    branch = "unavailable"
    exit_code = EXIT_UNAVAILABLE


class Misconfigured(PaddockError):
    """A setting, file or path on this machine is wrong."""

    branch = "misconfigured"
    exit_code = EXIT_MISCONFIGURED


def from_dict(body: object, fallback: type[PaddockError] = Unavailable) -> PaddockError:
    """Rebuild an error that a service sent; an unknown code becomes `fallback`.

    The peer is not trusted: only the code chooses the class, and the detail is cut and made printable.
    """
    if not isinstance(body, dict):
        return fallback("The answer was not understood.")
    cls = CATALOGUE.get(str(body.get("code", "")), fallback)
    detail = "".join(ch for ch in str(body.get("detail", ""))[:500] if ch.isprintable())
    return cls(detail)


# --- rooms' branches ------------------------------------------------------------------------------------------


class CryptoRefused(Refused):
    """A cryptographic check failed."""


class SealRefused(Refused):
    """A sealed volume did not pass."""


class ContractRefused(Refused):
    """A contract did not pass."""


class EvidenceRefused(Refused):
    """Evidence did not pass."""


class ReleaseRefused(Refused):
    """A keeper refuses to release keys."""


class LedgerRefused(Refused):
    """A ledger's proof or checkpoint did not pass."""


class ProgramRefused(Refused):
    """A sealed program did not pass."""


class JobRefused(Refused):
    """A job cannot run on what it was given."""


class RunRefused(Refused):
    """A run was refused or ended."""


class ReceiptRefused(Refused):
    """A receipt did not pass."""


class HubRefused(Refused):
    """The hub refuses a request."""


class PartyRefused(Refused):
    """An identity did not pass."""


class QueryRefused(Refused):
    """A query did not pass."""


# --- crypto ---------------------------------------------------------------------------------------------------


class SignatureRefused(CryptoRefused):
    """A signature is not valid for these bytes and this key."""

    code = "E-CRYPTO-01"
    action = "The message was changed on its way or signed by somebody else: do not use it; ask its sender again."


class UnwrapRefused(CryptoRefused):
    """A wrapped key could not be opened."""

    code = "E-CRYPTO-02"
    action = (
        "It was sealed to another key or for another purpose, or was changed: check that this home is the recipient."
    )


class EncodingRefused(CryptoRefused):
    """Bytes are not in the one form that the format allows."""

    code = "E-CRYPTO-03"
    action = "The file or message is damaged or was not written by Paddock: fetch it again."


class CertificateRefused(CryptoRefused):
    """A vendor's certificate does not lead to a trusted root, or breaks a rule on the way there."""

    code = "E-CRYPTO-05"
    action = "Do not rely on what it vouches for. If you mean to trust its root, name it in the trust policy."


class CertificateExpired(CertificateRefused):
    """A vendor's certificate is not valid at this time."""

    code = "E-CRYPTO-06"
    action = "Compare the clocks; if they are right, its owner must renew the certificate."


class CertificateRevoked(CertificateRefused):
    """A vendor revoked a certificate."""

    code = "E-CRYPTO-07"
    action = "Do not rely on what it vouches for, ever again."


class RevocationUnknown(CertificateRefused):
    """Whether a certificate was revoked cannot be told: no current revocation list is at hand."""

    code = "E-CRYPTO-08"
    action = "Bring the lists up to date: paddock keeper collateral fetch, or import on a keeper without a network."


# --- contract -------------------------------------------------------------------------------------------------


class TermsRefused(ContractRefused):
    """The terms of a contract break a rule."""

    code = "E-CONTRACT-01"
    action = "Correct what is named and propose the contract again; nobody can sign it as it is."


class ContractSignatureRefused(ContractRefused):
    """The contract is not signed by all its parties and nobody else."""

    code = "E-CONTRACT-02"
    action = "Ask the parties that are named to sign; if a foreign signature is there, propose the contract anew."


class UnknownParty(ContractRefused):
    """Keys in the contract were never accepted by you."""

    code = "E-CONTRACT-03"
    action = "Compare the fingerprint with that party by another way and add it: paddock party add NAME FINGERPRINT."


class KeeperMismatch(ContractRefused):
    """The contract lists another keeper for you than the one that you run."""

    code = "E-CONTRACT-04"
    action = "Do not sign; publish your record again (paddock party publish) and have the contract proposed anew."


class LevelRefused(ContractRefused):
    """The security level of the contract does not allow this."""

    code = "E-CONTRACT-05"
    action = "Use what the level allows, or have all parties sign a contract at another level."


class StateRefused(ContractRefused):
    """The contract is in a state in which this cannot be done."""

    code = "E-CONTRACT-06"
    action = "Look at it with: paddock contract show."


class DraftRefused(ContractRefused):
    """The draft of a contract cannot be turned into terms."""

    code = "E-CONTRACT-07"
    action = "Correct the TOML file and propose it again."


class RecordRefused(ContractRefused):
    """A signed record of a party or asset did not pass."""

    code = "E-CONTRACT-08"
    action = "Do not rely on it; ask its owner to publish it again."


class RequestRefused(ContractRefused):
    """A signed request did not pass."""

    code = "E-CONTRACT-09"
    action = "Send it again with the right keys and a right clock."


# --- evidence -------------------------------------------------------------------------------------------------


class EvidenceMalformed(EvidenceRefused):
    """The evidence is not well formed."""

    code = "E-EVIDENCE-01"
    action = "The environment or something between it and you is broken or lies: do not release keys to it."


class EvidenceNotTrusted(EvidenceRefused):
    """The evidence does not lead to a root that the trust policy names."""

    code = "E-EVIDENCE-02"
    action = (
        "If you mean to trust that vendor or simulator, say so in the keeper's trust policy: paddock keeper policy."
    )


class EvidenceStale(EvidenceRefused):
    """The evidence is older than the trust policy allows, or from the future."""

    code = "E-EVIDENCE-03"
    action = "Ask for the run again; if it repeats, compare the clocks of both machines."


class DebugRefused(EvidenceRefused):
    """The environment is in debug mode: it can be looked into."""

    code = "E-EVIDENCE-04"
    action = "Have the operator start a production environment."


class BindingMismatch(EvidenceRefused):
    """The evidence was made for another contract, run, key or challenge."""

    code = "E-EVIDENCE-05"
    action = "It may be a replay of old evidence: do not release keys; ask for a new run."


class TrustPolicyInvalid(Misconfigured):
    """The trust policy cannot be read; until it can, everything is refused."""

    code = "E-EVIDENCE-06"
    action = "Correct the keeper's trust.toml, or write it anew with: paddock keeper policy."


class RuntimeIncomplete(Misconfigured):
    """The runtime cannot be measured: something that the enclave needs is missing."""

    code = "E-EVIDENCE-07"
    action = "Install it with: pip install 'paddock[paddle]'."


class TcbRefused(EvidenceRefused):
    """The platform's firmware and microcode are not of a state that the trust policy accepts."""

    code = "E-EVIDENCE-08"
    action = "Have the operator update the platform; or, if you mean to accept that state, say so in the trust policy."


class SettingRefused(EvidenceRefused):
    """The environment runs with a setting that the trust policy does not allow."""

    code = "E-EVIDENCE-09"
    action = "Have the operator change the setting; or, if you mean to accept it, allow it in the trust policy."


class CollateralMissing(EvidenceRefused):
    """What the vendor publishes about this platform is not at hand, so the evidence cannot be judged."""

    code = "E-EVIDENCE-10"
    action = "Get it with: paddock keeper collateral fetch; without a network: paddock keeper collateral import FILE."


class CollateralStale(EvidenceRefused):
    """What the vendor published about this platform is older than the trust policy allows."""

    code = "E-EVIDENCE-11"
    action = "Get it anew with: paddock keeper collateral fetch, or import a newer file."


class CompositionRefused(EvidenceRefused):
    """The pieces of evidence are not exactly those that are demanded together."""

    code = "E-EVIDENCE-12"
    action = "Compare with paddock keeper policy explain: every demanded piece must be there, and no other."


class CollateralInvalid(Misconfigured):
    """A file of collateral cannot be read."""

    code = "E-EVIDENCE-13"
    action = "Export it again with: paddock keeper collateral show --output FILE, or fetch it anew."


class PeerRefused(EvidenceRefused):
    """The other end of a connection is not who, or not what, it must be."""

    code = "E-EVIDENCE-14"
    action = "Do not send it anything. Compare its fingerprint and measurement with what its owner told you."


class VendorUnavailable(Unavailable):
    """What a vendor publishes about a platform could not be fetched."""

    code = "E-EVIDENCE-15"
    action = "Try again later, or fetch it on another machine and bring it here: paddock keeper collateral import FILE."


# --- release --------------------------------------------------------------------------------------------------


class NotOurContract(ReleaseRefused):
    """The contract does not list this keeper for its party."""

    code = "E-RELEASE-02"
    action = "Ask the keeper that the contract names."


class Revoked(ReleaseRefused):
    """The party has revoked this contract or one of its assets."""

    code = "E-RELEASE-03"
    action = "No run under it gets keys any more; agree on a new contract."


class ContractNotInForce(ReleaseRefused):
    """The contract is not in force by the keeper's clock."""

    code = "E-RELEASE-04"
    action = "Propose a new contract with a later expiry; if the time is wrong, set the keeper's clock."


class ChallengeRefused(ReleaseRefused):
    """The request does not answer a live challenge of this keeper."""

    code = "E-RELEASE-06"
    action = "Ask for the run again; if it repeats, evidence is being replayed."


class EvidenceMissing(ReleaseRefused):
    """No evidence was given."""

    code = "E-RELEASE-07"
    action = "Run it in an environment that can prove what it is, or have all parties sign level L1."


class SimulatedRefused(ReleaseRefused):
    """The evidence is SIMULATED, and the contract does not allow simulation."""

    code = "E-RELEASE-08"
    action = "Run it on real hardware, or have all parties sign a contract with environment.simulated = true."


class MeasurementRefused(ReleaseRefused):
    """The environment's measurement is not one that the contract accepts."""

    code = "E-RELEASE-09"
    action = "The runtime there differs from what was signed: compare with paddock measure, install the agreed version."


class RunsUsedUp(ReleaseRefused):
    """All runs that the contract allows were used."""

    code = "E-RELEASE-10"
    action = "Propose a new contract if the parties agree to more."


class RunKeyChanged(ReleaseRefused):
    """This run was granted keys before, as often as the contract allows attempts."""

    code = "E-RELEASE-11"
    action = "Ask for a new run; a run that died counts as used once keys were released to it."


class AssetNotDeposited(ReleaseRefused):
    """The key of an input is not deposited with this keeper."""

    code = "E-RELEASE-12"
    action = "Its owner must run paddock seal, or paddock keeper deposit, against the keeper that the contract names."


# --- keeper ---------------------------------------------------------------------------------------------------


class LeaseRefused(ReleaseRefused):
    """The keeper does not renew the run's lease."""

    code = "E-RELEASE-14"
    action = "The run ends without outputs. If that was not meant, look at paddock keeper releases and revocations."


class NotTheOwner(ReleaseRefused):
    """Only the party whose keeper this is may ask that."""

    code = "E-RELEASE-15"
    action = "Use the home folder of the party whose keeper it is."


class KeeperBusy(Unavailable):
    """The keeper has too many open challenges."""

    code = "E-RELEASE-16"
    action = "Try again in a minute."


class StatementRefused(ReleaseRefused):
    """A keeper's statement did not pass."""

    code = "E-RELEASE-17"
    action = "Do not rely on it: something between you and the keeper changed it."


class AttemptSuperseded(ReleaseRefused):
    """A later attempt of this run was begun."""

    code = "E-RELEASE-18"
    action = "This one ends without outputs; follow the later one: paddock runs."


class RunFinished(ReleaseRefused):
    """This run had its last lease: it came to its end and was to give its results."""

    code = "E-RELEASE-19"
    action = "Fetch them with paddock results; if there are none, ask for a new run."


# --- receipt --------------------------------------------------------------------------------------------------


class ReceiptMalformed(ReceiptRefused):
    """The receipt is not well formed."""

    code = "E-RECEIPT-01"
    action = "Fetch it again: paddock results RUN --output DIR."


class ReceiptMismatch(ReceiptRefused):
    """The receipt does not hold."""

    code = "E-RECEIPT-02"
    action = "Do not use the results: what ran is not what was signed, or the receipt was changed."


class ProgressRefused(ReceiptRefused):
    """A progress message does not come from the run."""

    code = "E-RECEIPT-03"
    action = "Ignore the numbers shown while it ran; the results and the receipt are what counts."


# --- enclave --------------------------------------------------------------------------------------------------


class LaunchRefused(RunRefused):
    """The launch of the run is not well formed."""

    code = "E-RUN-01"
    action = "The engine that started it is of another version or broken: update it."


class GrantRefused(RunRefused):
    """An answer to the request for keys does not come from the keeper that the contract names."""

    code = "E-RUN-02"
    action = "Something between the run and the keeper changes messages: ask for the run again elsewhere."


class LeaseLost(RunRefused):
    """A keeper ended the run's lease, or did not renew it in time."""

    code = "E-RUN-03"
    action = "A party stopped it, or a keeper cannot be reached; no output was given out. Go on: paddock resume RUN."


class OutputMissing(RunRefused):
    """A job did not yield an output that the contract lists."""

    code = "E-RUN-04"
    action = "Correct the contract's outputs: paddock job explain KIND lists what each kind yields."


class InternalFault(RunRefused):
    """The run ended by a fault inside the enclave."""

    code = "E-RUN-05"
    action = "Ask for the run again; if it repeats, report it with the contract's terms and the version."


class RunCheckpointRefused(RunRefused):
    """What stands where a checkpoint of the run should be is none of it."""

    code = "E-RUN-09"
    action = "The run goes on from an older one, or from its beginning; the results are the same."


class AttesterUnavailable(Unavailable):
    """The environment does not give evidence."""

    code = "E-RUN-06"
    action = "Look at paddock doctor on that machine: which attesters are there?"


# --- ledger ---------------------------------------------------------------------------------------------------


class ProofRefused(LedgerRefused):
    """A ledger's proof does not lead to the root that was promised."""

    code = "E-LEDGER-01"
    action = (
        "The service that keeps the ledger left something out or changed it: keep both checkpoints as proof of that."
    )


class CheckpointRefused(LedgerRefused):
    """A ledger's checkpoint is not well formed or not signed by the expected key."""

    code = "E-LEDGER-02"
    action = "Do not rely on it; compare the ledger's key with what the service's operator tells you by another way."


class LedgerRangeRefused(LedgerRefused):
    """The ledger does not have that entry or size."""

    code = "E-LEDGER-03"
    action = "Ask for an index below the size of the ledger's checkpoint."


# --- service --------------------------------------------------------------------------------------------------


class ServiceUnreachable(Unavailable):
    """A service does not answer."""

    code = "E-SERVICE-01"
    action = "Check that it is running and that the address is right, then try again."


class AnswerRefused(Unavailable):
    """A service's answer was not understood."""

    code = "E-SERVICE-02"
    action = "Check that the address is that of a Paddock service of this version."


class ServiceFault(Unavailable):
    """A service failed inside."""

    code = "E-SERVICE-03"
    action = "Tell its operator the incident number: the service's log says more under it."


class BodyTooLarge(Refused):
    """The message is larger than the service reads."""

    code = "E-SERVICE-04"
    action = "Send less at once; the service's operator sets the limit."


class MessageRefused(Refused):
    """The message is not what this address of the service takes."""

    code = "E-SERVICE-05"
    action = "Use a client of the same version as the service; /openapi.json lists what it takes."


class RouteUnknown(Refused):
    """The service has nothing under this address."""

    code = "E-SERVICE-06"
    action = "Check the address and that client and service are of the same version."


class DatabaseUnavailable(Unavailable):
    """The database did not take or give the data."""

    code = "E-SERVICE-07"
    action = "Nothing was changed. See that its disk has room and that it is running, then try again."


class DatabaseNewer(Misconfigured):
    """The database was written by a newer version of Paddock."""

    code = "E-SERVICE-08"
    action = "Install that version again, or use another database; an older version would damage it."


class DatabaseInvalid(Misconfigured):
    """The database cannot be opened."""

    code = "E-SERVICE-09"
    action = "Check its address, that its folder exists, and that this user may write there."


class AddressUnavailable(Misconfigured):
    """The service cannot listen there."""

    code = "E-SERVICE-10"
    action = "Choose another port, or stop what uses it."


class PluginUnknown(Misconfigured):
    """No installed plug-in has that name."""

    code = "E-SERVICE-11"
    action = "Correct the name in the configuration, or install the package that brings the plug-in."


# --- run ------------------------------------------------------------------------------------------------------


class RunKilled(RunRefused):
    """The enclave was killed from outside."""

    code = "E-RUN-21"
    action = "No outputs exist. Go on with it: paddock resume RUN; if it repeats, ask the operator who ended it."


class RunOutOfMemory(RunRefused):
    """The enclave was ended because the machine ran out of memory."""

    code = "E-RUN-22"
    action = (
        "No outputs exist. Go on with it on a machine with more memory: paddock resume RUN; or make batches smaller."
    )


class RunEndedSilently(RunRefused):
    """The enclave ended without saying how."""

    code = "E-RUN-23"
    action = "No outputs exist. Go on with it: paddock resume RUN; the operator's log of the executor may say more."


class RunInterrupted(RunRefused):
    """The hub was restarted while the run was under way."""

    code = "E-RUN-24"
    action = "No outputs exist. Go on with it: paddock resume RUN."


class RunCancelled(RunRefused):
    """The run was cancelled."""

    code = "E-RUN-25"
    action = "No outputs exist. If that was not meant, go on with it: paddock resume RUN."


class RunSpokeBadly(RunRefused):
    """The enclave sent something that is no event of a run."""

    code = "E-RUN-26"
    action = "It was ended and no outputs are offered. Compare the runtime's version with the hub's."


class ExecutorFailed(Unavailable):
    """The executor could not start an enclave."""

    code = "E-RUN-27"
    action = "Have the operator run paddock doctor on that machine, then ask for the run again."


class RunOverdue(RunRefused):
    """The enclave did not end long after the contract's time for a run was over."""

    code = "E-RUN-34"
    action = "It was ended and no outputs exist. Go on with it: paddock resume RUN; if it repeats, ask the operator why it fell silent."


class ContractTooLarge(Misconfigured):
    """The contract allows more than the environment that was built for its runs can hold."""

    code = "E-RUN-33"
    action = "Have the operator build a larger one (a new one has a measurement of its own), or sign a contract that allows less."


class EngineBusy(Unavailable):
    """The engine's queue is full."""

    code = "E-RUN-28"
    action = "Try again when other runs have ended."


class ExecutorOptionInvalid(Misconfigured):
    """A setting of an executor is missing, unknown or not understood."""

    code = "E-RUN-29"
    action = "Correct it: paddock executor list names each executor's settings."


class ImageInvalid(Misconfigured):
    """There is no runtime image there, or it is not understood."""

    code = "E-RUN-30"
    action = "Build one with this version: paddock executor build NAME FOLDER."


class ImageFailed(Misconfigured):
    """The runtime image could not be written."""

    code = "E-RUN-31"
    action = (
        "Name a new or empty folder on a disk with 2 GB of room; paddock doctor shows whether the runtime is whole."
    )


# --- walls ----------------------------------------------------------------------------------------------------


class WallsUnavailable(Unavailable):
    """The walls around a job cannot be built on this machine."""

    code = "E-WALLS-01"
    action = "No job was started. Have the operator run paddock doctor on that machine and install what it names."


class SigstructInvalid(Misconfigured):
    """What signs an enclave is not well formed, or its signature does not hold."""

    code = "E-RUN-32"
    action = "Sign the enclave again: gramine-sgx-sign, or build it anew."


# --- hub ------------------------------------------------------------------------------------------------------


class NotFound(HubRefused):
    """The hub has nothing by that name."""

    code = "E-HUB-01"
    action = "Check the id or name; ask who owns it whether it was published to this hub."


class AlreadyThere(HubRefused):
    """The hub has that already."""

    code = "E-HUB-02"
    action = "Nothing was changed; if it is the same, nothing needs to be done."


class SenderUnknown(HubRefused):
    """A signature is by somebody whose record this hub does not hold."""

    code = "E-HUB-03"
    action = "Publish your record first: paddock party publish."


class NotAParty(HubRefused):
    """Only a party of the contract may do that."""

    code = "E-HUB-04"
    action = "Use the home folder of a party of that contract."


class RequestReplayed(HubRefused):
    """The same signed request was received before."""

    code = "E-HUB-05"
    action = "It took effect the first time, or somebody replays it; sign a new one if you mean it again."


class RangeRefused(HubRefused):
    """The store cannot give that range of bytes."""

    code = "E-HUB-07"
    action = "Ask for one range that begins within the object."


class NobodySigned(HubRefused):
    """Nobody has signed the proposed contract."""

    code = "E-HUB-08"
    action = "Sign it before it is proposed: paddock contract propose does so."


class HubRunsUsedUp(HubRefused):
    """By the hub's count all runs of the contract are used or under way."""

    code = "E-HUB-09"
    action = "Wait for the runs under way, or propose a new contract."


class RecordOutdated(HubRefused):
    """The hub holds a newer record of that party."""

    code = "E-HUB-10"
    action = "Publish the record again, with a right clock: paddock party publish."


class RunStillEnding(Unavailable):
    """The run's last attempt has not ended yet."""

    code = "E-HUB-12"
    action = "Try again in a minute."


class GrantEnded(HubRefused):
    """The way to the store that a run was given has ended with it."""

    code = "E-HUB-11"
    action = "Ask for the run again; each gets a way of its own."


# --- seal -----------------------------------------------------------------------------------------------------


class TagRefused(CryptoRefused):
    """A sealed segment does not open with this key at this place."""

    code = "E-CRYPTO-04"
    action = "It was changed, moved or sealed with another key: fetch it again, or ask its owner to seal it again."


class ManifestMismatch(SealRefused):
    """The store's manifest is not the one that the asset's id names."""

    code = "E-SEAL-01"
    action = "The store swapped it or went back to another one: do not use it; ask the asset's owner for a good copy."


class ManifestRefused(SealRefused):
    """The manifest of a sealed volume breaks the format."""

    code = "E-SEAL-02"
    action = "It was not written by Paddock, or by a later version: ask its owner to seal the asset again."


class WrongDataKey(SealRefused):
    """The data key is not the one of this volume."""

    code = "E-SEAL-03"
    action = "Nothing is damaged: find the key that belongs to this asset id, or have its owner deposit the right one."


class VolumeIncomplete(Unavailable):
    """An object of the sealed volume is not in the store."""

    code = "E-SEAL-04"
    action = "Finish or repeat the upload (paddock seal), or ask the store's operator where it went."


class ObjectTruncated(SealRefused):
    """The store holds or gave fewer bytes than were sealed."""

    code = "E-SEAL-05"
    action = "Try again; if it repeats, the store lost data: ask the asset's owner to upload it again."


class ObjectOverlong(SealRefused):
    """The store holds or gave more bytes than were sealed."""

    code = "E-SEAL-06"
    action = "The store changed the object: do not use it; ask the asset's owner to upload it again."


class SegmentChanged(SealRefused):
    """Stored bytes differ from those that were sealed."""

    code = "E-SEAL-07"
    action = "The store or its disk changed them: do not use the asset; ask its owner to upload it again."


class SegmentMisplaced(SealRefused):
    """A segment of the volume stands at the place of another one."""

    code = "E-SEAL-08"
    action = "The store put the bytes in another order: do not use the asset; ask its owner to upload it again."


class ObjectSwapped(SealRefused):
    """The store gave an object of another volume or stream."""

    code = "E-SEAL-09"
    action = "The store exchanged the objects: do not use the asset; ask its owner to upload it again."


class TreeChanged(SealRefused):
    """The stored hash tree is not the one that the asset's id commits to."""

    code = "E-SEAL-10"
    action = "The store or its disk changed it: do not use the asset; ask its owner to upload it again."


class SegmentRefused(SealRefused):
    """A segment is the committed one but does not open with the volume's key."""

    code = "E-SEAL-11"
    action = "Its owner sealed it with a broken or hostile program: ask for the asset to be sealed again."


class IndexRefused(SealRefused):
    """The file table of a sealed volume breaks the format."""

    code = "E-SEAL-12"
    action = "Its owner sealed it with a broken or hostile program: ask for the asset to be sealed again."


class PaddingRefused(SealRefused):
    """The padding of a sealed volume is not zero bytes."""

    code = "E-SEAL-13"
    action = "Its owner sealed it with a broken or hostile program: ask for the asset to be sealed again."


class PathRefused(SealRefused):
    """A file's path cannot be stored in a sealed volume."""

    code = "E-SEAL-14"
    action = "Rename the file that is named, or leave it out, and seal again."


class NoSuchFile(SealRefused):
    """The sealed volume holds no file of this name."""

    code = "E-SEAL-15"
    action = "Compare the name with the list of the volume's files; case and spelling count."


class SealOptionsInvalid(Misconfigured):
    """The options for sealing or opening are out of range."""

    code = "E-SEAL-16"
    action = (
        "Use a segment size that is a power of two from 4 KiB to 4 MiB, padding padme or none, at least one thread."
    )


class VolumeTooLarge(Misconfigured):
    """The data are too large for one sealed volume of this segment size."""

    code = "E-SEAL-17"
    action = "Seal with larger segments or split the data into several assets."


class SinkIncomplete(Unavailable):
    """The store did not take all bytes of an object."""

    code = "E-SEAL-18"
    action = "Seal again; if it repeats, look at the store's own log."


# --- store ----------------------------------------------------------------------------------------------------


class StoreUnreachable(Unavailable):
    """The store did not answer."""

    code = "E-STORE-01"
    action = "Check that it runs and that its address is right, then try again."


class NoSuchObject(Unavailable):
    """The store holds no object of this name."""

    code = "E-STORE-02"
    action = "Check that the upload was finished and that this is the right store."


class StoreFull(Unavailable):
    """The store has no room left."""

    code = "E-STORE-03"
    action = "Free space or raise the quota, then try again; nothing of the unfinished object was kept."


class ObjectNameRefused(Misconfigured):
    """A name is not one that a store may hold."""

    code = "E-STORE-04"
    action = "Use lower-case letters, digits, dot, dash and underscore, parts joined by single slashes."


class ObjectExists(Misconfigured):
    """The store already holds an object of this name, and objects are never overwritten."""

    code = "E-STORE-05"
    action = "Use the object that is there, or seal again: that gives new names."


class StoreUrlInvalid(Misconfigured):
    """The address of the store is not understood."""

    code = "E-STORE-06"
    action = (
        "Write folder:/absolute/path, s3://bucket/prefix, gs:// or az://, or the http(s):// address of a hub's store."
    )


class StoreMisbehaved(Unavailable):
    """The store's answer does not fit what was asked."""

    code = "E-STORE-07"
    action = "It is broken or something stands between: check its address and version, then try again."


class StoreDenied(Misconfigured):
    """The store does not allow this to be done."""

    code = "E-STORE-08"
    action = "Use the home of a registered party, and an operation that this store offers."


class StoreExtraMissing(Misconfigured):
    """A store in a cloud needs a package that is not installed."""

    code = "E-STORE-10"
    action = "Run: pip install 'paddock[s3]'."


# --- views ----------------------------------------------------------------------------------------------------


class LocalFileRefused(Misconfigured):
    """A file or folder on this machine cannot be sealed or written."""

    code = "E-STORE-09"
    action = "Correct what is named: only regular files and folders are sealed, and nothing is overwritten unasked."


class ViewUnavailable(Unavailable):
    """The view of an input that the contract names cannot be had in this environment."""

    code = "E-STORE-13"
    action = "Have the parties sign another view, or auto; or run it where FUSE or more memory is at hand."


class StagingRefused(Misconfigured):
    """Plain files could reach a disk here."""

    code = "E-STORE-11"
    action = "Give a folder on a tmpfs of a machine without swap (or mounted with noswap), or say that it may swap."


class NoRoomInMemory(Unavailable):
    """The volume does not fit into memory."""

    code = "E-STORE-12"
    action = "Mount it, or read it through paddock://, or give the machine more memory."


# --- drafts -----------------------------------------------------------------------------------------------------


class JournalRefused(SealRefused):
    """The journal of a draft is not the one that was written."""

    code = "E-DRAFT-01"
    action = (
        "Check draft, key and store, and that no other process writes to it; otherwise the store changed it: go back "
        "to a copy of your own."
    )


class PieceRefused(SealRefused):
    """A piece of a draft is not the one that its journal commits to."""

    code = "E-DRAFT-02"
    action = "The store or its disk changed it: what it held is lost; other files of the draft can still be read."


class DraftIncomplete(Unavailable):
    """An object of the draft is not in the store."""

    code = "E-DRAFT-03"
    action = "Check that this is the right store and number, or ask the store's operator where it went."


class DraftOptionsInvalid(Misconfigured):
    """The options of the draft are out of range."""

    code = "E-DRAFT-04"
    action = "Use 1 MiB of memory or more, and pieces of a multiple of 4 KiB up to 16 MiB that fit into it."


# --- mounts -----------------------------------------------------------------------------------------------------


class MountUnavailable(Unavailable):
    """This machine cannot mount or unmount a file system of ours."""

    code = "E-MOUNT-01"
    action = (
        "Linux 5.4 or later with /dev/fuse and Debian's package fuse3 are needed; a mount in use goes once it is not."
    )


class MountpointInvalid(Misconfigured):
    """The folder cannot be mounted upon."""

    code = "E-MOUNT-02"
    action = "Name an empty folder of your own, by its absolute path, at which nothing is mounted."


class MountOptionsInvalid(Misconfigured):
    """The options of the mount are out of range."""

    code = "E-MOUNT-03"
    action = "Use 2 to 32 workers, a readahead of 4 KiB to 64 MiB, and blocks to push of whole pages up to 16 MiB."


class KeeperHomeInvalid(Misconfigured):
    """The keeper's folder cannot be used."""

    code = "E-KEEPER-01"
    action = "Give the right --home, or make a new home with: paddock init NAME --home DIR."


# --- party ----------------------------------------------------------------------------------------------------


class HomeInvalid(Misconfigured):
    """The home folder cannot be used."""

    code = "E-PARTY-01"
    action = "Give the right --home (or set PADDOCK_HOME), or make a new one with: paddock init NAME --home DIR."


class FingerprintMismatch(PartyRefused):
    """The keys that the hub has for this name are not those of the fingerprint you gave."""

    code = "E-PARTY-02"
    action = (
        "Do not accept them. Ask the party again for its fingerprint (paddock party show), by telephone or in person."
    )


class PartyUnknown(PartyRefused):
    """No such party is known."""

    code = "E-PARTY-03"
    action = "Have it publish its record (paddock party publish), then: paddock party add NAME FINGERPRINT."


class AssetUnknown(PartyRefused):
    """No such asset is known."""

    code = "E-PARTY-04"
    action = "Look at paddock assets; its owner seals it with: paddock seal PATH --name NAME --kind KIND."


class ContractUnknown(PartyRefused):
    """The contract that was meant cannot be told."""

    code = "E-PARTY-05"
    action = "Look at paddock contract list and give more of its id."


class HubAnswerRefused(PartyRefused):
    """The hub's answer was not understood or is not what was asked for."""

    code = "E-PARTY-06"
    action = "Do not rely on this hub; compare its version (paddock doctor) and ask its operator."


class AssetNameInvalid(Misconfigured):
    """An asset cannot have this name."""

    code = "E-PARTY-11"
    action = "Give from 1 to 63 small letters, digits, - and _, a letter first."


class SealingBusy(Misconfigured):
    """Another command is sealing under this name."""

    code = "E-PARTY-10"
    action = "Wait until it is finished, or give another name."


class DraftUnreadable(Misconfigured):
    """The draft's file cannot be read."""

    code = "E-PARTY-07"
    action = "Give the path of a TOML file."


class RunEnded(RunRefused):
    """The run ended without results."""

    code = "E-RUN-07"
    action = "Look at paddock runs for the reason; it can be resumed: paddock resume RUN."


class SimulatorFailed(Misconfigured):
    """The simulator did not start."""

    code = "E-RUN-08"
    action = "Look at paddock doctor; its key file must be readable by you alone and hold 64 hex digits."


class DemoUnknown(Misconfigured):
    """There is no such demo, or it cannot be played here."""

    code = "E-PARTY-08"
    action = "Try: paddock demo; it needs pip install 'paddock[paddle,demo]' and a new folder."


# --- query ----------------------------------------------------------------------------------------------------


class QueryKindRefused(QueryRefused):
    """The query is not one statement that only reads."""

    code = "E-QUERY-01"
    action = "Give exactly one SELECT or WITH … SELECT; nothing that writes, loads, attaches or changes a setting."


class QueryReachesOut(QueryRefused):
    """The query asks for something outside the sources that were named for it."""

    code = "E-QUERY-02"
    action = (
        "If somebody else wrote the query, ask why. What it may read is named with --source NAME=…, and nothing else."
    )


class QueryInvalid(QueryRefused):
    """The query does not fit its sources, or is not SQL."""

    code = "E-QUERY-03"
    action = "Correct the query; --dry-run shows the columns of a result without sealing it."


class ValueRefused(QueryRefused):
    """A value in a source does not fit the type that is asked of it."""

    code = "E-QUERY-04"
    action = (
        "Declare the column's type (--column NAME=TYPE), name what stands for a missing value (--csv null=TEXT), or "
        "use TRY_CAST in the query. Values are never shown."
    )


class ResultRefused(QueryRefused):
    """The result of the query cannot be kept in the file that was asked for."""

    code = "E-QUERY-05"
    action = "Give every column a name of its own (AS) and CAST what is named to a type that the file can hold."


class QueryNeedsMemory(Misconfigured):
    """The query needs more memory than it may use, and never puts plaintext on a disk instead."""

    code = "E-QUERY-06"
    action = "Raise --memory, leave columns or rows out, or sort, join and group less at once."


class SourceInvalid(Misconfigured):
    """A source of the query, or an option of it, is not understood."""

    code = "E-QUERY-07"
    action = (
        "Write --source NAME=FILE.csv, NAME=FILE.parquet or 'NAME=postgresql://HOST/DATABASE?table=TABLE'; "
        "paddock seal --help lists the options."
    )


class PasswordShown(Misconfigured):
    """A password stands in the address of a database, where logs and other users of the machine can see it."""

    code = "E-QUERY-08"
    action = (
        "Take it out, change it, and put it into ~/.pgpass, a service file or PGPASSWORD, where libpq looks for it."
    )


class SourceUnavailable(Unavailable):
    """A database that is a source of the query does not answer, or refuses."""

    code = "E-QUERY-09"
    action = "Check its address, that you may read there, and the password (~/.pgpass, PGPASSWORD); then try again."


class SourceChanged(Unavailable):
    """A source file was changed while the query read it; nothing was sealed."""

    code = "E-QUERY-10"
    action = "Wait until whatever writes to it has ended, then seal again."


class QueryToolsMissing(Misconfigured):
    """What runs queries is not installed."""

    code = "E-QUERY-11"
    action = "Install it: pip install 'paddock[sql]'."


# --- program --------------------------------------------------------------------------------------------------


class ProgramUnreadable(ProgramRefused):
    """The file is not a program as PaddlePaddle saves it."""

    code = "E-PROGRAM-01"
    action = "Export the network again with: paddock program export (PaddlePaddle 3.3)."


class OperatorRefused(ProgramRefused):
    """The program uses an operator that is not on the list of allowed ones."""

    code = "E-PROGRAM-02"
    action = "Build the network without it; docs/spec/program.md lists what is allowed."


class OperationRefused(ProgramRefused):
    """An operation of the program breaks a rule."""

    code = "E-PROGRAM-03"
    action = "Change the network at the place that is named, and check it with: paddock program check."


class ProgramTooLarge(ProgramRefused):
    """The program is larger than may be read or run."""

    code = "E-PROGRAM-04"
    action = "Make the network or the batch smaller, or have the contract allow more memory."


class WeightsRefused(ProgramRefused):
    """The weights are not those of the program."""

    code = "E-PROGRAM-05"
    action = "Use the weights that were exported with the program or trained from it."


class NetworkNotCarried(ProgramRefused):
    """The exported program does not do what the network does."""

    code = "E-PROGRAM-06"
    action = "Write what is named with PaddlePaddle's ordinary layers, so that the exported graph says it."


class NetworkUnusable(Misconfigured):
    """The network cannot be exported."""

    code = "E-PROGRAM-07"
    action = "Give FILE.py:CLASS of a paddle.nn.Layer that needs no arguments, and each input as name:dtype[-1,sizes]."


# --- jobs -----------------------------------------------------------------------------------------------------


class ParametersRefused(JobRefused):
    """The parameters of a step break a rule."""

    code = "E-JOB-01"
    action = "Correct what is named; paddock job explain KIND lists what there is."


class JobUnknown(JobRefused):
    """There is no such kind of job."""

    code = "E-JOB-02"
    action = "Use one of those that paddock job list shows."


class StepInputRefused(JobRefused):
    """A step's input is not what its role needs."""

    code = "E-JOB-03"
    action = "Give the role an asset of the right kind; paddock job explain KIND says which."


class DataUnreadable(JobRefused):
    """A data file cannot be read."""

    code = "E-JOB-04"
    action = "Its owner corrects the file that is named (CSV with a header, .npy or .safetensors) and seals it again."


class FieldMissing(JobRefused):
    """The data do not have a field that the mapping names."""

    code = "E-JOB-05"
    action = "Compare the mapping's names with the data's; case and spelling count."


class ShapeMismatch(JobRefused):
    """Data and program do not fit together."""

    code = "E-JOB-06"
    action = "Correct the mapping or use the program that belongs to these data."


class ValuesRefused(JobRefused):
    """Data hold values that cannot be used."""

    code = "E-JOB-07"
    action = "Its owner corrects the field that is named and seals the data again."


class Diverged(JobRefused):
    """Training ran out of the range of numbers."""

    code = "E-JOB-08"
    action = "Use a smaller learning rate, or normalise the inputs."


class JobStateRefused(JobRefused):
    """What a job kept in an earlier attempt is not a state that it can go on from."""

    code = "E-JOB-10"
    action = "Ask for a new run; if it repeats, report it with the contract's terms and the version."


class MemoryExceeded(JobRefused):
    """The step needs more memory than the contract allows."""

    code = "E-JOB-09"
    action = "Use smaller batches or data, or have the contract allow more memory."


class NumbersRefused(JobRefused):
    """An output of numbers is not one that the level lets out."""

    code = "E-JOB-18"
    action = (
        "Report fewer numbers (epochs, metrics), or have all sign a contract at another level: paddock level explain."
    )


class GatewayBreached(JobRefused):
    """A job sent its gateway what no job may send."""

    code = "E-JOB-11"
    action = (
        "The job was ended and nothing of it left. Look at the code that the contract pins before you run it again."
    )


class JobEnded(JobRefused):
    """A job's process ended without a result."""

    code = "E-JOB-12"
    action = (
        "Let its owner try it where its words can be read; memory, processes and scratch are limited by the contract."
    )


class OutputRefused(JobRefused):
    """An output is not what the contract says that it is."""

    code = "E-JOB-13"
    action = "Nothing left. Correct the job, or have all sign a contract that gives the output another type."


class OutputTooLarge(JobRefused):
    """An output is larger than the contract allows."""

    code = "E-JOB-14"
    action = "Nothing left. Make the output smaller, or have all sign a contract that allows more."


class ScriptFailed(JobRefused):
    """A script ended with a failure."""

    code = "E-JOB-15"
    action = "Its last words went to the parties that the contract names for its log: paddock status RUN shows them."


class PackagesMissing(JobRefused):
    """The runtime lacks packages that a script needs."""

    code = "E-JOB-16"
    action = "Run it with a runtime that has them, or change the script; paddock measure --json lists what there is."


class ScriptsUnavailable(Unavailable):
    """Scripts cannot be run here."""

    code = "E-JOB-17"
    action = "Have the operator install bubblewrap (apt-get install bubblewrap), or run it elsewhere."


class RunTooLong(RunRefused):
    """The run took longer than the contract allows."""

    code = "E-RUN-10"
    action = "Make its work smaller, or have all sign a contract with a larger limits.run_seconds."


class ForeignKeeper(PartyRefused):
    """Another party's keeper answers at your keeper's address."""

    code = "E-PARTY-09"
    action = "Stop it, or make your home with another address: paddock init NAME --home DIR --keeper URL."
