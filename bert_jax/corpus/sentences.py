"""Clean raw documents of markup and placeholders, and split them into sentences by rules for European languages.

A full stop ends a sentence unless the word before it is an abbreviation or an initial, or the word after it is in
lower case. The rules err towards long sentences, because a sentence cut in two harms a model more.
"""

import html
import re
from collections.abc import Iterator

import numpy as np

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
"""Characters that are neither text nor white space."""
_COMMENT = re.compile(r"<!--.*?-->")
_TAG = re.compile(r"</?([A-Za-z][\w:-]*)(?:\s+[\w:-]+\s*=\s*(?:\"[^\"<>]*\"|'[^'<>]*'|[^\s\"'<>]+))*\s*/?>")
_INLINE = frozenset("a abbr b big cite code em font i math nowiki s small span strong sub sup tt u var".split())
"""Tags that may occur within a word."""
_LINK = re.compile(r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]*)\]\]")
_META_LINK = re.compile(r"\[\[(?:Category|File|Image):[^\[\]]*\]\]")
_FORMULA = re.compile(r"\bformula_\d+\b")
_EMPTY_BRACKETS = re.compile(r"\([,;: ]*\)")
"""Brackets that are empty after cleaning."""

_LETTER = re.compile(r"[^\W\d_]")
_MARKS = ".!?…"
_CLOSING = "\"'”“\u2019»)]"
_STOP = re.compile(rf"[{_MARKS}][{re.escape(_CLOSING)}]* ")
_AT_END = frozenset(_MARKS + _CLOSING)
_OPENING = "\"'“\u2018„«([¿¡-\u2013—"

_TITLES = frozenset(
    "mr mrs ms mx dr prof st ste rev fr hon gen col lt capt cpt cmdr sgt maj adm gov sen rep pres messrs mme mlle "
    "vs e.g i.e cf viz approx resp incl esp z.b d.h bzw hr sr sra srta dott sig dhr mevr mt ft al".split()
)
"""Words that never end a sentence."""
_BEFORE_NUMBERS = frozenset(
    "no nos nr núm vol fig figs pp p ch chap sec art abb s ca c circa bd hwy rte op jan feb mar apr jun jul aug sep "
    "sept oct nov dec b d r".split()
)
"""Words that do not end a sentence if a number follows."""
_LIKE_INITIALS = frozenset("inc ltd co corp bros jr sr esq ph.d u.s.c univ dept est ave blvd rd etc ed eds".split())
"""Words that, like initials, end a sentence only if the next word is a typical first word."""
_FIRST = frozenset(
    "the this these those that there they then he she it we you i in on at by for from with after before during when "
    "while as if although though however but and or so his her its their our my some many most all both each every "
    "a an another other one two three since because today now no not also its what who where why how".split()
)

# Classes of a word as the possible last word of a sentence ...
_NEVER, _ALWAYS, _UNLESS_NUMBER, _IF_FIRST_OR_NUMBER, _IF_FIRST, _ORDINAL = range(6)
# ... and as the possible first word; for an opening mark by itself, the next word decides.
_OPENS, _OTHER, _CAPITAL, _KNOWN_FIRST, _NUMBER = range(5)
_ENDS = np.zeros((6, 5), bool)
_ENDS[[_ALWAYS, _ORDINAL], _CAPITAL:] = True
_ENDS[_UNLESS_NUMBER, [_CAPITAL, _KNOWN_FIRST]] = True
_ENDS[_IF_FIRST_OR_NUMBER, [_KNOWN_FIRST, _NUMBER]] = True
_ENDS[_IF_FIRST, _KNOWN_FIRST] = True
"""Mask [6 5]: True if a sentence ends between a word of class [6] and a next word of class [5]."""


def clean(line: str) -> str:
    """Remove control characters, stray tags, links and entities, `formula_N` placeholders, empty brackets and
    superfluous white space from a line; returns an empty string for a line without letters or with table cells.

    >>> clean("Energy  is <b>not</b> lost ( ; ), so formula_12 &amp; mass are one.<br />")
    'Energy is not lost , so & mass are one.'
    """
    if not line:
        return ""
    # First, because the patterns below take quadratic time on a long run of spaces. The only printable white space
    # is the space.
    if "  " in line or line[0] == " " or line[-1] == " " or not line.isprintable():
        line = " ".join(_CONTROL.sub("", line).split())
    plain = line
    if "&" in line:
        line = html.unescape(line)
    if "<" in line:
        line = _TAG.sub(lambda tag: "" if tag[1].lower() in _INLINE else " ", _COMMENT.sub(" ", line))
    if "[[" in line or "]]" in line:
        line = _LINK.sub(r"\1", _META_LINK.sub(" ", line)).replace("[[", " ").replace("]]", " ")
    if "formula_" in line:
        line = _FORMULA.sub(" ", line)
    if "(" in line:
        line = _EMPTY_BRACKETS.sub(" ", line)
    if line is not plain:
        line = " ".join(_CONTROL.sub("", line).split())  # an entity may encode a control character
    return line if "||" not in line and (line[:1].isalpha() or _LETTER.search(line)) else ""


