"""The tasks of the synthetic suite, and a function per task that draws its rows.

A drawing function takes a generator and the wanted class, and returns the texts with their label.
"""

import zlib
from collections.abc import Callable, Sequence

import numpy as np

from bert_jax.errors import unknown
from bert_jax.tasks.synthetic import claims, grammar
from bert_jax.tasks.synthetic import lexicon as lex
from bert_jax.tasks.synthetic.grammar import (
    Event,
    Item,
    chance,
    pick,
    pick_two,
)
from bert_jax.tasks.task import Split, Task

DrawnRow = tuple[tuple[str, ...], float]

ROWS = {"train": 1000, "validation": 400}
"""Number of rows in each split of every task."""

ONE, TWO = ("sentence",), ("sentence1", "sentence2")
TASKS = {
    task.name: task
    for task in (
        Task(
            "acceptability",
            "Acceptability",
            ONE,
            ("unacceptable", "acceptable"),
            ("mcc", "accuracy"),
            needs="Word order, and the number of the subject beside that of the verb, whatever noun stands between "
            "them; the set of words says nothing.",
        ),
        Task(
            "sentiment",
            "Sentiment",
            ONE,
            ("negative", "positive"),
            ("accuracy",),
            needs="Composition: the adjective, turned around by each negation that has it in its scope; neither the "
            "adjective nor the negations say anything alone.",
        ),
        Task(
            "keyword",
            "Keyword",
            ONE,
            ("delight", "danger"),
            ("accuracy",),
            needs="One decisive word at any place in a long neutral sentence; half of the validation rows have a "
            "word that no training row shows, and only the corpus tells its kind.",
        ),
        Task(
            "paraphrase",
            "Paraphrase",
            TWO,
            ("different", "same"),
            ("accuracy", "f1"),
            needs="Who does what to whom, whatever the construction, and which words are synonyms; the share of "
            "common words tells only the third of the rows in which the thing may differ.",
        ),
        Task(
            "similarity",
            "Similarity",
            TWO,
            (),
            ("pearson", "spearman"),
            needs="How many roles the same meanings fill in both sentences; the share of common words goes a long "
            "way, synonyms and exchanged roles go the rest.",
        ),
        Task(
            "entailment",
            "Entailment",
            TWO,
            ("entailment", "not_entailment"),
            ("accuracy",),
            directed=True,
            needs="Logic: whether every, some, no and not every let a word grow narrower or wider, and in which of the "
            "two sentences it is wider; the words alone say nothing.",
        ),
    )
}


def read(task: Task, split: str, seed: int = 0) -> Split:
    """Generate the rows of one split, a pure function of (task name, split, seed).

    Class labels are int32 and alternate, so that every split, and every even-sized prefix of one, is
    balanced; scores are float32 in [0, 5]. No row occurs twice, within or across splits: a
    checksum of its texts determines the split of a row.

    Raises:
        InputError: the task is not of this suite, or the split is unknown.
    """
    if task.name not in TASKS:
        raise unknown("synthetic task", task.name, TASKS)
    if split not in ROWS:
        raise unknown("split", split, ROWS)
    rng = grammar.stream(seed, f"{task.name}/{split}")
    rows: dict[tuple[str, ...], float] = {}
    while len(rows) < ROWS[split]:
        texts, label = DRAW[task.name](rng, len(rows) % task.num_outputs)
        if split_of(texts) == split:
            rows.setdefault(tuple(f"{text} ." for text in texts), label)
    columns = [list(column) for column in zip(*rows, strict=True)]
    labels = np.array(list(rows.values()), np.float32 if task.is_regression else np.int32)
    return Split(columns[0], columns[1] if len(columns) == 2 else None, labels)


def split_of(texts: tuple[str, ...]) -> str:
    """Return the split of a row: validation for all texts with a held-back word and for
    a quarter of the others, else train."""
    kept_back = not lex.KEPT_BACK.isdisjoint(" ".join(texts).split())
    return "validation" if kept_back or zlib.crc32("\n".join(texts).encode()) % 4 == 0 else "train"


def draw_acceptability(rng: np.random.Generator, label: int) -> DrawnRow:
    """Draw a grammatical sentence, or one with a wrong verb form or word order."""
    in_number = chance(rng, 0.5)
    scene = pick(rng, lex.SCENES)
    sentence = grammar.described(rng, grammar.setting(scene), agreeing=bool(label) or not in_number)
    words = sentence.words
    if not label and not in_number:
        articles = [place for place, word in enumerate(words) if word == "the"]
        place = pick(rng, articles)
        wrong = ((place, place + 1), (sentence.subject, sentence.verb))
        words = exchanged(words, *pick(rng, wrong))
    return (" ".join(words),), label


def exchanged(words: list[str], first: int, second: int) -> list[str]:
    """Swap the words at two indices."""
    new = list(words)
    new[first], new[second] = words[second], words[first]
    return new


