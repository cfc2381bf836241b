"""Detect text that a vocabulary does not fit, by the share of its tokens that are [UNK]."""

_MOST = 0.2
"""Share of [UNK] above which a vocabulary does not fit a text."""


def describe_unknown(unknown: float, tokens: int, data: str) -> str:
    """Return a warning if more than a fifth of a text's tokens are [UNK], else an empty string.

    Args:
        unknown: number of tokens that are [UNK].
        tokens: number of all tokens, without [CLS], [SEP] and padding.
        data: name of the text in the warning.
    """
    if unknown <= _MOST * tokens:
        return ""
    return (
        f"{data}: {unknown / tokens:.0%} of the tokens are [UNK]: the vocabulary, or the way in which the tokenizer "
        "cuts words, does not fit this text"
    )
