"""Prepare raw text as shards of token ids, and read them."""
