"""Simulator, test doubles and contract suites for plug-ins. Never in an enclave image; nothing imports this room."""
