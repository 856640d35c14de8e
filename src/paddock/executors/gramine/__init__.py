"""The executors `gramine` (Intel SGX) and `gramine-direct` (the same library OS without SGX, to try things out).

The manifest is a pure description; Gramine's own tools check, expand and sign it. What runs is the runtime image.
Source: Gramine documentation 1.9, "Manifest syntax", "Attestation and Secret Provisioning"; docs/executors/gramine.md.
"""
