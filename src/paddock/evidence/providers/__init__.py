"""One module per vendor; each is an entry point of the group `paddock.evidence`."""
