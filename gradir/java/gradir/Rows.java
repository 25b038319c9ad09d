package gradir;

/** Sparse vectors in compressed rows: row i is terms[indptr[i]] .. terms[indptr[i + 1] - 1], with a weight each. */
final class Rows {
  final int[] indptr;
  final int[] terms;
  final int[] weights;

  Rows(byte[] indptr, byte[] terms, byte[] weights) {
    this.indptr = Bytes.ints(indptr);
    this.terms = Bytes.ints(terms);
    this.weights = Bytes.ints(weights);
  }

  int size() {
    return indptr.length - 1;
  }
}
