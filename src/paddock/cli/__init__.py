"""The `paddock` command: the composition root, thin over the SDK and the services."""
