"""The keeper: a party's key-release service around the one decision of `release`."""
