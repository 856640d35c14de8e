"""The demo: five parties on one machine, each with its own home, keys and keeper; then three frauds, refused."""
