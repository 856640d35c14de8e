"""The executors `gramine` and `gramine-direct` against the suite, over a stand-in of Gramine's tools, and what is their own."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from paddock.errors import ContractTooLarge, ExecutorFailed, ExecutorOptionInvalid, ImageInvalid
from paddock.executors import Executor, make_executor
from paddock.executors.gramine.build import GramineBuilder, signing_steps
from paddock.executors.gramine.executor import GramineDirectExecutor, GramineExecutor
from paddock.executors.gramine.folder import EXPANDED, SIGNATURE, SIGNED, TEMPLATE
from paddock.executors.gramine.manifest import THREAD_BYTES
from paddock.executors.image import ENCLAVE, Listing
from paddock.testing.executor_suite import Behaviour, ExecutorSuite, Recorder, launch
from tests.contract.test_occlum_executor import LIMITS, of
from tests.contract.test_process_executor import PROGRAM, SMALL
from tests.fixtures.gramine import gramine, options, small_listing
from tests.fixtures.stand_in.gramine_tools import Installation, run
from tests.fixtures.vendors.intel import IntelMaker

_MORE = """
elif how == "seen":
    seen = {name: sorted(os.listdir(name)) for name in ("/", "/etc", "/tmp", "/paddock", "/dev/attestation")}
    say("phase", phase="x", detail={"env": dict(os.environ), "seen": seen}); say("receipt", envelope={})
elif how == "fork":
    say("phase", phase="x"); os.fork(); say("receipt", envelope={})
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with gramine(tmp_path_factory.mktemp("g"), IntelMaker("sgx")) as found:
        yield found


