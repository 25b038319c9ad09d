package gradir;

/** Some documents in a row, in compressed rows: document i has terms[indptr[i]] .. terms[indptr[i + 1] - 1] and the impacts beside them. */
final class Chunk {
  final byte[] ids;
  final int[] idOffsets; // [documents + 1]
  final int[] indptr; // [documents + 1]
  final int[] terms; // [postings], term ids
  final int[] impacts; // [postings]
  final byte[] raw; // stored texts, null where there are none
  final int[] rawOffsets;
  final int documents;

  Chunk(byte[] ids, byte[] idOffsets, byte[] indptr, byte[] terms, byte[] impacts, byte[] raw, byte[] rawOffsets) {
    this.ids = ids;
    this.idOffsets = Bytes.ints(idOffsets);
    this.indptr = Bytes.ints(indptr);
    this.terms = Bytes.ints(terms);
    this.impacts = Bytes.ints(impacts);
    this.raw = raw;
    this.rawOffsets = raw == null ? null : Bytes.ints(rawOffsets);
    documents = this.indptr.length - 1;
  }
}
