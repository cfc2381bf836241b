"""Task definitions as rows of data, and readers for their published files."""
