"""Raw documents to clean sentences: markup and placeholders out, then a rule-based splitter for European languages.

A full stop ends a sentence unless what stands before it is an abbreviation or an initial, or what comes after goes on
in lower case. The rules err towards long sentences: a sentence cut in two teaches a model more that is wrong.
"""

import html
import re
from collections.abc import Iterator

_COMMENT = re.compile(r"<!--.*?-->")
_TAG = re.compile(r"</?([A-Za-z][\w:-]*)(?:\s+[\w:-]+\s*=\s*(?:\"[^\"<>]*\"|'[^'<>]*'|[^\s\"'<>]+))*\s*/?>")
_INLINE = frozenset("a abbr b big cite code em font i math nowiki s small span strong sub sup tt u var".split())
"""Tags that may stand within a word."""
_LINK = re.compile(r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]*)\]\]")
_META_LINK = re.compile(r"\[\[(?:Category|File|Image):[^\[\]]*\]\]")
_FORMULA = re.compile(r"\bformula_\d+\b")
_HOLLOW = re.compile(r"\([,;: ]*\)")
"""Brackets that lost all they held."""

_LETTER = re.compile(r"[^\W\d_]")
_STOP = re.compile(r"[.!?…][\"'”“\u2019»)\]]* ")
_OPENING = "\"'“\u2018„«([¿¡-\u2013—"

_TITLES = frozenset(
    "mr mrs ms mx dr prof st ste rev fr hon gen col lt capt cpt cmdr sgt maj adm gov sen rep pres messrs mme mlle "
    "vs e.g i.e cf viz approx resp incl esp z.b d.h bzw hr sr sra srta dott sig dhr mevr mt ft al".split()
)
"""Never the last word of a sentence."""
_BEFORE_NUMBERS = frozenset(
    "no nos nr núm vol fig figs pp p ch chap sec art abb s ca c circa bd hwy rte op jan feb mar apr jun jul aug sep "
    "sept oct nov dec b d r".split()
)
"""Not the last word of a sentence where a number follows."""
_PERHAPS = frozenset("inc ltd co corp bros jr sr esq ph.d u.s.c univ dept est ave blvd rd etc ed eds".split())
"""The last word of a sentence only where what follows looks like the first, as with initials."""
_FIRST = frozenset(
    "the this these those that there they then he she it we you i in on at by for from with after before during when "
    "while as if although though however but and or so his her its their our my some many most all both each every "
    "a an another other one two three since because today now no not also its what who where why how".split()
)

_BEFORE_FIRST = _OPENING + " "
_ABBREVIATIONS = _TITLES | _BEFORE_NUMBERS | _PERHAPS


def clean(line: str) -> str:
    """A line without stray tags, links and entities, `formula_N` placeholders, hollow brackets and superfluous white
    space; empty where it holds no letter, or cells of a table.

    >>> clean("Energy  is <b>not</b> lost ( ; ), so formula_12 &amp; mass are one.<br />")
    'Energy is not lost , so & mass are one.'
    """
    if not line:
        return ""
    # First, because a long run of spaces would cost the patterns below the square of its length. No white space but
    # a space is printable.
    if "  " in line or line[0] == " " or line[-1] == " " or not line.isprintable():
        line = " ".join(line.split())
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
        line = _HOLLOW.sub(" ", line)
    if line is not plain:
        line = " ".join(line.split())
    return line if "||" not in line and (line[:1].isalpha() or _LETTER.search(line)) else ""


def split_sentences(text: str) -> list[str]:
    """The sentences of a paragraph whose white space is single spaces.

    >>> split_sentences("Mr. Wu paid 3.50 to J. R. Smith. He said: “Why?” Then ... he left.")
    ['Mr. Wu paid 3.50 to J. R. Smith.', 'He said: “Why?”', 'Then ... he left.']
    """
    sentences, start = [], 0
    for match in _STOP.finditer(text):
        end = match.end()
        if _ends_sentence(text, start, match.start(), end):
            sentences.append(text[start : end - 1])
            start = end
    if start < len(text):
        sentences.append(text[start:])
    return sentences


def _ends_sentence(text: str, start: int, stop: int, after: int) -> bool:
    """Whether the mark at `stop` ends the sentence that begins at `start`; what follows begins at `after`."""
    first = text[after : after + 1]
    if not first.isalnum():
        first = text[after : after + 16].lstrip(_BEFORE_FIRST)[:1]
    if not first.isalnum() or first.islower():
        return False
    if text[stop] != "." or after - stop > 2 or text[stop - 1 : stop] == ".":
        return True
    word = text[max(text.rfind(" ", start, stop) + 1, start) : stop]
    if len(word) > 1 and word.isalpha() and word.lower() not in _ABBREVIATIONS:
        return True  # as most words are: this is for speed
    word = word.lstrip(_OPENING).lower()
    if word in _TITLES or (word.isdigit() and stop - len(word) == start):
        return False
    if first.isdigit():
        return word not in _BEFORE_NUMBERS
    if word in _PERHAPS or _is_initials(word):
        return text[after : after + 16].lstrip(_BEFORE_FIRST).split(" ", 1)[0].rstrip(",").lower() in _FIRST
    return True


def _is_initials(word: str) -> bool:
    """`j`, `u.s`, `ph.d`: single letters with stops between."""
    return (len(word) == 1 and word.isalpha()) or ("." in word and all(len(part) <= 2 for part in word.split(".")))


def sentences_of(document: str, split: bool = True) -> Iterator[str]:
    """The clean sentences of a document whose lines are paragraphs, or (without `split`) sentences already."""
    for line in document.split("\n"):
        if cleaned := clean(line):
            if split:
                yield from split_sentences(cleaned)
            else:
                yield cleaned
