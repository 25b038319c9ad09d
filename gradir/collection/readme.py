"""The README.md of a built collection: what it holds, by which rules, with numbers that equal the files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from gradir.collection import grades, queries
from gradir.collection.build import Collection, Entry
from gradir.collection.sources import LIBRARIES, versions

_EXAMPLES = 6

_RULES = f"""## Rules

The sources of the six libraries are parsed, never imported, in the order of the table below. A document is the docstring
of a module, class, function or method that has a public name (re-exports are followed; a method is named after the
simplest public class that has it), or one attached by `add_newdoc` or `add_docstr`, as far as its text is a constant.
Kept are its prose and its argument lists; taken out are markup, code, tables, sections of examples and references, version
notes, and the "See Also" section, which becomes judgements. The title is the public name; so is the docid.

- **One document per distinct text.** Texts that differ only in identifiers and numbers are one, and so are those of
  which {grades.NEAR_DUPLICATE:.0%} of the five-word sequences stand in another: the shortest public name is kept, and references to
  the others lead to it.
- **At most a quarter of the documents from one library**: objects with the shortest public names first, then by a hash.
- **A query is the first sentence**, {queries.MIN_WORDS} to {queries.MAX_WORDS} words long; it is removed from its
  document. There is no query where it holds the object's own name (also spelt apart or inflected), repeats in another
  document, is a heading or an argument list, or leaves less than {queries.MIN_DESCRIBED} words of description.
  The query of document `x` has the id `q:x`.
- **Grade 3**: the document itself.
- **Grade 2**: the same object under another name: documents of one library that bear the same name but for case and
  underscores (`KMeans` and `k_means`, `Series.dropna` and `DataFrame.dropna`) and share {grades.TWIN_WORDS:.0%} of their words, or
  {grades.TWIN_WORDS + 0.1:.0%} for methods; or of which one begins by saying so ("alias for", "functional version of", "see").
  This is inferred, not judged by people: it also joins twins such as one method of two sibling classes.
- **Grade 1**: the entries of its "See Also" section that are documents here.
- **Splits** never share a document graded 2 or 3: documents of one object are kept together and fall to a split by a hash of
  their texts.
"""


def readme(collection: Collection, counts: dict[str, Any]) -> str:
    """The text of README.md.

    Args:
        collection: What has been written.
        counts: Its numbers (`pydocs.summary`) and its hash.
    """
    known = versions()
    return "\n".join(
        [
            "# pydocs: the documentation of six Python libraries as a graded test collection",
            "",
            f"{counts['documents']} documents, {counts['queries']} queries, built by `gradir collection pydocs` from what is",
            "installed. The texts belong to the authors of the libraries, under the licences of the libraries.",
            "",
            f"Collection hash: `{counts['collection_sha256']}`",
            "",
            "Scores are comparable only between collections of one hash: other versions of the libraries give another collection.",
            "",
            _RULES,
            "## Counts",
            "",
            *_table(
                ["library", "version", "documents", "queries"],
                (
                    [
                        name,
                        known[name],
                        counts["documents_by_library"].get(name, 0),
                        counts["queries_by_library"].get(name, 0),
                    ]
                    for name in LIBRARIES
                ),
            ),
            *_table(
                ["split", "queries", "with three or more graded documents", "grade 3", "grade 2", "grade 1"],
                (
                    [
                        split,
                        number,
                        counts["queries_with_three_graded_by_split"][split],
                        *counts["judgements"][split].values(),
                    ]
                    for split, number in counts["queries_by_split"].items()
                ),
            ),
            "## What was left out, and why",
            "",
            *_table(["docstrings that are no document", "number"], counts["dropped"].items()),
            *_table(["documents whose first sentence is no query: it …", "number"], counts["no_query"].items()),
            *_table(["source files not read", "number"], counts["files_not_read"].items()),
            "## Examples",
            "",
            *_examples(collection),
        ]
    )


def _table(heads: list[str], rows: Iterable[Iterable[object]]) -> list[str]:
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return ["| " + " | ".join(heads) + " |", "| " + " | ".join("---" for _ in heads) + " |", *lines, ""]


def _examples(collection: Collection) -> list[str]:
    """Some queries of the training split, with their documents."""
    with_query = [
        entry
        for entry in collection.entries
        if collection.split[entry.docid] == "train" and len(collection.graded.get(entry.docid, ())) >= 3
    ]
    with_query.sort(key=lambda entry: hashlib.sha256(entry.docid.encode()).hexdigest())
    return [line for entry in with_query[:_EXAMPLES] for line in _example(entry, collection.graded[entry.docid])]


def _example(entry: Entry, judged: dict[str, int]) -> list[str]:
    listed = ", ".join(
        f"{docid} ({grade})" for docid, grade in sorted(judged.items(), key=lambda item: (-item[1], item[0]))
    )
    body = entry.body().replace("\n", " ")
    return [f"> {entry.query}", "", f"graded: {listed}", "", f"`{entry.docid}`: {body[:300]} …", ""]
