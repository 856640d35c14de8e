"""Keys, signatures, HPKE, streams and digests: thin over pyca/cryptography, which only this room imports."""