@pytest.fixture(scope="module")
def image(installed: Installation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image whose enclave behaves as a variable says that only its manifest can set."""
    folder = tmp_path_factory.mktemp("gramine-image")
    source = (PROGRAM + _MORE.lstrip("\n")).replace("sys.argv[1]", 'os.environ["BEHAVIOUR"]', 1)
    built = GramineBuilder(small_listing(folder / "source", ENCLAVE, source)).build(
        folder / "image", options(installed), lambda _text: None
    )
    assert built.files == ["root", "etc", TEMPLATE, EXPANDED, SIGNED, SIGNATURE]
    return folder / "image"


def behaving(image: Path, installed: Installation, folder: Path, behaviour: str) -> Path:
    """A copy of the image, signed, that behaves so."""
    copy = folder / behaviour
    subprocess.run(["cp", "-al", image, copy], check=True)
    for name in (EXPANDED, SIGNED, SIGNATURE):
        (copy / name).unlink()
    text = (copy / TEMPLATE).read_text(encoding="utf-8")
    (copy / TEMPLATE).unlink()
    changed = text.replace("[loader.env]\n", f'[loader.env]\nBEHAVIOUR = "{behaviour}"\n')
    (copy / TEMPLATE).write_text(changed, encoding="utf-8")
    with contextlib.chdir(copy):
        for tool, *arguments in signing_steps(options(installed)):
            assert run(tool, str(installed.folder), str(installed.quotes), arguments) == 0
    return copy


class TestGramineExecutor(ExecutorSuite):
    @pytest.fixture(autouse=True)
    def _made(self, image: Path, installed: Installation, tmp_path: Path) -> None:
        self.image, self.installed, self.folder = image, installed, tmp_path

    def executor(self, behaviour: Behaviour) -> Executor:
        folder = behaving(self.image, self.installed, self.folder, behaviour.value)
        return GramineExecutor(attester="none", settings={"image": str(folder)}, limits=SMALL)

    def test_the_enclave_sees_what_the_manifest_mounts_and_nothing_of_ours(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        seen = self._started("seen").until(lambda events: len(events) == 2)[0]["detail"]
        assert set(seen["env"]) == {
            *("BEHAVIOUR", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TZ", "PWD"),
            *("MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
        }
        assert seen["seen"] == {
            "/": ["dev", "etc", "lib", "lib64", "paddock", "proc", "tmp"],
            "/etc": ["group", "hosts", "nsswitch.conf", "passwd"],
            "/tmp": [],
            "/paddock": ["bin", "lib", "modules.json", "modules.pack", "start.py"],
            "/dev/attestation": ["attestation_type", "quote", "user_report_data"],
        }

    def test_nothing_can_be_started_inside(self) -> None:
        # Gramine answers EAGAIN to who forks; the stand-in ends it, so that a test sees it.
        assert self._started("fork").final()["error"]["detail"] == "It was ended by SIGSYS."

    def _started(self, behaviour: str) -> Recorder:
        recorder = Recorder()
        folder = behaving(self.image, self.installed, self.folder, behaviour)
        GramineExecutor(attester="none", settings={"image": str(folder)}, limits=SMALL).start(launch(), recorder)
        return recorder


class TestGramineDirectExecutor(ExecutorSuite):
    @pytest.fixture(autouse=True)
    def _made(self, image: Path, installed: Installation, tmp_path: Path) -> None:
        self.image, self.installed, self.folder = image, installed, tmp_path

    def executor(self, behaviour: Behaviour) -> Executor:
        folder = behaving(self.image, self.installed, self.folder, behaviour.value)
        return GramineDirectExecutor(attester="none", settings={"image": str(folder)}, limits=SMALL)


def test_an_enclave_is_told_its_own_attester(image: Path, installed: Installation, tmp_path: Path) -> None:
    folder = behaving(image, installed, tmp_path, "echo")
    recorder = Recorder()
    executor = make_executor("gramine", attester="none", settings={"image": str(folder)})
    executor.start(launch(), recorder)
    assert recorder.final()["event"] == "receipt"
    assert recorder.events[0]["detail"]["attester"] == "gramine"


def test_without_gramine_an_image_is_built_and_what_is_left_is_told(
    image: Path, installed: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    listing = Listing({}, {}, {}, {}, ())
    built = GramineBuilder(listing).build(tmp_path / "image", options(installed), lambda _text: None)
    assert built.files == ["root", "etc", TEMPLATE]
    assert built.measurement is None
    assert [note.partition(": ")[2].split()[0] for note in built.notes] == ["gramine-manifest", "gramine-sgx-sign"]
    with pytest.raises(ExecutorFailed, match="gramine-sgx"):
        GramineExecutor(attester="none", settings={"image": str(image)}).prepare()


def test_what_is_not_ready_is_told_before_a_run(
    image: Path, installed: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    GramineExecutor(attester="gramine", settings={"image": str(image)}).prepare()
    GramineDirectExecutor(attester="none", settings={"image": str(image)}).prepare()
    with pytest.raises(ImageInvalid):
        GramineExecutor(attester="none", settings={"image": str(tmp_path)}).prepare()
    monkeypatch.setattr("paddock.executors.gramine.executor.DEVICE", tmp_path / "sgx_enclave")
    with pytest.raises(ExecutorFailed, match="SGX is off"):
        GramineExecutor(attester="none", settings={"image": str(image)}).prepare()


@pytest.mark.parametrize(
    ("name", "attester", "settings"),
    [
        ("gramine", "none", {}),
        ("gramine", "none", {"image": "here", "colour": "red"}),
        ("gramine", "unix:/simulator", {"image": "here"}),
        ("gramine", "tpm", {"image": "here"}),
        ("gramine-direct", "tpm", {"image": "here"}),
        ("gramine-direct", "gramine", {"image": "here"}),
    ],
)
def test_settings_that_cannot_hold_are_refused(name: str, attester: str, settings: dict[str, str]) -> None:
    with pytest.raises(ExecutorOptionInvalid):
        make_executor(name, attester=attester, settings=settings)


_ROOM = (7 << 30) - 272 * THREAD_BYTES  # of the 8 GiB that 4 GiB, 1 GiB of scratch files and 256 threads lead to


@pytest.mark.parametrize("kind", [GramineExecutor, GramineDirectExecutor])
@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"memory_bytes": _ROOM - (1 << 20)}, None),
        ({"memory_bytes": _ROOM - (1 << 20) + 1}, f"{_ROOM + 1} signed, room for {_ROOM}.*measured: build"),
        ({"scratch_bytes": _ROOM - (1 << 30)}, None),
        ({"scratch_bytes": _ROOM - (1 << 30) + 1}, f"limits.scratch_bytes together: {_ROOM + 1} signed"),
        ({"processes": 256}, None),
        ({"processes": 257}, "limits.processes: 257 signed, room for 256.*'threads'"),
    ],
)
def test_a_contract_that_allows_more_than_the_enclave_holds_is_not_started(
    image: Path, kind: type[GramineExecutor], limits: dict[str, int], words: str | None
) -> None:
    executor = kind(attester="none", settings={"image": str(image)})
    with contextlib.nullcontext() if words is None else pytest.raises(ContractTooLarge, match=words):
        executor.command(of({**LIMITS, **limits}))


def test_a_contract_that_cannot_be_read_is_for_the_enclave_to_refuse(image: Path) -> None:
    GramineExecutor(attester="none", settings={"image": str(image)}).command(launch())


def test_with_edmm_threads_take_of_the_memory_and_have_no_number(image: Path, tmp_path: Path) -> None:
    text = (image / SIGNED).read_text(encoding="utf-8")
    text = text.replace("max_threads = 272", "max_threads = 16").replace("edmm_enable = false", "edmm_enable = true")
    (tmp_path / SIGNED).write_text(text, encoding="utf-8")
    executor = GramineExecutor(attester="none", settings={"image": str(tmp_path)})
    room = (7 << 30) - (16 + 1000) * THREAD_BYTES - (1 << 20)
    executor.command(of({**LIMITS, "processes": 1000, "memory_bytes": room}))
    with pytest.raises(ContractTooLarge, match=r"limits\.memory_bytes"):
        executor.command(of({**LIMITS, "processes": 1001, "memory_bytes": room}))


@pytest.mark.parametrize("wrong", ["max_threads = 272", "edmm_enable = false", 'enclave_size = "8192M"'])
def test_a_manifest_that_does_not_say_how_large_it_is_is_refused(image: Path, tmp_path: Path, wrong: str) -> None:
    text = (image / SIGNED).read_text(encoding="utf-8")
    assert wrong in text
    name = wrong.partition(" ")[0]
    for instead in ("", f"{name} = []"):
        (tmp_path / SIGNED).write_text(text.replace(wrong, instead), encoding="utf-8")
        with pytest.raises(ImageInvalid):
            GramineExecutor(attester="none", settings={"image": str(tmp_path)}).command(launch())


def test_the_measurement_is_what_keepers_find_in_its_evidence(image: Path, installed: Installation) -> None:
    from datetime import UTC, datetime

    from paddock.evidence import verify_evidence
    from tests.fixtures.stand_in.gramine_tools import measured

    maker = IntelMaker("sgx")
    mrenclave = measured((image / SIGNED).read_bytes())
    evidence = maker.evidence(bytes(64), mrenclave=mrenclave)
    now = datetime.now(UTC)
    claims = verify_evidence(evidence, policy=maker.policy(), collateral=maker.collateral(now), now=now)
    assert GramineExecutor(attester="none", settings={"image": str(image)}).measure() == claims.measurement


def test_a_broken_signature_measures_nothing(image: Path, installed: Installation, tmp_path: Path) -> None:
    folder = behaving(image, installed, tmp_path, "echo")
    body = bytearray((folder / SIGNATURE).read_bytes())
    body[960] ^= 1
    (folder / SIGNATURE).write_bytes(body)
    executor = GramineExecutor(attester="none", settings={"image": str(folder)})
    with pytest.raises(ExecutorFailed, match="signature does not hold"):
        executor.measure()


@pytest.mark.parametrize("name", ["root/start.py", "etc/hosts", "paddock.manifest.sgx"])
def test_what_was_changed_after_signing_does_not_start(
    name: str, image: Path, installed: Installation, tmp_path: Path
) -> None:
    folder = behaving(image, installed, tmp_path, "echo")
    content = (folder / name).read_bytes()
    (folder / name).unlink()  # the copies are links
    (folder / name).write_bytes(content.replace(b"o", b"0", 1) if name.startswith(("root", "etc")) else content + b"\n")
    recorder = Recorder()
    GramineExecutor(attester="none", settings={"image": str(folder)}, log_folder=tmp_path).start(launch(), recorder)
    assert recorder.final()["error"]["code"] == "E-RUN-23"
    said = (tmp_path / f"{launch().run}.log").read_text(encoding="utf-8")
    assert ("does not match" in said) or ("SGX_INVALID_MEASUREMENT" in said)
