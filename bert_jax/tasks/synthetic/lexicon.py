"""The words of the synthetic language, as plain tables.

Every noun takes "s" in the plural and every verb takes "s" after a singular subject, so inflected
forms are not stored. No content word is in two tables.
"""

from typing import NamedTuple


class Scene(NamedTuple):
    """The scene of a document: a place, its people, and its kinds of things by category."""

    place: str
    people: tuple[str, ...]
    kinds: dict[str, tuple[str, ...]]


SCENES = (
    Scene(
        "harbor",
        ("sailor", "captain", "fisher", "diver"),
        {"vessel": ("boat", "raft", "canoe"), "seabird": ("gull", "heron", "pelican")},
    ),
    Scene(
        "kitchen",
        ("cook", "baker", "waiter", "helper"),
        {"meal": ("soup", "stew", "pie"), "utensil": ("spoon", "pan", "kettle")},
    ),
    Scene(
        "workshop",
        ("carpenter", "smith", "welder", "painter"),
        {"tool": ("hammer", "saw", "drill"), "seat": ("stool", "chair", "sofa")},
    ),
    Scene(
        "theater",
        ("actor", "singer", "dancer", "director"),
        {"instrument": ("violin", "drum", "flute"), "garment": ("cloak", "robe", "gown")},
    ),
)

NAMES = {
    "she": ("mira", "lena", "anna", "clara", "ida", "nora", "rosa", "tessa", "vera", "wilma", "judith", "helga"),
    "he": ("tomas", "boris", "carlo", "david", "emil", "felix", "hugo", "ivan", "karl", "louis", "oscar", "peter"),
}

TIMES = ("at dawn", "at noon", "at dusk", "at night", "on monday", "on friday", "in spring", "in winter", "today")

# Pairs of synonyms; no two pairs of one table have the same meaning.
HANDLING = (
    ("lift", "raise"),
    ("hold", "grip"),
    ("clean", "scrub"),
    ("find", "locate"),
    ("choose", "select"),
    ("collect", "gather"),
    ("inspect", "examine"),
    ("want", "desire"),
    ("hide", "conceal"),
    ("need", "require"),
)
TRANSFER = (
    ("give", "hand"),
    ("send", "mail"),
    ("lend", "loan"),
    ("show", "present"),
    ("bring", "deliver"),
    ("throw", "fling"),
)
PEOPLE_QUALITIES = (
    ("old", "elderly"),
    ("young", "youthful"),
    ("calm", "quiet"),
    ("tired", "weary"),
    ("rich", "wealthy"),
    ("strong", "sturdy"),
    ("thin", "slim"),
    ("famous", "noted"),
)
THING_QUALITIES = (
    ("big", "large"),
    ("small", "little"),
    ("wet", "damp"),
    ("shiny", "gleaming"),
    ("heavy", "weighty"),
    ("round", "circular"),
    ("red", "scarlet"),
    ("plain", "simple"),
)
SYNONYM = {
    word: other
    for table in (HANDLING, TRANSFER, PEOPLE_QUALITIES, THING_QUALITIES)
    for pair in table
    for word, other in (pair, pair[::-1])
}

GOOD = tuple("good great lovely excellent wonderful superb splendid delightful pleasant fine perfect charming".split())
BAD = tuple("bad awful terrible horrible dreadful poor nasty dismal dull ugly boring disgusting".split())
DEGREES = ("very", "quite", "really", "rather")
NEGATIONS = ("not", "never")
# Phrase before a statement, and True if it reverses the statement.
FRAMES = (("it is true that", False), ("it is not true that", True))
JOY = ("smile", "laugh", "cheer", "rejoice", "celebrate")
GLOOM = ("frown", "complain", "weep", "sigh", "grumble")

DANGERS = tuple(
    "storm fire flood wolf thief bomb snake shark robber tiger "
    "tornado hurricane bandit avalanche explosion earthquake landslide blizzard plague poison".split()
)
DELIGHTS = tuple(
    "parade clown concert circus carnival wedding picnic banquet feast choir "
    "juggler magician puppet balloon lantern rainbow acrobat firework fountain cake".split()
)
# Key words that no training row contains: a fifth of all, in half of the validation rows.
KEPT_BACK = frozenset((*DANGERS[-4:], *DELIGHTS[-4:]))
