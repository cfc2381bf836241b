"""Speed of this package beside a peer's, measured in one run on one machine."""
