"""Datasets of `paddle.io` over sealed volumes: image folders, tables, shards. Files are decrypted ahead, in threads.

They read what jobs see (`Files`: names, size, open), so they work over an open volume, a folder, or memory alike.

    data = ImageFolder(files)                              # random access: paddle.io.DataLoader(data, num_workers=2)
    data = ImageStream(files, seed=1)                      # in an order that seed and epoch determine, read ahead
"""

from __future__ import annotations

import csv
import io
import tarfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import paddle

from paddock.errors import DataUnreadable, PaddockError
from paddock.jobs.api import Files
from paddock.jobs.training import epoch_order

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
Decode = Callable[[bytes], Any]


@dataclass(frozen=True)
class Ahead:
    """How far files are read before they are asked for.

    Args:
        threads: that read and decrypt at the same time.
        files: that are held at most.
        total_bytes: that they have together at most; one file is always read.
    """

    threads: int = 2
    files: int = 64
    total_bytes: int = 64 << 20


class ReadAhead:
    """The contents of files in a given order, read ahead. What a thread raises is raised where its file is asked for.

    Threads are started when the first file is asked for, in the process that asks; they end with the last file, on
    `close`, and with the block.

    Args:
        files: where from.
        names: which, in order.
        ahead: how far.
    """

    def __init__(self, files: Files, names: Sequence[str], ahead: Ahead | None = None) -> None:
        self._files = files
        self._names = names
        self._ahead = ahead or Ahead()
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Read no more; an iteration under way ends."""
        self._closed.set()

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        waiting: deque[tuple[str, int, Future[bytes]]] = deque()
        held = at = 0
        with ThreadPoolExecutor(self._ahead.threads, thread_name_prefix="paddock-ahead") as pool:
            try:
                while not self._closed.is_set() and (at < len(self._names) or waiting):
                    while at < len(self._names) and len(waiting) < self._ahead.files:
                        size = self._files.size(self._names[at])
                        if waiting and held + size > self._ahead.total_bytes:
                            break
                        waiting.append((self._names[at], size, pool.submit(read_whole, self._files, self._names[at])))
                        held, at = held + size, at + 1
                    name, size, future = waiting.popleft()
                    held -= size
                    yield name, future.result()
            finally:
                for _, _, future in waiting:
                    future.cancel()


def read_whole(files: Files, name: str) -> bytes:
    """A file's content."""
    with files.open(name) as file:
        return file.read()


def decode_rgb(content: bytes) -> Any:
    """A picture as an array `uint8[height, width, 3]`.

    Raises:
        DataUnreadable: no picture that is understood, or larger than pictures are read.
    """
    from PIL import Image  # noqa: PLC0415 - where no pictures are read it need not be installed

    try:
        with Image.open(io.BytesIO(content)) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataUnreadable("A picture cannot be read.") from error


class ImageFolder(paddle.io.Dataset):
    """Pictures in a folder for each class: `class/name.png`. Random access, for `paddle.io.DataLoader`.

    Args:
        files: the volume's files.
        transform: what becomes of a decoded picture; None gives `float32[3, height, width]` from 0 to 1.
        decode: makes an array of a file's bytes.

    Raises:
        DataUnreadable: no picture in a folder.
    """

    def __init__(
        self, files: Files, *, transform: Callable[[Any], Any] | None = None, decode: Decode = decode_rgb
    ) -> None:
        super().__init__()
        self.files = files
        self.samples = [name for name in files.names() if name.lower().endswith(IMAGE_ENDINGS) and "/" in name]
        if not self.samples:
            raise DataUnreadable("There is no picture in a folder for its class.")
        self.classes = sorted({_class_of(name) for name in self.samples})
        self._numbers = {name: number for number, name in enumerate(self.classes)}
        self._transform = transform or to_chw
        self._decode = decode

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        name = self.samples[index]
        return self.sample(name, read_whole(self.files, name))

    def sample(self, name: str, content: bytes) -> tuple[Any, Any]:
        """Picture and class of one file."""
        return self._transform(self._decode(content)), np.int64(self._numbers[_class_of(name)])


