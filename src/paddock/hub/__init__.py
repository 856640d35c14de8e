"""The coordination service: contracts, runs, receipts, ciphertext. It holds no key and opens nothing."""
