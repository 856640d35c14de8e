"""A keeper's collateral: kept whole, bounded, recognised from bytes; what evidence needed is remembered."""

from __future__ import annotations

import json
import multiprocessing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from paddock.errors import CollateralInvalid
from paddock.evidence import Collateral, EvidenceSet, UnverifiedEvidence
from paddock.evidence.collateral import CollateralItem, CollateralNeed
from paddock.evidence.providers.sgx import MEDIA_TYPE
from paddock.keeper.collateral import (
    COLLATERAL,
    MAX_NEEDS,
    NEEDS,
    CollateralStore,
    dates_of,
    needs_of,
    recognise,
    remember_needs,
)

VECTORS = Path(__file__).resolve().parents[2] / "evidence" / "vectors"
AT = "2026-01-01T00:00:00Z"
SGX = EvidenceSet.single(UnverifiedEvidence(MEDIA_TYPE, (VECTORS / "sgx" / "quote_v3.bin").read_bytes()))
KEY = "intel/sgx/00A067110000/processor"


def item(key: str, body: bytes = b"x") -> CollateralItem:
    return CollateralItem("other", key, AT, body)


def need(key: str, url: str = "https://vendor.example/x") -> CollateralNeed:
    return CollateralNeed("certificate", key, {"body": url})


def make_crl() -> x509.CertificateRevocationList:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateRevocationListBuilder().issuer_name(name).last_update(start)
    return builder.next_update(start + timedelta(days=30)).sign(
        ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()
    )


# --- the store --------------------------------------------------------------------------------------------------


def test_nothing_is_known_at_first(tmp_path: Path) -> None:
    store = CollateralStore(tmp_path)
    assert len(store.load()) == 0
    assert store.needs() == ()


def test_what_is_stored_is_there_and_the_newer_takes_the_place_of_the_older(tmp_path: Path) -> None:
    CollateralStore(tmp_path).store([item("a"), item("b")])
    known = CollateralStore(tmp_path).store([item("b", b"newer"), item("c")])
    loaded = CollateralStore(tmp_path).load()
    assert {each.key: each.body for each in loaded} == {"a": b"x", "b": b"newer", "c": b"x"}
    assert loaded.digest() == known.digest()
    for file in tmp_path.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file


def test_what_is_dropped_is_gone_and_not_needed_any_more(tmp_path: Path) -> None:
    store = CollateralStore(tmp_path)
    store.store([item("a"), item("b")])
    store.remember([need("a"), need("c")])
    assert len(store.forget(["a", "nothing"])) == 1
    assert [each.key for each in store.load()] == ["b"]
    assert [each.key for each in store.needs()] == ["c"]


def test_more_than_a_file_may_hold_is_refused_and_what_was_there_stays(tmp_path: Path) -> None:
    store = CollateralStore(tmp_path)
    store.store([item("a")])
    with pytest.raises(CollateralInvalid, match="forget"):
        store.store([item("b", bytes(4 << 20))])
    assert [each.key for each in store.load()] == ["a"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".collateral.json.lock", COLLATERAL]


@pytest.mark.parametrize("bad", [item("../a"), item(""), item("a b"), CollateralItem("Kind", "a", AT, b"")])
def test_an_item_that_the_form_does_not_hold_spoils_nothing(bad: CollateralItem, tmp_path: Path) -> None:
    store = CollateralStore(tmp_path)
    store.store([item("a")])
    with pytest.raises(CollateralInvalid):
        store.store([bad])
    assert [each.key for each in store.load()] == ["a"]


def test_a_damaged_file_is_refused_and_not_written_over(tmp_path: Path) -> None:
    store = CollateralStore(tmp_path)
    store.store([item("a")])
    data = (tmp_path / COLLATERAL).read_bytes()
    for damaged in (data[:-1], b"", data + b" ", bytes((4 << 20) + 1)):
        (tmp_path / COLLATERAL).write_bytes(damaged)
        with pytest.raises(CollateralInvalid):
            store.load()
        with pytest.raises(CollateralInvalid):
            store.store([item("b")])
        assert (tmp_path / COLLATERAL).read_bytes() == damaged


def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CollateralStore(tmp_path)
    store.store([item("a")])

    def crash(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", crash)
    with pytest.raises(CollateralInvalid, match="No space"):
        store.store([item("b")])
    monkeypatch.undo()
    assert [each.key for each in store.load()] == ["a"]
    assert not list(tmp_path.glob(".collateral.json.?*[!k]"))


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(CollateralInvalid):
        CollateralStore(tmp_path / "none").store([item("a")])
    (tmp_path / COLLATERAL).mkdir()
    with pytest.raises(CollateralInvalid):
        CollateralStore(tmp_path).load()


def _store_many(folder: str, name: str) -> None:
    for number in range(10):
        CollateralStore(Path(folder)).store([item(f"{name}/{number}")])


def test_processes_that_store_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_store_many, args=(str(tmp_path), name)) for name in ("a", "b", "c")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len(CollateralStore(tmp_path).load()) == 30


# --- needs ------------------------------------------------------------------------------------------------------


def test_refused_evidence_leaves_word_of_what_it_needed(tmp_path: Path) -> None:
    remember_needs(tmp_path, SGX)
    remember_needs(tmp_path, SGX)
    (found,) = CollateralStore(tmp_path).needs()
    assert found == needs_of(SGX)[0]
    assert found.key == KEY
    assert all(url.startswith("https://") for url in found.urls.values())


