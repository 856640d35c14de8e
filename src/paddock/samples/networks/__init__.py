"""Networks as their developers wrote them: ordinary files, read by `paddock program export`."""
