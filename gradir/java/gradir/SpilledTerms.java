package gradir;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.util.List;
import org.apache.lucene.index.PostingsEnum;
import org.apache.lucene.util.BytesRef;

/** The terms of all chunks of a `Spill` in order, each with its postings from chunk after chunk; to be walked once. */
final class SpilledTerms extends WrittenTerms.Enum {
  private static final int BUFFER = 1 << 16;
  private static final int LONGEST = 10; // bytes of two numbers

  private final Vocabulary vocabulary;
  private final int[] sorted;
  private final Cursor[] cursors;
  private int rank = -1;
  private BytesRef term;

  SpilledTerms(FileChannel file, List<long[]> chunks, Vocabulary vocabulary, int[] sorted) throws IOException {
    this.vocabulary = vocabulary;
    this.sorted = sorted;
    cursors = new Cursor[chunks.size()];
    for (int i = 0; i < cursors.length; i++) {
      cursors[i] = new Cursor(file, chunks.get(i)[0], chunks.get(i)[1]);
    }
  }

  @Override
  public BytesRef next() {
    rank = Integer.MAX_VALUE;
    for (Cursor cursor : cursors) {
      rank = Math.min(rank, cursor.rank);
    }
    return term = rank == Integer.MAX_VALUE ? null : vocabulary.term(sorted[rank]);
  }

  @Override
  public BytesRef term() {
    return term;
  }

  @Override
  public PostingsEnum postings(PostingsEnum reuse, int flags) {
    Walk walk = reuse instanceof Walk ? (Walk) reuse : new Walk(cursors);
    walk.start(rank);
    return walk;
  }

  /** The postings of one term, chunk after chunk. */
  private static final class Walk extends WrittenTerms.Postings {
    private final Cursor[] cursors;
    private int rank;
    private int next; // of the cursors
    private Cursor cursor;
    private int document;

    Walk(Cursor[] cursors) {
      this.cursors = cursors;
    }

    void start(int rank) {
      this.rank = rank;
      next = 0;
      cursor = null;
      document = -1;
    }

    @Override
    public int nextDoc() throws IOException {
      while (cursor == null || cursor.left == 0) {
        if (cursor != null) {
          cursor.head();
        }
        while (next < cursors.length && cursors[next].rank != rank) {
          next++;
        }
        if (next == cursors.length) {
          return document = NO_MORE_DOCS;
        }
        cursor = cursors[next++];
      }
      cursor.posting();
      return document = cursor.document;
    }

    @Override
    public int freq() {
      return cursor.impact;
    }

    @Override
    public int docID() {
      return document;
    }
  }

  /** A place in a chunk of the file: a term, then its postings one by one. */
  private static final class Cursor {
    private final FileChannel file;
    private final byte[] bytes = new byte[BUFFER];
    private long position;
    private final long end;
    private int at;
    private int limit;
    int rank; // of the term; MAX_VALUE past the last
    int left; // its postings not yet read
    int document;
    int impact;

    Cursor(FileChannel file, long start, long end) throws IOException {
      this.file = file;
      position = start;
      this.end = end;
      head();
    }

    void head() throws IOException {
      fill();
      if (at == limit) {
        rank = Integer.MAX_VALUE;
        return;
      }
      rank += number();
      left = number();
      document = 0;
    }

    void posting() throws IOException {
      fill();
      document += number();
      impact = number();
      left--;
    }

    private int number() {
      int value = bytes[at++];
      if (value >= 0) {
        return value;
      }
      value &= 0x7F;
      for (int shift = 7; ; shift += 7) {
        int part = bytes[at++];
        value |= (part & 0x7F) << shift;
        if (part >= 0) {
          return value;
        }
      }
    }

    private void fill() throws IOException {
      if (limit - at >= LONGEST || position == end) {
        return;
      }
      System.arraycopy(bytes, at, bytes, 0, limit - at);
      limit -= at;
      at = 0;
      ByteBuffer rest = ByteBuffer.wrap(bytes, limit, (int) Math.min(BUFFER - limit, end - position));
      while (rest.hasRemaining()) {
        int read = file.read(rest, position);
        if (read < 0) {
          throw new IOException("the temporary postings are cut short");
        }
        position += read;
      }
      limit = rest.position();
    }
  }
}
