"""Results of SQL queries over files and databases on the owner's machine, as a stream of bytes to be sealed.

A query may come from somebody else. It is read before it runs (`statement`), reaches nothing but the sources that were
named for it (`engine`), and knows no keys: this room imports nothing of ours but the errors.
"""

from paddock.query.result import Column, QueryResult, ResultFile, open_query
from paddock.query.settings import QuerySettings
from paddock.query.sources import CsvOptions, FileSource, PostgresSource, Source, parse_sources
from paddock.query.statement import Statement, read_statement

__all__ = [
    "Column",
    "CsvOptions",
    "FileSource",
    "PostgresSource",
    "QueryResult",
    "QuerySettings",
    "ResultFile",
    "Source",
    "Statement",
    "open_query",
    "parse_sources",
    "read_statement",
]
