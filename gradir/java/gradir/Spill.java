package gradir;

import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.lucene.index.PostingsEnum;
import org.apache.lucene.index.Terms;
import org.apache.lucene.index.TermsEnum;
import org.apache.lucene.util.ArrayUtil;
import org.apache.lucene.util.BytesRef;

/**
 * Postings on their way from documents to terms: each chunk is inverted in memory and appended to a file; at the end all chunks
 * are read side by side, term by term. So memory holds one chunk, whatever the collection's size, and the segment is written once.
 *
 * <p>A chunk in the file: for each of its terms, by rank, the difference to the rank before, the number of postings, and for each
 * posting the difference to the document before and the impact, all in seven bits a byte.
 */
final class Spill implements Closeable {
  private static final int BUFFER = 1 << 16;
  private static final int LONGEST = 10; // bytes of two numbers

  private final FileChannel file;
  private final Vocabulary vocabulary;
  private final int[] sorted; // term ids by rank
  private final List<long[]> chunks = new ArrayList<>(); // {start, end} in the file
  private final int[] ends; // by term id; reused
  private int[] documents = new int[0];
  private int[] impacts = new int[0];
  private final byte[] buffer = new byte[BUFFER];
  private int filled;
  private long written;
  private int total;

  Spill(Path path, Vocabulary vocabulary, int[] sorted) throws IOException {
    file =
        FileChannel.open(
            path,
            StandardOpenOption.CREATE_NEW,
            StandardOpenOption.READ,
            StandardOpenOption.WRITE,
            StandardOpenOption.DELETE_ON_CLOSE);
    this.vocabulary = vocabulary;
    this.sorted = sorted;
    ends = new int[vocabulary.size];
  }

  void add(Chunk chunk) throws IOException {
    invert(chunk);
    long start = written + filled;
    int last = 0;
    for (int rank = 0; rank < sorted.length; rank++) {
      int term = sorted[rank];
      int end = ends[term];
      int begin = term == 0 ? 0 : ends[term - 1];
      if (begin == end) {
        continue;
      }
      write(rank - last, end - begin);
      last = rank;
      int document = 0;
      for (int place = begin; place < end; place++) {
        write(documents[place] - document, impacts[place]);
        document = documents[place];
      }
    }
    flush();
    chunks.add(new long[] {start, written});
    total += chunk.documents;
  }

  /** Counting sort by term; the postings of a term end at ends[term] and keep the order of documents. */
  private void invert(Chunk chunk) {
    documents = ArrayUtil.growNoCopy(documents, chunk.terms.length);
    impacts = ArrayUtil.growNoCopy(impacts, chunk.terms.length);
    Arrays.fill(ends, 0);
    for (int term : chunk.terms) {
      ends[term]++;
    }
    int sum = 0;
    for (int term = 0; term < ends.length; term++) {
      int count = ends[term];
      ends[term] = sum;
      sum += count;
    }
    for (int document = 0; document < chunk.documents; document++) {
      for (int place = chunk.indptr[document]; place < chunk.indptr[document + 1]; place++) {
        int to = ends[chunk.terms[place]]++;
        documents[to] = total + document;
        impacts[to] = chunk.impacts[place];
      }
    }
  }

  private void write(int first, int second) throws IOException {
    if (filled > BUFFER - LONGEST) {
      flush();
    }
    number(first);
    number(second);
  }

  private void number(int value) {
    while ((value & ~0x7F) != 0) {
      buffer[filled++] = (byte) (value | 0x80);
      value >>>= 7;
    }
    buffer[filled++] = (byte) value;
  }

  private void flush() throws IOException {
    ByteBuffer bytes = ByteBuffer.wrap(buffer, 0, filled);
    while (bytes.hasRemaining()) {
      written += file.write(bytes, written);
    }
    filled = 0;
  }

  /** All postings, to be walked once. */
  Terms terms() {
    return new WrittenTerms(total, true) {
      @Override
      public TermsEnum iterator() throws IOException {
        return new Merged();
      }
    };
  }

  @Override
  public void close() throws IOException {
    file.close();
  }

  private final class Merged extends WrittenTerms.Enum {
    private final Cursor[] cursors = new Cursor[chunks.size()];
    private int rank = -1;
    private BytesRef term;

    Merged() throws IOException {
      for (int i = 0; i < cursors.length; i++) {
        cursors[i] = new Cursor(chunks.get(i)[0], chunks.get(i)[1]);
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
  private final class Cursor {
    private final byte[] bytes = new byte[BUFFER];
    private long position;
    private final long end;
    private int at;
    private int limit;
    int rank; // of the term; MAX_VALUE past the last
    int left; // its postings not yet read
    int document;
    int impact;

    Cursor(long start, long end) throws IOException {
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
