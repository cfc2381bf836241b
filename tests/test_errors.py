"""The messages of mistakes are short, whatever a damaged file holds."""

from bert_jax.errors import InputError


def test_a_long_line_is_cut_in_the_middle():
    first, second = str(InputError(f"file: {'x' * 5000}; mend it\nand more")).split("\n")
    assert first.startswith("file: xxx") and first.endswith("xxx; mend it") and 1000 <= len(first) < 1010
    assert second == "and more"
