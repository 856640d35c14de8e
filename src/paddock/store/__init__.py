"""Stores: where sealed objects are kept. They see ciphertext alone."""

from paddock.store.api import Store
from paddock.store.folder import FolderStore

__all__ = ["FolderStore", "Store"]
