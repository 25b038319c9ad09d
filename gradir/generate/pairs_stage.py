"""`gradir generate pairs`: prompts with answers that are known, to train a writer on."""

from __future__ import annotations

from pathlib import Path

from gradir.command import Outcome, command_line
from gradir.errors import GradirError
from gradir.generate.prompts import load
from gradir.generate.wanted_pairs import GRADES, Kind, Wanted


def pairs(
    prompt: str,
    qrels: str,
    corpus: str,
    output: Path,
    topics: str | None = None,
    kind: Kind = "judged",
    min_grade: int = 1,
    grades: list[int] | None = None,
    run: Path | None = None,
    below: int = 50,
    per_document: int = 1,
    min_words: int = 4,
    max_words: int = 30,
    document_tokens: int = 256,
    answer_tokens: int | None = None,
    tokenizer: str | None = None,
    seed: int = 13,
    overwrite: bool = False,
) -> Outcome:
    """Prompts with answers that are known, from judgements: what gradir train writer learns from.

    A prompt of kind queries gives, for each pair that is judged --min-grade or above, the prompt with the document, and the
    query as the answer. A prompt of kind documents (one grade at a time) gives the prompt with the query and a grade, and
    a document that is judged so as the answer. Where no document is judged 0 one stands in that is judged for other queries
    alone: from the ranks below --below of a run, or else any. No document that the judgements do not name is read, so that
    what is trained on one split has not seen another's.

    Two more kinds teach a new model to copy, which few queries do not; all is drawn by the seed. --kind sentence takes a sentence
    of a document for its query, in both directions (grade 3: the document from there on; 2: what follows in it; 0: another
    document). --kind words, for a prompt of kind queries, shows words of all documents at random, and the answer says them
    again, beginning at a random place, which cannot be learned but by copying: train on these first.

    Prompts are rendered by the code that gradir generate queries and documents ask with. Only how documents are cut may
    differ: in tokens of --tokenizer, as there; in words, if none is given.

    Args:
        prompt: Name, YAML file or text file, as for gradir generate queries and documents.
        qrels: Judgements: BEIR or TREC, ir_datasets:NAME, or a name that Pyserini knows.
        corpus: BEIR folder, JSON Lines (BEIR or Pyserini), TSV, or ir_datasets:NAME.
        output: The file to write (pairs.jsonl).
        topics: The queries (default: those of the BEIR folder in which the judgements stand).
        kind: judged: answers by the judgements; sentence: sentences of the judged documents; words: lists of their words.
        min_grade: Lowest grade of a pair that a query is the answer for.
        grades: Grades that documents are the answers for (default: 3 2 1 0).
        run: TREC run, for documents of grade 0.
        below: They have a rank of the run beyond this one.
        per_document: Sentences drawn from each document; lists for each.
        min_words: Fewest words of a sentence or list.
        max_words: Most words of a sentence or list.
        document_tokens: A document in a prompt is cut after so many tokens; words without --tokenizer.
        answer_tokens: An answer is cut after so many, a document where its last whole sentence ends (default: the prompt's
            max_tokens, or 64, for documents 256).
        tokenizer: Folder or hub name of a model whose tokens are counted.
        seed: Of what is drawn.
        overwrite: Replace an output made from other inputs or with other flags.
    """
    chosen = load(prompt)
    wanted = Wanted(
        chosen, str(qrels), str(corpus), topics, kind, min_grade, tuple(grades or GRADES), run, below, per_document,
        (min_words, max_words), document_tokens, answer_tokens, tokenizer, seed,
    )  # fmt: skip
    problems = wanted.problems()
    if problems:
        raise GradirError("cannot make pairs: " + "; ".join(problems))
    from gradir.data.manifest import Job, read_manifest
    from gradir.generate.pairs_job import run as write
    from gradir.generate.writing import columns

    output = Path(output)
    job = Job(output, "gradir generate pairs", wanted.config(), wanted.inputs(), overwrite)
    then = command_line("gradir train writer", {"pairs": output, "output": "WRITER"})
    if job.finished:
        return Outcome(output, f"{output} is finished; nothing to do", then)
    counts = write(wanted, job)
    said = f"{output}: {read_manifest(output)['counts']['pairs']:,} pairs, {job.seconds():.1f} s"
    if counts["grade_1"] and wanted.prompt.kind == "documents" and not (counts["grade_2"] or counts["grade_3"]):
        said += f"; no document of grade 2 or 3: if 1 in {qrels} means relevant, it is learned as related, without an answer"
    return Outcome(output, said, then, columns(counts.items()))