def draw_sentiment(rng: np.random.Generator, label: int) -> DrawnRow:
    """Draw a judgement on a thing."""
    thing = pick(rng, grammar.things(pick(rng, lex.SCENES)))
    person = pick(rng, lex.NAMES[pick(rng, tuple(lex.NAMES))])
    return (grammar.opinion(rng, bool(label), thing, person),), label


def draw_keyword(rng: np.random.Generator, label: int) -> DrawnRow:
    """Draw a neutral sentence with one key word that does not belong to the scene."""
    key = pick(rng, (lex.DELIGHTS, lex.DANGERS)[label])
    scene = pick(rng, lex.SCENES)
    return (grammar.sighting(rng, key, grammar.setting(scene)),), label


def draw_event(rng: np.random.Generator) -> tuple[Event, lex.Scene]:
    """Draw an event between two people of one scene."""
    scene = pick(rng, lex.SCENES)
    agent, recipient = pick_two(rng, scene.people)
    return grammar.event(rng, f"the {agent}", f"the {recipient}", grammar.setting(scene)), scene


def draw_paraphrase(rng: np.random.Generator, label: int) -> DrawnRow:
    """Draw an event told twice. A third of the rows depend on who gives and who takes, a third on one
    replaced word, a synonym in one class and not in the other, and a third on the thing.
    """
    first, scene = draw_event(rng)
    second = grammar.reworded(rng, first)
    turns_on = pick(rng, ("roles", "word", "thing"))
    if turns_on == "word":
        field, table = pick(rng, (("verb", lex.TRANSFER), ("quality", lex.THING_QUALITIES)))
        word = getattr(first, field)
        second = second._replace(**{field: lex.SYNONYM[word] if label else another(rng, word, table)})
    elif turns_on == "roles" and not label:
        second = second._replace(agent=first.recipient, recipient=first.agent)
    elif not label:
        second = second._replace(thing=pick(rng, grammar.things(pick(rng, without(lex.SCENES, scene)))))
    return (grammar.tell(rng, first), grammar.tell(rng, second)), label


def another(rng: np.random.Generator, word: str, table: tuple[tuple[str, str], ...]) -> str:
    """Draw a word of the table with another meaning."""
    return pick(rng, pick(rng, [pair for pair in table if word not in pair]))


def without(items: Sequence[Item], *left_out: Item) -> list[Item]:
    """Return the items other than those left out."""
    return [item for item in items if item not in left_out]


def draw_similarity(rng: np.random.Generator, label: int) -> DrawnRow:
    """Draw two events and the number of their five roles (agent, verb, quality, thing, recipient) that agree.

    Fillers that differ come from the same scene in half of the rows, and from another in half. A thing
    of the same category counts half. If neither person agrees, the two may have swapped roles.
    """
    first, scene = draw_event(rng)
    elsewhere = scene if chance(rng, 0.5) else pick(rng, without(lex.SCENES, scene))
    keep = rng.random(5) < rng.random()
    second = grammar.reworded(rng, first)
    if not keep[0]:
        second = second._replace(verb=another(rng, first.verb, lex.TRANSFER))
    if not keep[1]:
        second = second._replace(quality=another(rng, first.quality, lex.THING_QUALITIES))
    if not keep[2]:
        second = second._replace(thing=pick(rng, without(grammar.things(elsewhere), first.thing)))
    if not keep[3] or not keep[4]:
        second = with_other_people(rng, second, elsewhere, *keep[3:])
    akin = not keep[2] and elsewhere is scene
    akin = akin and grammar.category(scene, first.thing) == grammar.category(scene, second.thing)
    return (grammar.tell(rng, first), grammar.tell(rng, second)), keep.sum() + akin / 2


def with_other_people(
    rng: np.random.Generator, told: Event, scene: lex.Scene, keep_agent: bool, keep_recipient: bool
) -> Event:
    """Replace agent and recipient unless kept; if neither is kept, they swap roles with probability 1/2."""
    if not keep_agent and not keep_recipient and chance(rng, 0.5):
        return told._replace(agent=told.recipient, recipient=told.agent)
    others = without([f"the {person}" for person in scene.people], told.agent, told.recipient)
    agent, recipient = pick_two(rng, others)
    return told._replace(
        agent=told.agent if keep_agent else agent, recipient=told.recipient if keep_recipient else recipient
    )


def draw_entailment(rng: np.random.Generator, label: int) -> DrawnRow:
    """Draw a premise and a hypothesis that follows from it, or does not."""
    scene = pick(rng, lex.SCENES)
    thing = pick(rng, grammar.things(scene))
    return claims.draw(rng, label == 0, pick(rng, scene.people), thing, grammar.category(scene, thing)), label


DRAW: dict[str, Callable[[np.random.Generator, int], DrawnRow]] = {
    "acceptability": draw_acceptability,
    "sentiment": draw_sentiment,
    "keyword": draw_keyword,
    "paraphrase": draw_paraphrase,
    "similarity": draw_similarity,
    "entailment": draw_entailment,
}
