"""The tasks of the synthetic suite, and a function per task that draws its rows.

A drawing function takes a generator and the wanted class, and returns the texts with their label.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

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

ROWS = {"train": 1000, "validation": 1500}
"""Number of rows in each split of every task. Rows to score cost little and make intervals shorter."""

NEEDLE = "One word decides, and pooling has its own vector in it; [CLS] has only what attention has found."
ONE_PLACE = "A quantifier and one change decide together; the mean mixes the place where they meet with all others."
TWO_PLACES = "A quantifier and one change decide together, and [CLS] may attend to both; mean and max mix in all else."
ONE, TWO = ("sentence",), ("sentence1", "sentence2")
TASKS = {
    task.name: replace(task, suite="synthetic")
    for task in (
        Task(
            "acceptability",
            "Acceptability",
            ONE,
            ("unacceptable", "acceptable"),
            ("mcc", "accuracy"),
            needs="Word order, and the number of the subject beside that of the verb, whatever noun stands between "
            "them; the set of words says nothing.",
            favours=(
                (
                    "mean",
                    "The words beside a wrong place have seen it, and the mean adds up what they hold; [CLS] must "
                    "gather it first.",
                ),
                (
                    "max",
                    "One wrong place makes the whole sentence wrong, and the maximum keeps the strongest sign of one.",
                ),
            ),
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
            favours=(
                ("max", NEEDLE),
                ("mean", NEEDLE),
            ),
        ),
        Task(
            "paraphrase",
            "Paraphrase",
            TWO,
            ("different", "same"),
            ("accuracy", "f1"),
            needs="Who gives to whom, whatever the construction, and whether it is one thing or several; verbs and "
            "adjectives turn into synonyms in both classes, and words without order tell less than the half of the "
            "rows that turn on the number.",
        ),
        Task(
            "similarity",
            "Similarity",
            TWO,
            (),
            ("pearson", "spearman"),
            needs="How much agrees: who gives, how many things, the verb's meaning and the kind of thing; the share of "
            "common words goes a part of the way, order and synonyms go the rest.",
            favours=(
                ("max", "Each thing that differs shows on a word or two, and the maximum adds no others to them."),
                ("mean", "The score adds up what agrees, word by word, as the mean does; [CLS] must gather it first."),
            ),
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
            favours=(
                ("cls", TWO_PLACES),
                ("max", ONE_PLACE),
            ),
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


class Transfer(NamedTuple):
    """An event between a woman and a man, its thing in the singular, and whether there are several things."""

    event: Event
    many: bool
    scene: lex.Scene

    def tell(self, rng: np.random.Generator) -> str:
        """Express the event in one of four constructions."""
        return grammar.tell(rng, self.event._replace(thing=grammar.number(self.event.thing, self.many)))


def draw_transfer(rng: np.random.Generator) -> Transfer:
    """Draw an event without a time."""
    scene = pick(rng, lex.SCENES)
    giver, taker = pick_two(rng, [pick(rng, names) for names in lex.NAMES.values()])
    about = grammar.setting(scene)._replace(times=("",))
    return Transfer(grammar.event(rng, giver, taker, about), chance(rng, 0.5), scene)


def draw_paraphrase(rng: np.random.Generator, label: int) -> DrawnRow:
    """Draw an event told twice, the second time with the same meaning, with giver and taker exchanged, or with another
    number of things."""
    first = draw_transfer(rng)
    second = first._replace(event=grammar.reworded(rng, first.event))
    if not label and chance(rng, 0.5):
        second = second._replace(event=grammar.exchanged(second.event))
    elif not label:
        second = second._replace(many=not first.many)
    return (first.tell(rng), second.tell(rng)), label


def draw_similarity(rng: np.random.Generator, label: int) -> DrawnRow:
    """Draw two events that agree or not, with equal chances, in who gives (2 points), in the number of things, in the
    verb and in the kind of thing (1 point each). Another kind of the same category counts half."""
    first = draw_transfer(rng)
    second, scene = grammar.reworded(rng, first.event), first.scene
    who, many, verb, kind = (chance(rng, 0.5) for _ in range(4))
    if not who:
        second = grammar.exchanged(second)
    if not verb:
        second = second._replace(verb=grammar.another(rng, first.event.verb, lex.TRANSFER))
    if not kind:
        scene = scene if chance(rng, 0.5) else pick(rng, without(lex.SCENES, scene))
        second = second._replace(thing=pick(rng, without(grammar.things(scene), first.event.thing)))
    akin = not kind and scene is first.scene
    akin = akin and len({grammar.category(scene, event.thing) for event in (first.event, second)}) == 1
    points = 2 * who + many + verb + kind + akin / 2
    return (first.tell(rng), Transfer(second, first.many == many, scene).tell(rng)), points


def without(items: Sequence[Item], *left_out: Item) -> list[Item]:
    """Return the items other than those left out."""
    return [item for item in items if item not in left_out]


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
