"""Speed of this package and of a peer's, measured in one run on one machine."""
