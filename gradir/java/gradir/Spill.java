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
import org.apache.lucene.index.Terms;
import org.apache.lucene.index.TermsEnum;
import org.apache.lucene.util.ArrayUtil;

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
        return new SpilledTerms(file, chunks, vocabulary, sorted);
      }
    };
  }

  @Override
  public void close() throws IOException {
    file.close();
  }
}
