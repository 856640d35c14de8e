"""Stores: where sealed objects are kept. They see ciphertext alone."""

from paddock.store.address import open_store
from paddock.store.api import Store
from paddock.store.folder import FolderStore
from paddock.store.http import HttpStore, SignRequest

__all__ = ["FolderStore", "HttpStore", "SignRequest", "Store", "open_store"]
