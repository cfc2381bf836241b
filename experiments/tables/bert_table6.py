"""BERT, Table 6: model size."""

from bert_jax.config import ReadoutConfig
from experiments.tables.table import Column, Encoder, Line, Table

POOLER = ReadoutConfig("last", "cls", "tanh")
_SIZES = {
    "3/768/12": ("1/96/4", "2/192/4", "5.84 77.9 79.8 88.4"),
    "6/768/3": ("2/96/1", "3/192/2", "5.24 80.6 82.2 90.7"),
    "6/768/12": ("2/96/4", "3/192/4", "4.68 81.9 84.8 91.3"),
    "12/768/12": ("3/96/4", "6/192/4", "3.99 84.4 86.7 92.9"),
    "12/1024/16": ("3/128/4", "6/256/4", "3.54 85.7 86.9 93.3"),
    "24/1024/16": ("5/128/4", "12/256/4", "3.23 86.6 87.8 93.7"),
}

table = Table(
    name="bert-table6",
    title="Model size: layers/hidden/heads",
    source="Devlin et al. 2019, arXiv 1810.04805v2, Table 6",
    protocol="development sets, the mean of 5 restarts of fine-tuning; perplexity of masked tokens of held-out text",
    published_on="validation",
    columns=(
        Column("LM ppl", regime="pretraining"),
        Column("MNLI-m", "mnli"),
        Column("MRPC", "mrpc"),
        Column("SST-2", "sst2"),
    ),
    encoders=tuple(
        Encoder(name.replace("/", "-"), sizes={"tiny": tiny, "mini": mini, "base": name})
        for name, (tiny, mini, _) in _SIZES.items()
    ),
    lines=tuple(Line(name, name.replace("/", "-"), POOLER, published) for name, (_, _, published) in _SIZES.items()),
    paper={"finetune.batch_size": 32, "finetune.epochs": 3, "finetune.optim.learning_rate": 3e-5, "seeds": 5},
    notes=("Perplexities of different vocabularies and texts cannot be compared.",),
)
