package gradir;

import java.io.IOException;
import java.util.List;
import org.apache.lucene.index.LeafReaderContext;
import org.apache.lucene.index.TermState;
import org.apache.lucene.index.Terms;
import org.apache.lucene.index.TermsEnum;

/** Queries, and where Lucene has the postings of their terms. */
final class Batch {
  final Vocabulary vocabulary;
  final Rows queries;
  final TermState[][] states; // [leaf][term], null where a leaf lacks it
  final List<LeafReaderContext> leaves;

  Batch(List<LeafReaderContext> leaves, byte[] utf8, byte[] offsets, Rows queries) throws IOException {
    vocabulary = new Vocabulary(utf8, Bytes.ints(offsets));
    this.queries = queries;
    this.leaves = leaves;
    states = new TermState[leaves.size()][vocabulary.size];
    for (LeafReaderContext leaf : leaves) {
      Terms known = leaf.reader().terms("contents");
      TermsEnum walk = known == null ? TermsEnum.EMPTY : known.iterator();
      for (int term = 0; term < vocabulary.size; term++) {
        if (walk.seekExact(vocabulary.term(term))) {
          states[leaf.ord][term] = walk.termState();
        }
      }
    }
  }
}
