package gradir;

import java.io.Closeable;
import java.io.IOException;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.lucene.index.SegmentCommitInfo;
import org.apache.lucene.index.SegmentInfos;
import org.apache.lucene.store.Directory;
import org.apache.lucene.store.FSDirectory;
import org.apache.lucene.util.Version;

/**
 * Writes a new impact index from vectors in compressed rows. Each chunk is worked on in the background while the caller makes the
 * next. The index has one segment; a second begins where a segment's ids reach a gigabyte.
 */
public final class ImpactWriter implements Closeable {
  private final Path folder;
  private final Directory directory;
  private final Vocabulary vocabulary;
  private final int[] sorted;
  private final boolean vectors;
  private final boolean raw;
  private final ExecutorService pool;
  private final List<SegmentCommitInfo> written = new ArrayList<>();
  private Segment segment;
  private Future<?> pending;

  /**
   * @param folder an empty folder
   * @param terms the vocabulary's terms by id, UTF-8, one after another
   * @param offsets int32 [terms + 1], where each begins
   * @param vectors whether to store each document's vector (Rocchio needs it)
   * @param raw whether texts come with the documents, to be stored
   */
  public ImpactWriter(String folder, byte[] terms, byte[] offsets, boolean vectors, boolean raw) throws IOException {
    this.folder = Paths.get(folder);
    this.vectors = vectors;
    this.raw = raw;
    directory = FSDirectory.open(this.folder);
    vocabulary = new Vocabulary(terms, Bytes.ints(offsets));
    sorted = vocabulary.sorted();
    pool =
        Executors.newCachedThreadPool(
            work -> {
              Thread thread = new Thread(work, "gradir-index");
              thread.setDaemon(true);
              return thread;
            });
  }

  /** Takes documents: ids and texts as UTF-8 with int32 offsets, indptr, term ids and impacts as int32, impacts above 0. */
  public void add(
      byte[] ids, byte[] idOffsets, byte[] indptr, byte[] terms, byte[] impacts, byte[] raws, byte[] rawOffsets)
      throws Exception {
    await();
    Chunk chunk = new Chunk(ids, idOffsets, indptr, terms, impacts, raw ? raws : null, rawOffsets);
    pending =
        pool.submit(
            () -> {
              take(chunk);
              return null;
            });
  }

  private void take(Chunk chunk) throws Exception {
    if (segment != null && !segment.hasRoom(chunk)) {
      finishSegment();
    }
    if (segment == null) {
      String name = "_" + Integer.toString(written.size(), Character.MAX_RADIX);
      segment = new Segment(directory, folder, name, vocabulary, sorted, vectors, raw);
    }
    segment.add(chunk);
  }

  private void finishSegment() throws Exception {
    written.add(segment.finish(pool));
    segment = null;
  }

  private void await() throws Exception {
    if (pending == null) {
      return;
    }
    try {
      pending.get();
    } catch (ExecutionException failed) {
      throw failed.getCause() instanceof Exception ? (Exception) failed.getCause() : failed;
    } finally {
      pending = null;
    }
  }

  /** Writes the rest and commits; before this, the folder holds no index. */
  public void finish() throws Exception {
    await();
    if (segment != null) {
      finishSegment();
    }
    SegmentInfos infos = new SegmentInfos(Version.LATEST.major);
    Set<String> files = new HashSet<>();
    for (SegmentCommitInfo one : written) {
      infos.add(one);
      files.addAll(one.files());
    }
    infos.counter = written.size();
    directory.sync(files);
    infos.commit(directory);
  }

  /** Gives files and threads back; what was not committed is no index. */
  @Override
  public void close() throws IOException {
    try {
      await();
    } catch (Exception alreadyTold) {
      // the caller is leaving because of it, or does not want the index
    }
    if (segment != null) {
      segment.close();
    }
    pool.shutdown();
    directory.close();
  }
}
