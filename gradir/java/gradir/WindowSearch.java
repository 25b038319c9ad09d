package gradir;

import java.io.IOException;
import java.util.Arrays;
import org.apache.lucene.index.LeafReaderContext;
import org.apache.lucene.index.PostingsEnum;
import org.apache.lucene.index.TermState;
import org.apache.lucene.index.Terms;
import org.apache.lucene.index.TermsEnum;
import org.apache.lucene.util.Bits;
import org.apache.lucene.util.BytesRef;

/**
 * One thread's exact search: all postings of a query's terms are added up, a window of documents at a time, so that the sums stay
 * in the processor's cache. Learned weights leave little for dynamic pruning to skip, and adding is cheap.
 */
final class WindowSearch {
  private static final int WINDOW = 1 << 14;

  private final Batch batch;
  private final TopHits top;
  private final TermsEnum[] walks;
  private final double[] sums = new double[WINDOW];
  private PostingsEnum[] postings = new PostingsEnum[0];
  private int[] weights = new int[0];
  private int size; // of both

  WindowSearch(Batch batch, TopHits top) throws IOException {
    this.batch = batch;
    this.top = top;
    walks = new TermsEnum[batch.leaves.size()];
    for (LeafReaderContext leaf : batch.leaves) {
      Terms known = leaf.reader().terms("contents");
      walks[leaf.ord] = known == null ? TermsEnum.EMPTY : known.iterator();
    }
  }

  TopHits search(int query) throws IOException {
    top.clear();
    for (LeafReaderContext leaf : batch.leaves) {
      open(query, leaf.ord);
      int documents = leaf.reader().maxDoc();
      Bits live = leaf.reader().getLiveDocs();
      for (int base = 0; base < documents && size > 0; base += WINDOW) {
        int end = Math.min(base + WINDOW, documents);
        if (add(base, end)) {
          collect(leaf.docBase, base, end, live);
        }
      }
    }
    return top;
  }

  /** Cursors on the postings of a query's terms. */
  private void open(int query, int leaf) throws IOException {
    Rows queries = batch.queries;
    int begin = queries.indptr[query];
    int count = queries.indptr[query + 1] - begin;
    if (postings.length < count) {
      postings = Arrays.copyOf(postings, count);
      weights = new int[count];
    }
    size = 0;
    for (int i = begin; i < begin + count; i++) {
      TermState state = batch.states[leaf][queries.terms[i]];
      if (state != null) {
        BytesRef term = batch.vocabulary.term(queries.terms[i]);
        walks[leaf].seekExact(term, state);
        postings[size] = walks[leaf].postings(postings[size], PostingsEnum.FREQS);
        postings[size].nextDoc();
        weights[size++] = queries.weights[i];
      }
    }
  }

  /** Adds the postings of a window to its sums; false where there are none. */
  private boolean add(int base, int end) throws IOException {
    boolean any = false;
    for (int i = 0; i < size; i++) {
      PostingsEnum cursor = postings[i];
      int document = cursor.docID();
      if (document >= end) {
        continue;
      }
      any = true;
      double weight = weights[i];
      do {
        sums[document - base] += weight * cursor.freq();
        document = cursor.nextDoc();
      } while (document < end);
    }
    return any;
  }

  private void collect(int docBase, int base, int end, Bits live) {
    float least = top.least;
    for (int i = 0; i < end - base; i++) {
      double sum = sums[i];
      if (sum == 0) {
        continue;
      }
      sums[i] = 0;
      float score = (float) sum;
      if (score >= least && (live == null || live.get(base + i))) {
        top.add(docBase + base + i, score);
        least = top.least;
      }
    }
  }
}