def _class_of(name: str) -> str:
    return name.rsplit("/", 1)[0]


def to_chw(picture: Any) -> Any:
    """`uint8[height, width, 3]` to `float32[3, height, width]` from 0 to 1."""
    return np.ascontiguousarray(picture.transpose(2, 0, 1), dtype=np.float32) / np.float32(255)


class Stream(paddle.io.IterableDataset):
    """Samples of many files in an order that seed and epoch determine, read ahead; it can be resumed anywhere.

    In a loader with several workers each takes every n-th file.

    Args:
        files: where from.
        names: of the files, in any order.
        samples: makes the samples of one file from its name and bytes.
        seed: of the order; None keeps the order of the names.
        ahead: how far it reads ahead.
    """

    def __init__(
        self,
        files: Files,
        names: Sequence[str],
        samples: Callable[[str, bytes], Iterator[Any]],
        *,
        seed: int | None,
        ahead: Ahead | None = None,
    ) -> None:
        super().__init__()
        self._files = files
        self._names = sorted(names)
        self._samples = samples
        self._seed = seed
        self._ahead = ahead
        self._epoch = 0
        self._done = 0

    def __len__(self) -> int:
        # Paddle's own raises RuntimeError, which `list` does not understand.
        raise TypeError("a stream does not know its length")

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch: another order."""
        self._epoch, self._done = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """Where it stands: the epoch, and how many samples of it were given."""
        return {"epoch": self._epoch, "done": self._done}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where another one stood."""
        self._epoch, self._done = int(state["epoch"]), int(state["done"])

    def order(self) -> list[str]:
        """The files of this epoch."""
        if self._seed is None:
            return list(self._names)
        order = epoch_order(self._seed, self._epoch, len(self._names), shuffle=True)
        return [self._names[number] for number in order]

    def __iter__(self) -> Iterator[Any]:
        names, skipped = self.order(), self._done
        worker = paddle.io.get_worker_info()
        if worker is not None:
            names, skipped = names[worker.id :: worker.num_workers], 0
        with ReadAhead(self._files, names, self._ahead) as contents:
            for name, content in contents:
                for sample in self._samples(name, content):
                    if skipped:
                        skipped -= 1
                        continue
                    self._done += 1
                    yield sample


class ImageStream(Stream):
    """The pictures of an `ImageFolder`, as a stream.

    Args:
        files: the volume's files.
        seed: of the order.
        ahead: how far it reads ahead.
        options: as `ImageFolder` takes them.
    """

    def __init__(self, files: Files, *, seed: int | None, ahead: Ahead | None = None, **options: Any) -> None:
        self.folder = ImageFolder(files, **options)

        def one(name: str, content: bytes) -> Iterator[Any]:
            yield self.folder.sample(name, content)

        super().__init__(files, self.folder.samples, one, seed=seed, ahead=ahead)


class Shards(Stream):
    """Samples in tar files: members of one name but for their endings belong together, `0001.png` and `0001.json`.

    Args:
        files: the volume's files; those that end in `.tar` are read.
        decode: makes a sample of ending to bytes.
        seed: of the order of the shards; within one, samples keep theirs.
        ahead: how far it reads ahead; a shard is held whole.
    """

    def __init__(
        self,
        files: Files,
        *,
        decode: Callable[[Mapping[str, bytes]], Any],
        seed: int | None,
        ahead: Ahead | None = None,
    ) -> None:
        names = [name for name in files.names() if name.endswith(".tar")]
        if not names:
            raise DataUnreadable("There is no shard (.tar).")

        def samples(name: str, content: bytes) -> Iterator[Any]:
            for members in read_shard(name, content):
                yield decode(members)

        super().__init__(files, names, samples, seed=seed, ahead=ahead or Ahead(files=4, total_bytes=1 << 30))


