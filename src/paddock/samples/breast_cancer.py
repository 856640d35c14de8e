"""The Wisconsin Diagnostic Breast Cancer data, as four parties hold them.

569 patients, thirty measurements each, made from pictures of cell nuclei; scikit-learn ships them. In the file of
scikit-learn class 0 is malignant; here the column `malignant` is 1 for malignant tumours.

Source: Wolberg, Mangasarian, Street and Street, UCI Machine Learning Repository, 1995 (doi:10.24432/C5DW2B).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LABEL = "malignant"
ID = "patient"
NETWORK = Path(__file__).parent / "networks" / "tumour_net.py"
_SEED = 1995
_SHARES = {"north": 200, "south": 180, "lakeside": 119, "clinic": 70}

COLUMNS = tuple(
    f"{kind} {what}" if kind != "error" else f"{what} error"
    for kind in ("mean", "error", "worst")
    for what in (
        "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave points",
        "symmetry", "fractal dimension",
    )
)  # fmt: skip


def write_shares(folders: Mapping[str, Path]) -> None:
    """Write each party's share: north and south train, lakeside tests, the clinic has no diagnoses.

    Args:
        folders: name of the share (`north`, `south`, `lakeside`, `clinic`) to the folder of its CSV file.
    """
    shares = _shares()
    for name, folder in folders.items():
        folder.mkdir(parents=True, exist_ok=True)
        if name == "clinic":
            patients = [[patient, *cells] for patient, cells, _ in shares[name]]
            _write(folder / "patients.csv", [ID, *COLUMNS], patients)
        else:
            rows = [[*cells, str(diagnosis)] for _, cells, diagnosis in shares[name]]
            _write(folder / "records.csv", [*COLUMNS, LABEL], rows)


def write_truth(path: Path) -> None:
    """Write what the clinic's patients have: for the demo's last check, and for no run."""
    _write(path, [ID, LABEL], [[patient, diagnosis] for patient, _, diagnosis in _shares()["clinic"]])


def export_network(folder: Path) -> None:
    """Export the sample network, as `paddock program export` does."""
    # PaddlePaddle takes seconds to load, and only this needs it.
    from paddock.jobs.export import export_layer, load_user_layer, parse_input  # noqa: PLC0415

    export_layer(load_user_layer(f"{NETWORK}:TumourNet"), [parse_input("x:float32[-1,30]")], folder)


def check_predictions(truth: Path, predictions: Path) -> float:
    """The share of patients whose predicted class is what they have.

    Raises:
        ValueError: the files are not about the same patients.
    """
    known = {row[ID]: row[LABEL] for row in _read(truth)}
    said = {row[ID]: row["class"] for row in _read(predictions)}
    if known.keys() != said.keys():
        raise ValueError("truth and predictions are not about the same patients")
    return sum(said[patient] == diagnosis for patient, diagnosis in known.items()) / len(known)


def _shares() -> dict[str, list[tuple[str, list[str], int]]]:
    # Both are needed here alone.
    import numpy as np  # noqa: PLC0415
    from sklearn.datasets import load_breast_cancer  # noqa: PLC0415

    data: Any = load_breast_cancer()
    if tuple(data.feature_names) != COLUMNS:
        raise RuntimeError("scikit-learn's columns are not the ones that this sample was made for")
    order = np.random.Generator(np.random.PCG64(_SEED)).permutation(len(data.target))
    rows = []
    for number, index in enumerate(order):
        cells = [repr(float(value)) for value in data.data[index]]
        rows.append((f"P-{number + 1:04d}", cells, 1 - int(data.target[index])))
    shares, start = {}, 0
    for name, count in _SHARES.items():
        shares[name] = rows[start : start + count]
        start += count
    return shares


def _write(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))