def test_evidence_that_nobody_reads_needs_nothing(tmp_path: Path) -> None:
    for media_type, body in (("text/plain", b""), (MEDIA_TYPE, b"no quote")):
        remember_needs(tmp_path, EvidenceSet.single(UnverifiedEvidence(media_type, body)))
    assert not (tmp_path / NEEDS).exists()


def test_remembering_never_stands_in_the_way_of_a_refusal(tmp_path: Path) -> None:
    remember_needs(tmp_path / "none", SGX)


def test_strangers_cannot_make_it_remember_without_end(tmp_path: Path) -> None:
    store = CollateralStore(tmp_path)
    store.remember(need(f"k{number}") for number in range(MAX_NEEDS))
    store.remember([need("k0", "https://vendor.example/newer"), need("more")])
    keys = [each.key for each in store.needs()]
    assert len(keys) == MAX_NEEDS
    assert keys[-2:] == ["k0", "more"]
    assert "k1" not in keys


@pytest.mark.parametrize("bad", [need("a", "file:///etc/passwd"), need("a", "https://x y"), need("a b"), need("a", "")])
def test_a_need_of_another_form_is_refused(bad: CollateralNeed, tmp_path: Path) -> None:
    with pytest.raises(CollateralInvalid):
        CollateralStore(tmp_path).remember([bad])


def test_a_damaged_list_of_needs_is_said_and_made_anew(tmp_path: Path) -> None:
    store = CollateralStore(tmp_path)
    (tmp_path / NEEDS).write_bytes(b"{}")
    with pytest.raises(CollateralInvalid):
        store.needs()
    store.remember([need("a")])
    assert [each.key for each in store.needs()] == ["a"]


# --- recognising ------------------------------------------------------------------------------------------------


def test_a_bundle_keeps_its_keys_and_times() -> None:
    bundle = Collateral([item("a"), item("b")])
    assert recognise(bundle.to_bytes(), "2020-01-01T00:00:00Z") == list(bundle)


@pytest.mark.parametrize(("path", "key"), [("sgx/quote_v3", KEY), ("tdx/quote_v4", "intel/tdx/B0C06F000000/platform")])
def test_intel_collateral_gets_the_key_that_its_quote_asks_for(path: str, key: str) -> None:
    data = (VECTORS / f"{path}.collateral.json").read_bytes()
    (found,) = recognise(data, AT)
    assert (found.kind, found.key, found.fetched) == ("intel-pcs", key, AT)
    more = json.dumps(json.loads(data) | {"pck_certificate_chain": None}).encode()
    assert recognise(more, AT) == [found]  # what newer tools write beside it does not belong to it
    dates = dates_of(found)
    assert dates.issued is not None
    assert dates.until is not None
    assert f"{dates.issued:%Y-%m-%d} {dates.until:%Y-%m-%d}" == "2025-06-19 2025-07-19"


@pytest.mark.parametrize(
    "change",
    [{"tcb_info": "{}"}, {"tcb_info": "x"}, {"tcb_info": "[]"}, {"pck_crl_issuer_chain": ""}, {"pck_crl": 1.5e999}],
)
def test_intel_collateral_of_no_platform_is_refused(change: dict[str, object]) -> None:
    data = json.loads((VECTORS / "sgx" / "quote_v3.collateral.json").read_bytes()) | change
    with pytest.raises(CollateralInvalid):
        recognise(json.dumps(data).encode(), AT)


def test_intel_collateral_by_another_authority_is_refused() -> None:
    data = json.loads((VECTORS / "sgx" / "quote_v3.collateral.json").read_bytes())
    with pytest.raises(CollateralInvalid):
        recognise(json.dumps(data | {"pck_crl_issuer_chain": data["tcb_info_issuer_chain"]}).encode(), AT)


def test_certificates_and_lists_are_recognised_in_either_form() -> None:
    chain = json.loads((VECTORS / "sgx" / "quote_v3.collateral.json").read_bytes())["tcb_info_issuer_chain"].encode()
    signer, root = x509.load_pem_x509_certificates(chain)
    pem = recognise(chain, AT)
    assert [each.kind for each in pem] == ["certificate", "certificate"]
    assert recognise(signer.public_bytes(serialization.Encoding.DER), AT) == pem[:1]
    assert dates_of(pem[1]).until == root.not_valid_after_utc
    crl = make_crl()
    (by_pem,) = recognise(crl.public_bytes(serialization.Encoding.PEM), AT)
    (by_der,) = recognise(crl.public_bytes(serialization.Encoding.DER), AT)
    assert by_pem == by_der
    assert (by_der.kind, dates_of(by_der).issued) == ("crl", crl.last_update_utc)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"{",
        b"{}",
        b'{"a":1}',
        b"[]",
        b"-----BEGIN CERTIFICATE-----\n",
        b"-----BEGIN X509 CRL-----\n",
        b"\x30\x00",
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(CollateralInvalid):
        recognise(data, AT)


def test_a_file_that_is_too_large_is_not_read() -> None:
    with pytest.raises(CollateralInvalid, match="at most"):
        recognise(bytes((4 << 20) + 1), AT)


@pytest.mark.parametrize("kind", ["certificate", "crl", "intel-pcs", "other"])
def test_an_item_that_cannot_be_read_has_no_dates(kind: str) -> None:
    assert dates_of(CollateralItem(kind, "a", AT, b"x")).issued is None
