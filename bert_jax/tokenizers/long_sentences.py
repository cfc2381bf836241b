"""Split sentences that are too long for SentencePiece, which skips them silently."""

from collections.abc import Iterable, Iterator


def cut_long(sentences: Iterable[str], size: int) -> Iterator[str]:
    """Cut sentences to at most `size` bytes: at the last space that fits, or else at any character.

    >>> list(cut_long(["a river runs", "北区"], 7))
    ['a river', 'runs', '北区']
    """
    for sentence in sentences:
        if len(sentence) * 4 <= size or len(data := sentence.encode()) <= size:
            yield sentence
            continue
        start = 0
        while len(data) - start > size:
            end = data.rfind(b" ", start + 1, start + size + 1)
            if end < 0:
                end = start + size
                while data[end] & 0xC0 == 0x80:  # never inside a character
                    end -= 1
            yield data[start:end].decode()
            start = end + data.startswith(b" ", end)
        yield data[start:].decode()
