"""A Lucene `IndexWriter` fed in-process: documents of one text each, in the fields that Pyserini expects.

Crossing from Python to Java costs more than indexing does, so one `Document` and its fields are made once and refilled.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from itertools import repeat
from pathlib import Path
from types import TracebackType
from typing import Any

from gradir import jvm
from gradir.errors import GradirError

_BUFFER_MIB = 512  # memory for postings before they are written


class LuceneWriter(AbstractContextManager["LuceneWriter"]):
    """Writes a new index; the block's end commits it, an error in the block leaves no commit.

    Every document has what Pyserini needs: `id`, stored, searchable and as doc values (its tie-break), and `contents`.

    Args:
        folder: An empty folder.
        analyzer: Lucene analyzer of `contents`.
        similarity: Lucene similarity that decides the norms.
        term_frequencies_only: Index `contents` without positions and norms, as impacts want it.
        docvectors: Store each document's vector.
        raw: Store a text with each document.
        optimize: Merge to one segment in the end.

    Attributes:
        documents: How many were added.

    Raises:
        GradirError: Lucene refuses a document or cannot write, or the finished index does not hold every document.
    """

    def __init__(
        self,
        folder: Path,
        analyzer: Any,
        similarity: Any,
        term_frequencies_only: bool,
        docvectors: bool = False,
        raw: bool = False,
        optimize: bool = True,
    ):
        jvm.ensure()
        from jnius import autoclass

        self.folder, self.documents, self._optimize = folder, 0, optimize
        self._bytes_ref = autoclass("org.apache.lucene.util.BytesRef")
        config = autoclass("org.apache.lucene.index.IndexWriterConfig")(analyzer)
        config.setSimilarity(similarity)
        heap_mib = autoclass("java.lang.Runtime").getRuntime().maxMemory() / 2**20
        config.setRAMBufferSizeMB(min(_BUFFER_MIB, heap_mib / 4))
        config.setUseCompoundFile(False)
        path = autoclass("java.nio.file.Paths").get(str(folder.absolute()))
        self._directory = autoclass("org.apache.lucene.store.FSDirectory").open(path)
        self._writer = autoclass("org.apache.lucene.index.IndexWriter")(self._directory, config)
        self._make_document(term_frequencies_only, docvectors, raw)

    def _make_document(self, term_frequencies_only: bool, docvectors: bool, raw: bool) -> None:
        from jnius import autoclass, cast

        java_string = autoclass("java.lang.String")
        options = autoclass("org.apache.lucene.index.IndexOptions")
        store = autoclass("org.apache.lucene.document.Field$Store")
        field_type = autoclass("org.apache.lucene.document.FieldType")()
        field_type.setIndexOptions(
            options.DOCS_AND_FREQS if term_frequencies_only else options.DOCS_AND_FREQS_AND_POSITIONS
        )
        field_type.setTokenized(True)
        field_type.setOmitNorms(term_frequencies_only)
        field_type.setStoreTermVectors(docvectors)
        field_type.freeze()
        self._id = autoclass("org.apache.lucene.document.StringField")("id", "", store.YES)
        self._id_values = autoclass("org.apache.lucene.document.BinaryDocValuesField")("id", self._bytes_ref(b""))
        self._contents = autoclass("org.apache.lucene.document.Field")(
            "contents",
            cast("java.lang.CharSequence", java_string("")),  # pyjnius finds the constructor by these types
            cast("org.apache.lucene.index.IndexableFieldType", field_type),
        )
        self._document = autoclass("org.apache.lucene.document.Document")()
        self._raw = autoclass("org.apache.lucene.document.StoredField")("raw", "") if raw else None
        for field in (self._id, self._id_values, self._contents, self._raw):
            if field is not None:
                self._document.add(field)

    def add(self, docids: Iterable[str], contents: Iterable[str], raws: Iterable[str] | None = None) -> None:
        """Add documents: their ids, what the analyzer reads of each, and the texts to be stored, where they are."""
        from jnius import JavaException

        set_id, set_values, set_contents = (
            self._id.setStringValue,
            self._id_values.setBytesValue,
            self._contents.setStringValue,
        )
        add, document, bytes_ref = self._writer.addDocument, self._document, self._bytes_ref
        docid = ""
        try:
            for docid, text, raw in zip(docids, contents, raws or repeat("")):  # noqa: B905  repeat has no end
                set_id(docid)
                set_values(bytes_ref(docid.encode("utf-8")))
                set_contents(text)
                if self._raw is not None:
                    self._raw.setStringValue(raw)
                add(document)
                self.documents += 1
        except JavaException as error:
            raise GradirError(f"document {docid[:100]}: Lucene could not index it ({_cause(error)}).") from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        from jnius import JavaException

        try:
            if error is None:
                if self._optimize:
                    self._writer.forceMerge(1)  # fastest to search, and equal for equal input
                self._writer.commit()
                self._check_count()
        except JavaException as failure:
            raise GradirError(f"{self.folder}: Lucene could not write the index ({_cause(failure)}).") from None
        finally:
            self._writer.rollback()  # closes; what is not committed is gone
            self._directory.close()

    def _check_count(self) -> None:
        """Count the documents as a searcher would."""
        from jnius import autoclass

        reader = autoclass("org.apache.lucene.index.DirectoryReader").open(self._directory)
        found = reader.numDocs()
        reader.close()
        if found != self.documents:
            raise GradirError(f"{self.folder}: the index holds {found} of {self.documents} documents. Index again.")


def _cause(error: Exception) -> str:
    """The first line of a Java exception, without pyjnius's words before it."""
    return str(error).splitlines()[0].partition(": ")[2] or str(error)
