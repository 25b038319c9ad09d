package gradir;

import java.util.Arrays;

/** One thread's rescoring with whole vectors. */
final class Rescorer {
  private final ForwardIndex forward;
  private final Rows queries;
  private final double[] weights;
  private final TopHits top;

  Rescorer(ForwardIndex forward, Rows queries, int vocabulary, TopHits top) {
    this.forward = forward;
    this.queries = queries;
    this.top = top;
    weights = new double[vocabulary];
  }

  long[] some(int query, TopHits candidates) {
    long[] found = candidates.sorted();
    int[] documents = new int[found.length];
    for (int i = 0; i < found.length; i++) {
      documents[i] = (int) found[i];
    }
    Arrays.sort(documents); // the disk is read in one direction
    begin(query);
    for (int document : documents) {
      score(document);
    }
    return end(query);
  }

  long[] all(int query, int documents) {
    begin(query);
    for (int document = 0; document < documents; document++) {
      score(document);
    }
    return end(query);
  }

  private void begin(int query) {
    top.clear();
    set(query, 1);
  }

  private void score(int document) {
    float score = (float) forward.score(document, weights);
    if (score >= top.least) {
      top.add(document, score);
    }
  }

  private long[] end(int query) {
    set(query, 0);
    return top.sorted();
  }

  private void set(int query, int factor) {
    for (int i = queries.indptr[query]; i < queries.indptr[query + 1]; i++) {
      weights[queries.terms[i]] = factor * queries.weights[i];
    }
  }
}
