package gradir;

import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Callable;
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
  private ForwardIndex forward;

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

  /** Opens the forward index in the same folder, whose numbers have these widths. */
  public void openForward(String folder, int termBytes, int impactBytes) throws IOException {
    forward = new ForwardIndex(Paths.get(folder), termBytes, impactBytes);
  }

  /**
   * Exact search.
   *
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
    Batch batch = new Batch(utf8, offsets, new Rows(indptr, terms, weights));
    int depth = depth(k);
    return run(
        batch.queries.size(),
        threads,
        () -> {
          Worker worker = new Worker(batch, new TopHits(ids, depth));
          return query -> worker.search(query).sorted();
        });
  }

  /**
   * Two-step search: the candidates of `search` for a shortened query, given the scores of the whole query and vector.
   *
   * @param whole three arrays, the whole queries as indptr, terms and weights; their terms are ids of the forward index
   * @param vocabulary number of terms of the forward index
   * @param candidates that are rescored; 0 rescores all documents, which is exact
   */
  public byte[] searchTwoStep(
      byte[] utf8, byte[] offsets, byte[] indptr, byte[] terms, byte[] weights,
      byte[] wholeIndptr, byte[] wholeTerms, byte[] wholeWeights, int vocabulary, int candidates, int k, int threads)
      throws Exception {
    Batch batch = new Batch(utf8, offsets, new Rows(indptr, terms, weights));
    Rows whole = new Rows(wholeIndptr, wholeTerms, wholeWeights);
    int depth = depth(k);
    int first = depth(candidates);
    return run(
        whole.size(),
        threads,
        () -> {
          Worker worker = new Worker(batch, new TopHits(ids, first));
          Rescorer rescorer = new Rescorer(whole, vocabulary, new TopHits(ids, depth));
          return query ->
              candidates > 0 ? rescorer.some(query, worker.search(query)) : rescorer.all(query, reader.maxDoc());
        });
  }

  private int depth(int k) {
    return Math.max(1, Math.min(k, reader.maxDoc()));
  }

  /** What one thread does with a query. */
  private interface Search {
    long[] of(int query) throws IOException;
  }

  private static byte[] run(int queries, int threads, Callable<Search> open) throws Exception {
    long[][] hits = new long[queries][];
    AtomicInteger next = new AtomicInteger();
    ExecutorService pool = Executors.newFixedThreadPool(threads);
    try {
      List<Future<?>> running = new ArrayList<>();
      for (int i = 0; i < Math.min(threads, queries); i++) {
        running.add(
            pool.submit(
                () -> {
                  Search search = open.call();
                  for (int query = next.getAndIncrement(); query < queries; query = next.getAndIncrement()) {
                    hits[query] = search.of(query);
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
    final Rows queries;
    final TermState[][] states; // [leaf][term], null where a leaf lacks it

    Batch(byte[] utf8, byte[] offsets, Rows queries) throws IOException {
      vocabulary = new Vocabulary(utf8, Bytes.ints(offsets));
      this.queries = queries;
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

    Worker(Batch batch, TopHits top) throws IOException {
      this.batch = batch;
      this.top = top;
      for (LeafReaderContext leaf : leaves) {
        Terms known = leaf.reader().terms("contents");
        walks[leaf.ord] = known == null ? TermsEnum.EMPTY : known.iterator();
      }
    }

    TopHits search(int query) throws IOException {
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

  /** One thread's rescoring with whole vectors. */
  private final class Rescorer {
    private final Rows queries;
    private final double[] weights;
    private final TopHits top;

    Rescorer(Rows queries, int vocabulary, TopHits top) {
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
}
