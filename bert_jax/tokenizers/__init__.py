"""From text to token ids: WordPiece and SentencePiece vocabularies, and what transformers reads."""
