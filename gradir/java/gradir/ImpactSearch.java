package gradir;

import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.LeafReaderContext;
import org.apache.lucene.index.PostingsEnum;
import org.apache.lucene.index.TermState;
import org.apache.lucene.index.Terms;
import org.apache.lucene.index.TermsEnum;
import org.apache.lucene.store.Directory;
import org.apache.lucene.store.FSDirectory;
import org.apache.lucene.util.Bits;
import org.apache.lucene.util.BytesRef;

/**
 * Exact search of a batch of queries in an impact index: all postings of a query's terms are added up, a window of documents at a
 * time, so that the sums stay in the processor's cache. Learned weights leave little for dynamic pruning to skip, and adding is cheap.
 */
public final class ImpactSearch implements Closeable {
  private static final int WINDOW = 1 << 14;

  private final Directory directory;
  private final DirectoryReader reader;
  private final List<LeafReaderContext> leaves;
  private final DocIds ids;

  public ImpactSearch(String folder) throws IOException {
    directory = FSDirectory.open(Paths.get(folder));
    reader = DirectoryReader.open(directory);
    leaves = reader.leaves();
    ids = new DocIds(leaves, reader.maxDoc());
  }

  public int documents() {
    return reader.maxDoc();
  }

  /** All docids by document number, UTF-8, one after another. */
  public byte[] ids() {
    return ids.utf8();
  }

  /** int32 [documents + 1]: where each docid begins. */
  public byte[] idOffsets() {
    return ids.offsets();
  }

  /**
   * @param utf8 the distinct terms of the batch, one after another
   * @param offsets int32 [terms + 1], where each begins
   * @param indptr int32 [queries + 1]
   * @param terms int32, which of the terms; row i is terms[indptr[i]] .. terms[indptr[i + 1] - 1]
   * @param weights int32, their impacts in the query
   * @param k hits of a query
   * @param threads that search
   * @return the number of hits of each query, then the documents of all, then their scores: int32, int32, float32
   */
  public byte[] search(
      byte[] utf8, byte[] offsets, byte[] indptr, byte[] terms, byte[] weights, int k, int threads) throws Exception {
    Batch batch = new Batch(new Vocabulary(utf8, Bytes.ints(offsets)), Bytes.ints(indptr), Bytes.ints(terms), Bytes.ints(weights));
    int depth = Math.max(1, Math.min(k, reader.maxDoc()));
    long[][] hits = new long[batch.indptr.length - 1][];
    AtomicInteger next = new AtomicInteger();
    ExecutorService pool = Executors.newFixedThreadPool(threads);
    try {
      List<Future<?>> running = new ArrayList<>();
      for (int i = 0; i < Math.min(threads, hits.length); i++) {
        running.add(
            pool.submit(
                () -> {
                  Worker worker = new Worker(batch, depth);
                  for (int query = next.getAndIncrement(); query < hits.length; query = next.getAndIncrement()) {
                    hits[query] = worker.search(query);
                  }
                  return null;
                }));
      }
      for (Future<?> one : running) {
        one.get();
      }
    } catch (ExecutionException failed) {
      throw failed.getCause() instanceof Exception ? (Exception) failed.getCause() : failed;
    } finally {
      pool.shutdownNow();
    }
    return packed(hits);
  }

  private static byte[] packed(long[][] hits) {
    long total = 0;
    for (long[] row : hits) {
      total += row.length;
    }
    ByteBuffer bytes = Bytes.buffer(4 * (hits.length + 2 * total));
    for (long[] row : hits) {
      bytes.putInt(row.length);
    }
    for (long[] row : hits) {
      for (long hit : row) {
        bytes.putInt((int) hit);
      }
    }
    for (long[] row : hits) {
      for (long hit : row) {
        bytes.putInt((int) (hit >>> 32));
      }
    }
    return bytes.array();
  }

  @Override
  public void close() throws IOException {
    reader.close();
    directory.close();
  }

  /** Queries, and where Lucene has the postings of their terms. */
  private final class Batch {
    final Vocabulary vocabulary;
    final int[] indptr;
    final int[] terms;
    final int[] weights;
    final TermState[][] states; // [leaf][term], null where a leaf lacks it

    Batch(Vocabulary vocabulary, int[] indptr, int[] terms, int[] weights) throws IOException {
      this.vocabulary = vocabulary;
      this.indptr = indptr;
      this.terms = terms;
      this.weights = weights;
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

  /** One thread's search: its own cursors and sums. */
  private final class Worker {
    private final Batch batch;
    private final TopHits top;
    private final TermsEnum[] walks = new TermsEnum[leaves.size()];
    private final double[] sums = new double[WINDOW];
    private PostingsEnum[] postings = new PostingsEnum[0];
    private int[] weights = new int[0];
    private int size; // of both

    Worker(Batch batch, int k) throws IOException {
      this.batch = batch;
      top = new TopHits(ids, k);
      for (LeafReaderContext leaf : leaves) {
        Terms known = leaf.reader().terms("contents");
        walks[leaf.ord] = known == null ? TermsEnum.EMPTY : known.iterator();
      }
    }

    long[] search(int query) throws IOException {
      top.clear();
      for (LeafReaderContext leaf : leaves) {
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
      return top.sorted();
    }

    /** Cursors on the postings of a query's terms. */
    private void open(int query, int leaf) throws IOException {
      int begin = batch.indptr[query];
      int count = batch.indptr[query + 1] - begin;
      if (postings.length < count) {
        postings = java.util.Arrays.copyOf(postings, count);
        weights = new int[count];
      }
      size = 0;
      for (int i = begin; i < begin + count; i++) {
        TermState state = batch.states[leaf][batch.terms[i]];
        if (state != null) {
          BytesRef term = batch.vocabulary.term(batch.terms[i]);
          walks[leaf].seekExact(term, state);
          postings[size] = walks[leaf].postings(postings[size], PostingsEnum.FREQS);
          postings[size].nextDoc();
          weights[size++] = batch.weights[i];
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
}
