"""Sources of a query: what `--source`, `--csv` and `--column` say, read strictly before anything is opened."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from paddock.errors import PasswordShown, SourceInvalid

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9 ]{0,40}(\(\s*\d{1,4}\s*(,\s*\d{1,4}\s*)?\))?")
_RESERVED = {"main", "temp", "system", "memory", "pg_catalog", "information_schema"}
_PACKED = (".gz", ".zst")
_DATABASE = ("postgresql://", "postgres://")
_ENCODINGS = ("utf-8", "utf-16", "latin-1")
_SECRETS = {"password", "sslpassword"}
MAX_SOURCES = 64
MAX_QUERY_BYTES = 256 << 10


@dataclass(frozen=True)
class CsvOptions:
    """How the text of a CSV source is read. What is None is found out from the first rows.

    Args:
        encoding: `utf-8` (with or without a byte order mark), `utf-16` or `latin-1`.
        delimiter: what stands between two values.
        quote: the character around values that hold a delimiter; empty for none.
        header: whether the first row holds the columns' names.
        null: texts that stand for a missing value; an empty value always does unless others are named.
        decimal: `,` where numbers are written so.
        date_format: of dates, as strptime's `%d.%m.%Y`.
        timestamp_format: of points in time, likewise.
        skip: rows before the header.
        detect: whether types are guessed from the first 200 000 rows; without, every column that is not declared is text.
    """

    encoding: str = "utf-8"
    delimiter: str | None = None
    quote: str | None = None
    header: bool | None = None
    null: tuple[str, ...] = ()
    decimal: str | None = None
    date_format: str | None = None
    timestamp_format: str | None = None
    skip: int | None = None
    detect: bool = True


@dataclass(frozen=True)
class FileSource:
    """A CSV or Parquet file, or several of the same form, as one table.

    Args:
        name: of the table in the query.
        pattern: a path, or one with `*`, `?` or `[…]` in its last part, as it was given.
        form: `csv` or `parquet`.
        columns: declared types by column name.
        csv: how a CSV source is read.
    """

    name: str
    pattern: str
    form: str
    columns: Mapping[str, str] = field(default_factory=dict)
    csv: CsvOptions = field(default_factory=CsvOptions)

    def paths(self) -> list[Path]:
        """The files, in the order of their names.

        Raises:
            SourceInvalid: there is none, or it is a folder.
        """
        path = Path(self.pattern).expanduser()
        if path.is_dir():
            raise SourceInvalid(f"{self.pattern} is a folder; name its files: '{self.pattern.rstrip('/')}/*.csv'.")
        if path.exists() or not any(sign in path.name for sign in "*?["):
            return [path]
        found = sorted(path.parent.glob(path.name), key=lambda each: each.name.encode("utf-8", "surrogateescape"))
        if not found:
            raise SourceInvalid(f"No file is named like {self.pattern}.")
        return found

    def packing(self) -> str:
        """How the files are compressed: `gzip`, `zstd` or `none`."""
        return {".gz": "gzip", ".zst": "zstd"}.get(Path(self.pattern).suffix.lower(), "none")

    def described(self) -> dict[str, Any]:
        """What the owner's own records keep of it."""
        path = str(Path(self.pattern).expanduser().absolute()).encode("utf-8", "replace").decode("utf-8")
        chosen = {key: value for key, value in asdict(self.csv).items() if value != getattr(CsvOptions(), key)}
        return {"path": path, "columns": dict(self.columns), "csv": {k: _listed(v) for k, v in chosen.items()}}


@dataclass(frozen=True)
class PostgresSource:
    """Tables of a PostgreSQL database, or one query over it, read in one snapshot that cannot write.

    Args:
        name: the query calls a table NAME.TABLE, and the only one, or the pushed-down query, NAME alone.
        uri: libpq's address, without a password and without what is ours.
        tables: `TABLE` or `SCHEMA.TABLE`, in the database's own words.
        query: a SELECT that the database runs itself, in place of tables.
        columns: declared types by `COLUMN` or `TABLE.COLUMN`.
    """

    name: str
    uri: str
    tables: tuple[str, ...] = ()
    query: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        """What the owner's own records keep of it: no password, as none is taken."""
        return {"address": self.uri, "tables": list(self.tables), "query": self.query, "columns": dict(self.columns)}

    def host_is_proven(self) -> bool:
        """Whether the address asks for TLS with the server's name verified, or stays on this machine."""
        before, _, after = self.uri.partition("://")[2].partition("?")
        options = dict(text.partition("=")[::2] for text in after.split("&"))
        hosts = unquote(options.get("host", "")) or unquote(before.partition("/")[0].rpartition("@")[2])
        local = all(
            _host(each) in {"", "localhost", "127.0.0.1", "::1"} or each[0] in "/@" for each in hosts.split(",")
        )
        return (local and "service" not in options) or options.get("sslmode") == "verify-full"


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _host(text: str) -> str:
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text if text.count(":") > 1 else text.partition(":")[0]


