"""The demo `tumour`: real records of 569 patients, five parties, one contract at level 5, three frauds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from paddock.cli.demo import frauds, sight
from paddock.cli.demo.cast import ABOUT, NAMES, OPERATOR, Cast
from paddock.cli.demo.contract import draft
from paddock.cli.demo.frauds import Refusal, Scene
from paddock.cli.demo.pictures import draw
from paddock.cli.output import SIMULATED, plain, say, table, working
from paddock.cli.run_commands import describe_receipt, follow_on_screen
from paddock.contract.asset import AssetKind
from paddock.crypto.moment import write_moment
from paddock.errors import DemoUnknown, RunEnded
from paddock.evidence.measurement import measure_runtime
from paddock.party.party import Party
from paddock.party.results import Results, fetch_results, load_receipt, own_policy
from paddock.receipt import verify_receipt
from paddock.samples import breast_cancer

_COMMITTED: tuple[Callable[[Scene], Refusal], ...] = (
    frauds.without_a_signature,
    frauds.with_a_changed_runtime,
    frauds.with_a_swapped_input,
)
_ASSETS = {"north": "records", "south": "records", "lakeside": "records", "clinic": "patients", "modelco": "tumour-net"}
_INPUTS = {"north": "north", "south": "south", "lakeside": "test", "clinic": "patients", "modelco": "network"}
_THINGS = {
    "north": "north's records",
    "south": "south's records",
    "test": "lakeside's test records",
    "patients": "clinic's patients",
    "network": "modelco's network",
}


def play(folder: Path, *, epochs: int, quiet: bool) -> dict[str, Any]:
    """Play it.

    Args:
        folder: a folder that does not exist yet; everything is made in it.
        epochs: of training.
        quiet: whether to print nothing.

    Returns:
        Metrics by name, paths, refusals: what `--json` prints.
    """
    if folder.exists():
        raise DemoUnknown(f"{folder} exists already.")
    folder.mkdir(mode=0o700, parents=True)
    return _Play(folder, epochs, quiet).all()


class _Play:
    def __init__(self, folder: Path, epochs: int, quiet: bool) -> None:
        self.folder = folder
        self.epochs = epochs
        self.quiet = quiet
        self.step = 0
        self.began = time.monotonic()

    def all(self) -> dict[str, Any]:
        with Cast(self.folder) as cast:
            self.meet(cast)
            assets = self.seal(cast.parties)
            contract = self.agree(cast.parties)
            run = self.run(cast.parties, contract)
            results = self.fetch(cast.parties, run)
            seen = self.look(cast, assets, results)
            refusals = self.commit_frauds(cast, results["modelco"])
        # Everything is stopped now: no hub, no keeper, no network.
        self.verify_offline(cast.parties["clinic"], results["clinic"])
        picture = self.draw(results["modelco"])
        metrics = json.loads((results["clinic"].folders["metrics"] / "metrics.json").read_text(encoding="utf-8"))
        found = breast_cancer.check_predictions(
            self.folder / "truth.csv", results["clinic"].folders["predictions"] / "predictions.csv"
        )
        self.close(picture, results, metrics, found)
        return {
            "simulated": True,
            "run": run,
            "contract": contract,
            "metrics": metrics,
            "clinic_accuracy": found,
            "visible": seen,
            "refusals": [{"fraud": r.fraud, "refused_by": r.refused_by, **r.error.as_dict()} for r in refusals],
            "picture": str(picture),
            "receipt": str(results["clinic"].receipt_file),
            "weights": str(results["modelco"].folders["weights"]),
            "predictions": str(results["clinic"].folders["predictions"]),
            "home": str(self.folder),
            "seconds": round(time.monotonic() - self.began, 1),
        }

    def meet(self, cast: Cast) -> None:
        self.title("Five parties and an operator whom none of them trusts")
        rows = [(name, ABOUT[name], party.home.fingerprint[:14] + "…") for name, party in cast.parties.items()]
        self.table("", ["party", "who", "fingerprint"], [*rows, (OPERATOR, "runs hub, store and machine", "")])
        cast.introduce()
        self.say("Each accepted the others' keys by fingerprint, not because the hub says so.")
        key = cast.accept_simulator()
        self.say(SIMULATED)
        self.say(f"There is no trusted hardware here, so each keeper was told to accept this simulator: {key[:16]}…")

    def seal(self, parties: Mapping[str, Party]) -> dict[str, str]:
        self.title("Everybody seals on its own machine")
        breast_cancer.write_shares(
            {name: self.folder / name / "data" for name in ("north", "south", "lakeside", "clinic")}
        )
        breast_cancer.write_truth(self.folder / "truth.csv")
        with self.working("modelco exports its network with PaddlePaddle (its Python stays at home)"):
            breast_cancer.export_network(self.folder / "modelco" / "data")
        rows, assets = [], {}
        for name, asset_name in _ASSETS.items():
            kind = AssetKind.PROGRAM if name == "modelco" else AssetKind.DATASET
            own = parties[name].seal(self.folder / name / "data", asset_name, kind).own
            assets[_INPUTS[name]] = own.asset
            rows.append((name, asset_name, kind.value, f"{own.stored_bytes:,}", own.asset[:19] + "…"))
        self.table("", ["owner", "asset", "kind", "bytes stored", "id = digest of what was stored"], rows)
        return assets

    def agree(self, parties: Mapping[str, Party]) -> str:
        self.title("One contract, five signatures over the same bytes")
        expires = write_moment(datetime.now(UTC) + timedelta(days=7))
        text = draft(breast_cancer.COLUMNS, NAMES, epochs=self.epochs, expires=expires)
        (self.folder / "contract.toml").write_text(text, encoding="utf-8")
        with self.working("modelco measures the runtime that it means"):
            measurement = measure_runtime().digest
        proposal = parties["modelco"].propose(parties["modelco"].draft(text, measurement=measurement))
        for name in NAMES:
            if name != "modelco":
                proposal = parties[name].sign(proposal.id)
        terms = proposal.terms
        self.say(f"[bold]{terms.title}[/]: level [bold]{terms.level}[/], {terms.runs} runs, until {terms.expires}")
        self.say(f"{proposal.id}\naccepted runtime: {measurement}")
        rows = [(name, row.source, ", ".join(row.to)) for name, row in sorted(terms.outputs.items())]
        self.table("", ["output", "made by", "who receives it"], rows)
        return proposal.id

    def run(self, parties: Mapping[str, Party], contract: str) -> str:
        self.title("The clinic asks for a run; the enclave proves itself to five keepers; PaddlePaddle trains inside")
        run = parties["clinic"].request_run(contract)
        seen = follow_on_screen(parties["clinic"], run, quiet=self.quiet)
        if seen.error is not None or seen.state != "succeeded":
            raise seen.error or RunEnded(f"Run {run} is {seen.state}.")
        self.say("The loss was sealed to the five parties; the operator saw that there was progress, not which.")
        return run

    def fetch(self, parties: Mapping[str, Party], run: str) -> dict[str, Results]:
        self.title("Each party fetches what the contract gives it")
        results = {
            name: fetch_results(party, run, self.folder / name / "results", overwrite=False)
            for name, party in parties.items()
        }
        rows = [(name, ", ".join(r.folders), ", ".join(r.others) or "-") for name, r in results.items()]
        self.table("", ["party", "opened", "sealed to others"], rows)
        return results

    def look(self, cast: Cast, assets: Mapping[str, str], results: Mapping[str, Results]) -> dict[str, dict[str, str]]:
        self.title("Who can see what (tried with every key of every party, and in every file of the operator)")
        tried = {_THINGS[name]: row for name, row in sight.inputs(cast.parties, assets).items()}
        tried |= sight.outputs(cast.parties, results["modelco"].verified)
        markers = {_THINGS[_INPUTS[n]]: self.markers(self.folder / n / "data") for n in NAMES}
        for name in ("weights", "curve", "metrics", "predictions"):
            holder = next(r for r in results.values() if name in r.folders)
            markers[name] = self.markers(holder.folders[name])
        rows = []
        for thing, row in tried.items():
            row[OPERATOR] = sight.holds_any(cast.operator.folder, markers[thing])
            rows.append((thing, *(row[who] for who in (*NAMES, OPERATOR))))
        self.table("", ["", *NAMES, OPERATOR], rows)
        return tried

    def markers(self, folder: Path) -> list[bytes]:
        """Pieces of every file below `folder`, long enough to occur nowhere by chance."""
        found: list[bytes] = []
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                content = path.read_bytes()
                found += [content[:48], content[len(content) // 2 :][:48]]
        return found

    def commit_frauds(self, cast: Cast, results: Results) -> list[Refusal]:
        self.title("Second pass: three frauds by whoever runs the machines")
        scene = Scene(
            parties=cast.parties,
            verified=results.verified,
            store=cast.operator.folder / "store",
            executor=cast.operator.engine.executor,
            simulator_folder=cast.operator.folder,
        )
        refusals = []
        for number, commit in enumerate(_COMMITTED, 1):
            with self.working(f"fraud {number} of {len(_COMMITTED)}"):
                refusal = commit(scene)
            refusals.append(refusal)
            self.say(
                f"[red]refused[/] {refusal.fraud}\n   by {refusal.refused_by}: [bold]{refusal.error.code}[/] {refusal.error.summary()} {plain(refusal.error.detail)}"
            )
        return refusals

    def verify_offline(self, clinic: Party, results: Results) -> None:
        self.title("Hub and keepers are stopped; the clinic verifies the receipt offline")
        verified = verify_receipt(load_receipt(results.receipt_file), policy=own_policy(clinic), expected_contract=None)
        if not self.quiet:
            describe_receipt(verified)
        self.say("Contract, evidence, five keepers' statements, signature, inputs and outputs all hold.")

    def draw(self, results: Results) -> Path:
        picture = self.folder / "results.png"
        with self.working("drawing"):
            draw(
                results.folders["curve"] / "curve.json",
                results.folders["metrics"] / "roc.json",
                picture,
                simulated=results.verified.receipt.simulated,
            )
        return picture

    def close(self, picture: Path, results: Mapping[str, Results], metrics: dict[str, Any], found: float) -> None:
        self.title("What came of it")
        numbers = "  ".join(
            f"{name} [bold]{value}[/]" for name, value in metrics.items() if isinstance(value, int | float)
        )
        self.say(f"test at lakeside: {numbers}")
        self.say(f"clinic, compared with what later turned out: {found:.1%} of its patients predicted rightly")
        paths = [
            ("training curve and ROC", str(picture)),
            ("receipt", str(results["clinic"].receipt_file)),
            ("weights (modelco's)", str(results["modelco"].folders["weights"])),
            ("predictions (the clinic's)", str(results["clinic"].folders["predictions"])),
            ("the contract as it was written", str(self.folder / "contract.toml")),
            ("everybody's homes", str(self.folder)),
        ]
        self.table("", ["what", "where"], paths)
        self.say(SIMULATED)
        self.say(f"{time.monotonic() - self.began:.0f} s in all.")

    def title(self, text: str) -> None:
        self.step += 1
        self.say(f"\n[bold cyan]{self.step}[/] [bold]{text}[/]")

    def say(self, text: str) -> None:
        if not self.quiet:
            say(text)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        if not self.quiet:
            table(title, columns, rows)

    def working(self, text: str) -> AbstractContextManager[None]:
        return working(text, quiet=self.quiet)
