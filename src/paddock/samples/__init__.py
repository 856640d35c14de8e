"""Sample data and networks: what the demo's parties bring."""
