"""The one way between a job in its walls and the enclave: what may be said, and both ends of saying it."""
