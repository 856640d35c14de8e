"""Drafts: trees of files that are worked on, and that leave memory as sealed objects alone (docs/spec/draft.md)."""

from paddock.views.drafts.draft import Draft, DraftOptions, Head
from paddock.views.drafts.tree import DraftFile, DraftFolder

__all__ = ["Draft", "DraftFile", "DraftFolder", "DraftOptions", "Head"]
