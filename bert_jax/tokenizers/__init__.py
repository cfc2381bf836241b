"""Text to token ids: WordPiece and SentencePiece tokenizers, and the tokenizer files of `transformers`."""