Source = FileSource | PostgresSource


def parse_sources(
    sources: Sequence[str], *, csv: Sequence[str] = (), columns: Sequence[str] = ()
) -> tuple[Source, ...]:
    """Sources as a command line gives them.

    Args:
        sources: each `NAME=LOCATION`: a path that ends in .csv, .tsv or .parquet (.csv.gz, .csv.zst too), or
            `postgresql://…?table=TABLE` (any number of them) or `?query=SELECT…`.
        csv: each `[SOURCE.]OPTION=VALUE`; without SOURCE for every CSV source. See `CsvOptions`; `null` may be repeated.
        columns: each `[SOURCE.]COLUMN=TYPE`; SOURCE may be left out where there is one source.

    Raises:
        SourceInvalid: what is wrong in which of them.
        PasswordShown: an address holds a password.
    """
    located: dict[str, str] = {}
    for text in sources:
        name, equals, location = text.partition("=")
        if not equals or not location:
            raise SourceInvalid(f"'{_hidden(text)}' is not of the form NAME=LOCATION.")
        if not _NAME.fullmatch(name) or name.lower() in _RESERVED:
            raise SourceInvalid(
                f"'{_hidden(name)}' cannot be the name of a source: letters, digits and _ only, at most 63."
            )
        if name.lower() in {known.lower() for known in located}:
            raise SourceInvalid(f"Two sources are named '{name}'.")
        located[name] = location
    if len(located) > MAX_SOURCES:
        raise SourceInvalid(f"A query has at most {MAX_SOURCES} sources.")
    declared = _declared(columns, located)
    texts = [name for name, location in located.items() if _form(location) == "csv"]
    options = _csv_options(csv, located, texts)
    made: list[Source] = []
    for name, location in located.items():
        form = _form(location)
        if form == "postgres":
            made.append(_postgres(name, location, declared[name]))
        elif form is None:
            raise SourceInvalid(f"Source '{name}': what {location} is cannot be told from its ending (.csv, .parquet).")
        else:
            made.append(FileSource(name, location, form, declared[name], options.get(name, CsvOptions())))
    return tuple(made)


def _form(location: str) -> str | None:
    if location.startswith(_DATABASE):
        return "postgres"
    if "://" in location:
        raise SourceInvalid(f"'{_hidden(location)}': sources are files of this machine and postgresql:// addresses.")
    path = location.lower()
    for ending in _PACKED:
        if path.endswith(ending):
            path = path.removesuffix(ending)
            return "csv" if path.endswith((".csv", ".tsv")) else None
    if path.endswith((".csv", ".tsv")):
        return "csv"
    return "parquet" if path.endswith(".parquet") else None


def _hidden(text: str) -> str:
    """The text, without what stands between `//` and `@`: there could be a password."""
    return re.sub(r"//.*@", "//…@", text)[:200]


