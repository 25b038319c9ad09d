package gradir;

import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.store.Directory;
import org.apache.lucene.store.FSDirectory;

/** Search of batches of queries in an impact index; what the arrays hold is little-endian, as NumPy has it. */
public final class ImpactSearch implements Closeable {
  private final Directory directory;
  private final DirectoryReader reader;
  private final DocIds ids;
  private ForwardIndex forward;

  public ImpactSearch(String folder) throws IOException {
    directory = FSDirectory.open(Paths.get(folder));
    reader = DirectoryReader.open(directory);
    ids = new DocIds(reader.leaves(), reader.maxDoc());
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
    Batch batch = new Batch(reader.leaves(), utf8, offsets, new Rows(indptr, terms, weights));
    int depth = depth(k);
    return run(
        batch.queries.size(),
        threads,
        () -> {
          WindowSearch worker = new WindowSearch(batch, new TopHits(ids, depth));
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
    Batch batch = new Batch(reader.leaves(), utf8, offsets, new Rows(indptr, terms, weights));
    Rows whole = new Rows(wholeIndptr, wholeTerms, wholeWeights);
    int depth = depth(k);
    int first = depth(candidates);
    return run(
        whole.size(),
        threads,
        () -> {
          WindowSearch worker = new WindowSearch(batch, new TopHits(ids, first));
          Rescorer rescorer = new Rescorer(forward, whole, vocabulary, new TopHits(ids, depth));
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

}
