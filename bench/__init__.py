"""The figures of `make bench`: one module per area, each with `rows(quick)`."""