def _declared(columns: Sequence[str], located: Mapping[str, str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {name: {} for name in located}
    for text in columns:
        column, equals, kind = text.rpartition("=")
        if not equals or not column or not _TYPE.fullmatch(kind.strip()):
            raise SourceInvalid(f"'{text}' is not of the form [SOURCE.]COLUMN=TYPE, such as price=DECIMAL(10,2).")
        source, dot, rest = column.partition(".")
        if dot and source in located:
            found[source][rest] = kind.strip()
        elif len(located) == 1:
            found[next(iter(located))][column] = kind.strip()
        else:
            raise SourceInvalid(f"'{text}': with several sources, write SOURCE.COLUMN=TYPE.")
    for name, location in located.items():
        if found[name] and _form(location) == "parquet":
            raise SourceInvalid(f"Source '{name}' is Parquet and bears its own types: CAST in the query.")
    return found


def _csv_options(options: Sequence[str], located: Mapping[str, str], texts: Sequence[str]) -> dict[str, CsvOptions]:
    given: dict[str, list[tuple[str, str]]] = {name: [] for name in texts}
    for text in options:
        key, equals, value = text.partition("=")
        source, dot, option = key.rpartition(".")
        if not equals:
            raise SourceInvalid(f"'{text}' is not of the form [SOURCE.]OPTION=VALUE.")
        if dot and source not in texts:
            raise SourceInvalid(f"'{text}': no CSV source is named '{source}'; there are: {', '.join(located)}.")
        if not texts:
            raise SourceInvalid(f"'{text}': no source is a CSV file.")
        for name in [source] if dot else texts:
            given[name].append((option, value))
    return {name: _read_csv_options(rows) for name, rows in given.items()}


def _read_csv_options(given: Sequence[tuple[str, str]]) -> CsvOptions:
    values: dict[str, object] = {"null": ()}
    for option, value in given:
        if option == "null":
            values["null"] = (*values["null"], value)  # type: ignore[misc]  # a tuple: put there above
            continue
        if option in values:
            raise SourceInvalid(f"--csv {option} is given twice.")
        read = _CSV_OPTIONS.get(option)
        if read is None:
            raise SourceInvalid(
                f"There is no --csv option '{option}'; there are: {', '.join(['null', *_CSV_OPTIONS])}."
            )
        values[option] = read(option, value)
    return CsvOptions(**values)  # type: ignore[arg-type]  # each was read by the reader of its own type


def _one_of(option: str, value: str) -> str:
    known = value.lower().replace("_", "-").replace("latin1", "latin-1").replace("iso-8859-1", "latin-1")
    known = known.replace("utf8", "utf-8").replace("utf16", "utf-16")
    if known not in _ENCODINGS:
        raise SourceInvalid(f"--csv {option} is one of {', '.join(_ENCODINGS)}, not '{value}'.")
    return known


def _sign(option: str, value: str) -> str:
    value = "\t" if value in {"\\t", "tab"} else value
    if len(value) != 1 or (not value.isprintable() and value != "\t"):
        raise SourceInvalid(f"--csv {option} is one character (tab for the tabulator).")
    return value


def _sign_or_none(option: str, value: str) -> str:
    return "" if value in {"", "none"} else _sign(option, value)


def _yes_or_no(option: str, value: str) -> bool:
    if value not in {"true", "false", "yes", "no"}:
        raise SourceInvalid(f"--csv {option} is yes or no.")
    return value in {"true", "yes"}


def _count(option: str, value: str) -> int:
    if not re.fullmatch(r"\d{1,9}", value):
        raise SourceInvalid(f"--csv {option} is a number of rows.")
    return int(value)


def _text(option: str, value: str) -> str:
    if not value or len(value) > 200 or not value.isprintable():
        raise SourceInvalid(f"--csv {option} is empty, too long, or holds what cannot be printed.")
    return value


_CSV_OPTIONS = {
    "encoding": _one_of,
    "delimiter": _sign,
    "quote": _sign_or_none,
    "header": _yes_or_no,
    "decimal": _sign,
    "date_format": _text,
    "timestamp_format": _text,
    "skip": _count,
    "detect": _yes_or_no,
}


def _postgres(name: str, location: str, columns: Mapping[str, str]) -> PostgresSource:
    # By hand: urllib reads + as a space and drops line breaks, which SQL needs and libpq does neither.
    before, _, after = location.partition("://")[2].partition("?")
    pairs = [_pair(name, text) for text in after.split("&") if text]
    user, at, _ = before.partition("/")[0].rpartition("@")
    if (at and ":" in user) or any(key.lower() in _SECRETS for key, _ in pairs):
        raise PasswordShown(f"Source '{name}'.")
    tables = tuple(value for key, value in pairs if key == "table")
    queries = [value for key, value in pairs if key == "query"]
    if bool(tables) == bool(queries) or len(queries) > 1 or not all((*tables, *queries)):
        raise SourceInvalid(f"Source '{name}': say what to read, by any number of ?table=TABLE or one ?query=SELECT….")
    if len({table.rpartition(".")[2].lower() for table in tables}) < len(tables):
        raise SourceInvalid(f"Source '{name}': two of its tables would have the same name.")
    # libpq refuses words that it does not know: ours must not reach it.
    kept = "&".join(f"{quote(key)}={quote(value, safe='')}" for key, value in pairs if key not in {"table", "query"})
    uri = f"postgresql://{before}" + (f"?{kept}" if kept else "")
    return PostgresSource(name, uri, tables, query_text(queries[0]) if queries else None, columns)


def _pair(name: str, text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise SourceInvalid(f"Source '{name}': after the ? of its address stand pairs KEY=VALUE with & between.")
    try:
        return unquote(key, errors="strict"), unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise SourceInvalid(f"Source '{name}': its address is not UTF-8.") from None


def query_text(given: str) -> str:
    """SQL as it was given, or the content of the file that `@FILE` names.

    Raises:
        SourceInvalid: the file cannot be read, is too long or not UTF-8.
    """
    if not given.startswith("@"):
        return given
    try:
        with Path(given[1:]).expanduser().open("rb") as file:
            data = file.read(MAX_QUERY_BYTES + 1)
        if len(data) > MAX_QUERY_BYTES:
            raise SourceInvalid(f"{given[1:]} is longer than {MAX_QUERY_BYTES >> 10} KiB.")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise SourceInvalid(f"{given[1:]}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SourceInvalid(f"{given[1:]} is not UTF-8.") from None