def read_shard(name: str, content: bytes) -> Iterator[dict[str, bytes]]:
    """The samples of one tar file: ending to bytes, for each name.

    Raises:
        DataUnreadable: it is damaged or holds something else than files.
    """
    key, members = "", dict[str, bytes]()
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as shard:
            for member in shard:
                body = shard.extractfile(member) if member.isfile() else None
                if body is None:
                    if member.isdir():
                        continue
                    raise DataUnreadable(f"A shard holds something else than files ({name}).")
                folder, slash, file = member.name.rpartition("/")
                stem, _, ending = file.partition(".")
                if folder + slash + stem != key and members:
                    yield members
                    members = {}
                key = folder + slash + stem
                members[ending] = body.read()
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        if isinstance(error, PaddockError):
            raise
        raise DataUnreadable(f"A shard is damaged ({name}).") from error
    if members:
        yield members


class Table(paddle.io.Dataset):
    """Rows of numbers: all `.csv`, `.npy`, `.npz` and `.parquet` files of a volume, or some, one after another.

    Args:
        files: the volume's files.
        columns: which columns, in this order; None for all. `.npy` files have none.
        names: which files; None for all that are tables.

    Raises:
        DataUnreadable: no table, a column that is missing, or a cell that is no number.
    """

    def __init__(
        self, files: Files, *, columns: Sequence[str] | None = None, names: Sequence[str] | None = None
    ) -> None:
        super().__init__()
        chosen = [name for name in files.names() if name.lower().endswith(tuple(_READERS))] if names is None else names
        if not chosen:
            raise DataUnreadable("There is no table.")
        rows = []
        with ReadAhead(files, chosen, Ahead(files=2, total_bytes=1 << 30)) as contents:
            for name, content in contents:
                ending = next((each for each in _READERS if name.lower().endswith(each)), None)
                if ending is None:
                    raise DataUnreadable(f"{name} is no table that is read.")
                rows.append(_READERS[ending](name, content, columns))
        if len({each.shape[1:] for each in rows}) != 1:
            raise DataUnreadable("The tables do not have the same columns.")
        self.rows = np.concatenate(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[index]


def _read_csv(name: str, content: bytes, columns: Sequence[str] | None) -> Any:
    try:
        table = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
        places = range(len(table[0])) if columns is None else [table[0].index(column) for column in columns]
        return np.array([[float(row[place]) for place in places] for row in table[1:] if row], dtype=np.float32)
    except (ValueError, IndexError, csv.Error) as error:
        raise DataUnreadable(f"{name}: a column is missing, or a cell is no number.") from error


def _read_array(name: str, content: bytes, columns: Sequence[str] | None) -> Any:
    try:
        loaded = np.load(io.BytesIO(content), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            if columns is not None:
                raise DataUnreadable(f"{name} has no columns.")
            return loaded
        with loaded:
            arrays = [loaded[column] for column in columns or sorted(loaded.files)]
            return np.stack([np.asarray(array, dtype=np.float32) for array in arrays], axis=1)
    except (ValueError, KeyError, OSError, EOFError) as error:
        raise DataUnreadable(f"{name}: not an array of numbers, or a column is missing.") from error


def _read_parquet(name: str, content: bytes, columns: Sequence[str] | None) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - where no Parquet is read it need not be installed
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    try:
        table = pq.read_table(io.BytesIO(content), columns=None if columns is None else list(columns))
        if columns is not None:
            table = table.select(list(columns))
        arrays = [np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float32) for column in table.columns]
        return np.stack(arrays, axis=1)
    except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise DataUnreadable(f"{name}: a column is missing, or a cell is no number.") from error


_READERS: Mapping[str, Callable[[str, bytes, Sequence[str] | None], Any]] = {
    ".csv": _read_csv,
    ".npy": _read_array,
    ".npz": _read_array,
    ".parquet": _read_parquet,
}
