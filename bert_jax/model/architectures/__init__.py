"""Encoders other than BERT, one file each: the config, the parts of the network, and their registration."""