def split_sentences(text: str) -> list[str]:
    """Split a paragraph, whose white space must be single spaces, into sentences.

    >>> split_sentences("Mr. Wu paid 3.50 to J. R. Smith. He said: “Why?” Then ... he left.")
    ['Mr. Wu paid 3.50 to J. R. Smith.', 'He said: “Why?”', 'Then ... he left.']
    """
    sentences, start = [], 0
    for match in _STOP.finditer(text):
        end = match.end()
        word = text[text.rfind(" ", start, end - 1) + 1 or start : end - 1]
        last = as_last(word)
        if last == _ORDINAL and start + len(word) == end - 1:
            continue
        if last != _NEVER and _ENDS[last, _next_first(text, end)]:
            sentences.append(text[start : end - 1])
            start = end
    if start < len(text):
        sentences.append(text[start:])
    return sentences


def _next_first(text: str, start: int) -> int:
    """Apply `as_first` to the first word from `start` on that is more than opening marks."""
    while start < len(text):
        end = text.find(" ", start)
        first = as_first(text[start : end if end >= 0 else len(text)])
        if first != _OPENS or end < 0:
            return first
        start = end + 1
    return _OPENS


def find_ends(last: np.ndarray, first: np.ndarray, paragraphs: np.ndarray) -> np.ndarray:
    """Mask [N] bool of the words that end a sentence: vectorised `split_sentences` for the paragraphs of many texts.

    Args:
        last: `as_last` of the words [N].
        first: `as_first` of the words [N].
        paragraphs: mask [N] bool of the words that end a paragraph.
    """
    ends = paragraphs.copy()
    perhaps = np.flatnonzero((last != _NEVER) & ~paragraphs)
    after = perhaps + 1
    skipping = np.arange(len(after))
    while len(skipping := skipping[(first[after[skipping]] == _OPENS) & ~paragraphs[after[skipping]]]):
        after[skipping] += 1
    ends[perhaps] = _ENDS[last[perhaps], first[after]]
    # In order, because the result for an ordinal depends on the word before it.
    for word in perhaps[last[perhaps] == _ORDINAL].tolist():
        if word == 0 or ends[word - 1]:
            ends[word] = False
    return ends


def as_last(word: str) -> int:
    """Classify a word, with its punctuation, as the possible last word of a sentence."""
    if word[-1:] not in _AT_END:
        return _NEVER  # the most frequent case first, for speed
    bare = word.rstrip(_CLOSING)
    if not bare or bare[-1] not in _MARKS:
        return _NEVER
    if bare[-1] != "." or len(bare) < len(word) or bare[-2:-1] == ".":
        return _ALWAYS
    if bare[:-1].isdigit():
        return _ORDINAL
    bare = bare[:-1].lstrip(_OPENING).lower()
    if bare in _TITLES:
        return _NEVER
    if bare in _LIKE_INITIALS or _is_initials(bare):
        return _IF_FIRST if bare in _BEFORE_NUMBERS else _IF_FIRST_OR_NUMBER
    return _UNLESS_NUMBER if bare in _BEFORE_NUMBERS else _ALWAYS


def as_first(word: str) -> int:
    """Classify a word, with its punctuation, as the possible first word of a sentence."""
    if "a" <= word[:1] <= "z":
        return _OTHER  # the most frequent case first, for speed
    bare = word.lstrip(_OPENING)
    if not bare:
        return _OPENS
    if not bare[0].isalnum() or bare[0].islower():
        return _OTHER
    if bare[0].isdigit():
        return _NUMBER
    return _KNOWN_FIRST if bare.rstrip(",").lower() in _FIRST else _CAPITAL


def _is_initials(word: str) -> bool:
    """Return True for `j`, `u.s` or `ph.d`: one letter, or short parts joined by full stops."""
    return (len(word) == 1 and word.isalpha()) or ("." in word and all(len(part) <= 2 for part in word.split(".")))


def paragraphs_of(document: str) -> list[str]:
    """Return the clean paragraphs of a document, one per line of it."""
    return [cleaned for line in document.split("\n") if line and (cleaned := clean(line))]


def sentences_of(document: str) -> Iterator[str]:
    """Yield the clean sentences of a document whose lines are paragraphs."""
    for paragraph in paragraphs_of(document):
        yield from split_sentences(paragraph)
