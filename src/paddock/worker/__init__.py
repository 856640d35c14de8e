"""The process inside the walls: it runs one job and speaks to nobody but its gateway. No keys, no contract, no evidence."""
