"""Corpus preparation as an Apache Beam pipeline, for text beyond one machine.

Beam distributes the functions of `prepare`: the same input and settings give the same tokenizer and documents as
there, and the same shards on any runner. Only the order of documents differs, because it follows a hash of their text.
Files are read and written through Beam's file systems, so `gs://`, `s3://` and `hdfs://` work if they are installed.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import re
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from bert_jax.corpus import readers, shards, vocabulary
from bert_jax.corpus.archives import read_members, reading
from bert_jax.corpus.corpus import Document
from bert_jax.corpus.paragraphs import ParagraphTokenizer
from bert_jax.corpus.parts import TextBlock, TextSource
from bert_jax.corpus.prepare import TextConfig, describe, draw_sample, share
from bert_jax.corpus.sentences import paragraphs_of
from bert_jax.corpus.shards import MANIFEST, SETTINGS, CorpusSplit, Shard
from bert_jax.corpus.text_kinds import Documents
from bert_jax.corpus.vocabulary import Paragraph
from bert_jax.errors import InputError
from bert_jax.files import PARTIAL, Json
from bert_jax.pretrain_config import VocabConfig
from bert_jax.tokenizers.tokenizer import SentencePiece, Tokenizer, digest_files, load_tokenizer

Files = dict[str, bytes]
"""Tokenizer files: name -> content."""
_IN, _OUT = "kept", "left out"
_BATCH = 64
"""Maximum number of documents tokenised in one call."""


def prepare_on_beam(
    inputs: Sequence[str], out: str, config: TextConfig, vocab: VocabConfig | Path, options: Sequence[str]
) -> Json:
    """Prepare a corpus; returns its manifest when the pipeline has finished.

    Args:
        inputs: files, folders, patterns with a scheme (`gs://bucket/wiki/*.xz`), and data sets as `tfds:NAME`.
        out: the output folder, which must be empty, because a failed pipeline cannot be resumed.
        config: settings for reading text.
        vocab: settings of a vocabulary to train on the text, or the file or folder of an existing tokenizer.
        options: command-line options of Beam (`--runner=DataflowRunner`).

    Raises:
        InputError: something is wrong with the inputs or with `out`, or the text does not support the vocabulary.
    """
    readers.require_outside(out, inputs)
    pipeline = beam.Pipeline(options=PipelineOptions(list(options)))  # first: it passes the options to the file systems
    if FileSystems.exists(out) and FileSystems.match([FileSystems.join(out, "*")])[0].metadata_list:
        raise InputError(f"{out} is not empty; use another --out")
    sources = [source for name in inputs for source in _find(name)]
    given = {"paths": list(inputs), "files": len(sources), "bytes": sum(source.size for source in sources)}
    settings = describe(config, vocab, given)
    _build(pipeline, sources, out, config, vocab, settings)
    try:
        pipeline.run().wait_until_finish()
    except Exception as error:  # runners wrap the errors of workers in error types of their own
        *_, reason = str(error).split("InputError: ")
        if reason == str(error) and not isinstance(error, InputError):
            raise
        raise InputError(re.split(r" \[while running|\\n|\n", reason)[0]) from error
    with FileSystems.open(FileSystems.join(out, MANIFEST)) as file:
        manifest: Json = json.loads(file.read())
    return manifest


def _find(name: str) -> list[TextSource]:
    if "://" not in name:
        return readers.find_sources([name])
    found = FileSystems.match([name])[0].metadata_list
    if not found:
        raise InputError(f"there is no file {name}; --input takes files, folders, patterns and tfds:NAME")
    return [TextSource(file.path, Path(), file.size_in_bytes) for file in sorted(found, key=lambda file: file.path)]


def _build(
    pipeline: beam.Pipeline,
    sources: list[TextSource],
    out: str,
    config: TextConfig,
    vocab: VocabConfig | Path,
    settings: Json,
) -> None:
    """Add all steps to a pipeline."""
    blocks = (
        pipeline
        | "sources" >> beam.Create(sources)
        | "spread sources" >> beam.Reshuffle()
        | "read" >> beam.FlatMap(_read, size=config.block_bytes, documents=config.documents)
        | "spread blocks" >> beam.Reshuffle()
    )
    files = beam.pvalue.AsSingleton(_tokenizer(pipeline, blocks, config, vocab))
    texts, out_1 = _split(blocks | "documents" >> beam.FlatMap(_documents, config=config).with_outputs(_OUT, main=_IN))
    if config.deduplicate:
        groups = texts | "same text" >> beam.GroupByKey()
        texts, out_2 = _split(groups | "one of each" >> beam.FlatMap(_first).with_outputs(_OUT, main=_IN))
    number = max(round(sum(source.size for source in sources) / config.block_bytes), 1)
    rows, out_3 = _split(
        texts
        | "text" >> beam.Values()
        | "batch" >> beam.BatchElements(min_batch_size=1, max_batch_size=_BATCH)
        | "tokenize" >> beam.FlatMap(_tokenize, files, config=config, number=number).with_outputs(_OUT, main=_IN)
    )
    left_out = (out_1, out_2, out_3) if config.deduplicate else (out_1, out_3)
    dropped = left_out | "left out" >> beam.Flatten() | "count" >> beam.combiners.Count.PerElement()
    written = rows | "shards" >> beam.GroupByKey() | "write" >> beam.Map(_write_shard, files, out=out)
    once = pipeline | "once" >> beam.Create([settings])
    sides = files, beam.pvalue.AsList(written), beam.pvalue.AsDict(dropped)
    _ = once | "manifest" >> beam.Map(_finish, *sides, out=out)


def _split(outputs: Any) -> tuple[Any, Any]:
    return outputs[_IN], outputs[_OUT]


def _left_out(reason: str) -> beam.pvalue.TaggedOutput:
    return beam.pvalue.TaggedOutput(_OUT, reason)


def _read(source: TextSource, size: int, documents: Documents) -> Iterator[TextBlock]:
    if source.rows is not None:
        yield from readers.read_blocks([source], size)
        return
    with reading(source.name), FileSystems.open(source.name, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        for name, stream in read_members(file, source.name):
            for chunk in readers.read_chunks(stream, name, size, documents):
                yield TextBlock((chunk,), 0)


def _tokenizer(
    pipeline: beam.Pipeline, blocks: beam.pvalue.PCollection, config: TextConfig, vocab: VocabConfig | Path
) -> beam.pvalue.PCollection:
    """Collection of one element: the files of the tokenizer, given or trained on the sample that `prepare` draws."""
    if isinstance(vocab, Path):
        return pipeline | "tokenizer" >> beam.Create([_files(vocabulary.read_vocabulary(vocab))])
    return (
        blocks
        | "draw" >> beam.Map(draw_sample, config=config, wanted=vocab.sentences, highest=vocabulary.HIGHEST)
        | "sample" >> beam.CombineGlobally(functools.partial(_least, wanted=vocab.sentences))
        | "train" >> beam.Map(_train, vocab=vocab)
    )


def _least(samples: Iterable[list[Paragraph]], wanted: int) -> list[Paragraph]:
    return vocabulary.least(itertools.chain.from_iterable(samples), wanted)


def _train(sample: list[Paragraph], vocab: VocabConfig) -> Files:
    if not sample:
        raise InputError("found no documents with text in the input")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sentences.txt"
        vocabulary.write_sentences(sample, path)
        return _files(SentencePiece(vocabulary.train_on_file(path, vocab)))


def _files(tokenizer: Tokenizer) -> Files:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder))
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


@functools.cache
def _load(files: tuple[tuple[str, bytes], ...]) -> Tokenizer:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files:
            (Path(folder) / name).write_bytes(content)
        return load_tokenizer(Path(folder), num_threads=1)


@functools.cache
def _load_paragraphs(files: tuple[tuple[str, bytes], ...], split: bool) -> ParagraphTokenizer:
    return ParagraphTokenizer(_load(files), split)


def _documents(block: TextBlock, config: TextConfig) -> Iterator[Any]:
    """Yield (hash of the text, document) for every document with text."""
    for document in readers.read_documents(block, config.text_field, config.on_bad_text):
        if document is None:
            yield _left_out("invalid UTF-8")
        elif content := document.strip():
            yield hashlib.blake2b(content.encode(), digest_size=16).digest(), content
        else:
            yield _left_out("no text")


def _first(group: tuple[bytes, Iterable[str]]) -> Iterator[Any]:
    key, same = group
    content, *others = same
    yield key, content
    yield from (_left_out("duplicate") for _ in others)


def _tokenize(batch: list[str], files: Files, config: TextConfig, number: int) -> Iterator[Any]:
    """Yield ((split, shard number), (sort key, document)) for every document with tokens."""
    documents = [paragraphs for content in batch if (paragraphs := paragraphs_of(content))]
    yield from (_left_out("no text") for _ in range(len(batch) - len(documents)))
    tokenizer = _load_paragraphs(tuple(sorted(files.items())), config.sentences == "split")
    for sentences, document in tokenizer(documents):
        if not len(document.tokens):
            yield _left_out("no tokens")
            continue
        split: CorpusSplit = "heldout" if share(sentences) < config.heldout else "train"
        place = hashlib.sha256(sentences).digest()
        yield (split, int.from_bytes(place[:8], "little") % number), (place, document)


def _write_shard(
    group: tuple[tuple[CorpusSplit, int], Iterable[tuple[bytes, Document]]], files: Files, out: str
) -> Shard:
    (split, number), rows = group
    unk = _load(tuple(sorted(files.items()))).special.unk
    documents = [document for _, document in sorted(rows, key=lambda row: row[0])]
    with tempfile.TemporaryDirectory() as folder:
        shard = shards.write_shard(Path(folder), number, split, documents, unk)
        _write(out, shard.file, (Path(folder) / shard.file).read_bytes())
    return shard


def _write(out: str, name: str, content: bytes) -> None:
    with _created(out, name) as file:
        file.write(content)


@contextlib.contextmanager
def _created(out: str, name: str) -> Iterator[Any]:
    """Open a file that appears whole; if a step is attempted several times, the last attempt wins."""
    if not FileSystems.exists(out):
        FileSystems.mkdirs(out)
    partial = FileSystems.join(out, f"{name}.{uuid.uuid4().hex}{PARTIAL}")
    with FileSystems.create(partial, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        yield file
    FileSystems.rename([partial], [FileSystems.join(out, name)])


def _finish(settings: Json, files: Files, written: list[Shard], dropped: dict[str, int], out: str) -> None:
    loaded = _load(tuple(sorted(files.items())))
    tokenizer, unk = {"vocab_size": loaded.vocab_size, "sha256": digest_files(files)}, loaded.special.unk
    if FileSystems.exists(FileSystems.join(out, MANIFEST)):
        return  # an earlier attempt has written it last, and may have begun to remove the shards
    manifest = shards.make_manifest(settings, tokenizer, sorted(written), dropped)
    manifest = shards.join_shards(
        manifest, unk, lambda shard: _records(out, shard.file), lambda name: _created(out, name)
    )
    for name, content in files.items():
        _write(out, name, content)
    _write(out, SETTINGS, shards.to_json(settings))
    _write(out, MANIFEST, shards.to_json(manifest))
    FileSystems.delete([FileSystems.join(out, shard.file) for shard in written])


def _records(out: str, file: str) -> list[bytes]:
    """All records of a shard, which is copied here for it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / file
        name = FileSystems.join(out, file)
        with FileSystems.open(name, compression_type=CompressionTypes.UNCOMPRESSED) as source:
            path.write_bytes(source.read())
        return shards.read_records(path)
