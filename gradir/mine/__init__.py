"""Hard negatives and teacher scores from runs, into graded lists: `gradir mine`.

- `gradir mine negatives`: documents of any TREC runs that are not relevant and not too near the positive, as graded lists.
- `gradir mine scores`: scores of cross-encoders and encoders for (query, document) pairs, alone or together, as a run.
- `gradir mine split`: judged queries into train and dev, without a relevant document in both.

Mining in rounds, each with the negatives of the model before it (as SPLADE++'s selfdistil, or ANCE), is a loop over commands:

    gradir mine split --qrels qrels/train.tsv --share 0.1 --output split
    # round 0 starts from BM25
    gradir search --index bm25 --topics queries.jsonl --output bm25.trec
    gradir mine negatives --run bm25.trec --qrels split/train.tsv --topics queries.jsonl --output round0
    gradir train splade --set lists='[{lists: round0/lists.jsonl, corpus: corpus.jsonl}]' … --output round0/model
    # each further round: encode, index and search with the last model, mine, train
    gradir encode --encoder round0/model --corpus corpus.jsonl --output round0/vectors
    gradir index --input round0/vectors --type impact --output round0/index
    gradir search --index round0/index --encoder round0/model --topics queries.jsonl --output round0/run.trec
    gradir mine negatives --run round0/run.trec bm25.trec --qrels split/train.tsv --topics queries.jsonl --output round1
    gradir mine scores --lists round1/lists.jsonl --corpus corpus.jsonl --model CROSS_ENCODER --output round1/teacher.trec
    gradir train splade … --output round1/model

The queries of `split/dev.tsv` are never mined: they decide when to stop. A later round that starts from the first model
distils it into a new one; one that starts from the last model goes on training it.
"""

from gradir.mine.negatives_stage import negatives
from gradir.mine.scores_stage import scores
from gradir.mine.split_stage import split

__all__ = ["negatives", "scores", "split"]
