package gradir;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.apache.lucene.index.BinaryDocValues;
import org.apache.lucene.index.IndexWriter;
import org.apache.lucene.index.PostingsEnum;
import org.apache.lucene.index.Terms;
import org.apache.lucene.index.TermsEnum;
import org.apache.lucene.util.ArrayUtil;
import org.apache.lucene.util.BytesRef;
import org.apache.lucene.util.BytesRefBuilder;
import org.apache.lucene.util.BytesRefComparator;
import org.apache.lucene.util.StringSorter;

/** The docids of a segment in document order: kept in memory, because Lucene wants them sorted as terms and again as doc values. */
final class Ids {
  private byte[] bytes = new byte[1 << 16];
  private int[] starts = new int[1 << 12]; // [size + 1]
  private int size;

  int size() {
    return size;
  }

  int bytes() {
    return starts[size];
  }

  /** Appends the ids of a chunk: UTF-8, one after another; id i of it is at offsets[i] .. offsets[i + 1]. */
  void add(byte[] utf8, int[] offsets, int count) {
    starts = ArrayUtil.grow(starts, size + count + 1);
    int end = starts[size];
    bytes = ArrayUtil.grow(bytes, end + offsets[count] - offsets[0]);
    System.arraycopy(utf8, offsets[0], bytes, end, offsets[count] - offsets[0]);
    for (int i = 1; i <= count; i++) {
      int length = offsets[i] - offsets[i - 1];
      if (length > IndexWriter.MAX_TERM_LENGTH) {
        String begin = new String(utf8, offsets[i - 1], 40, StandardCharsets.ISO_8859_1);
        throw new IllegalArgumentException("the id of document " + begin + "… has " + length + " bytes");
      }
      starts[size + i] = end + offsets[i] - offsets[0];
    }
    size += count;
  }

  void get(int document, BytesRef into) {
    into.bytes = bytes;
    into.offset = starts[document];
    into.length = starts[document + 1] - starts[document];
  }

  BytesRef get(int document) {
    BytesRef id = new BytesRef();
    get(document, id);
    return id;
  }

  /** The documents in the order of their ids. */
  int[] sorted() {
    int[] order = new int[size];
    Arrays.setAll(order, i -> i);
    new StringSorter(BytesRefComparator.NATURAL) {
      @Override
      protected void get(BytesRefBuilder builder, BytesRef result, int i) {
        Ids.this.get(order[i], result);
      }

      @Override
      protected void swap(int i, int j) {
        int kept = order[i];
        order[i] = order[j];
        order[j] = kept;
      }
    }.sort(0, size);
    return order;
  }

  BinaryDocValues values() {
    return new BinaryDocValues() {
      private final BytesRef id = new BytesRef();
      private int document = -1;

      @Override
      public BytesRef binaryValue() {
        get(document, id);
        return id;
      }

      @Override
      public boolean advanceExact(int target) {
        document = target;
        return true;
      }

      @Override
      public int docID() {
        return document;
      }

      @Override
      public int nextDoc() {
        return advance(document + 1);
      }

      @Override
      public int advance(int target) {
        return document = target < size ? target : NO_MORE_DOCS;
      }

      @Override
      public long cost() {
        return size;
      }
    };
  }

  /** The ids as terms of one document each, given `sorted()`. */
  Terms terms(int[] order) {
    return new WrittenTerms(size, false) {
      @Override
      public TermsEnum iterator() {
        return new Sorted(order);
      }
    };
  }

  private final class Sorted extends WrittenTerms.Enum {
    private final int[] order;
    private final BytesRef id = new BytesRef();
    private int place = -1;

    Sorted(int[] order) {
      this.order = order;
    }

    @Override
    public BytesRef next() {
      if (++place == order.length) {
        return null;
      }
      get(order[place], id);
      if (place > 0 && id.bytesEquals(Ids.this.get(order[place - 1]))) {
        throw new IllegalArgumentException("document id " + id.utf8ToString() + " is used twice");
      }
      return id;
    }

    @Override
    public BytesRef term() {
      return id;
    }

    @Override
    public PostingsEnum postings(PostingsEnum reuse, int flags) {
      One one = reuse instanceof One ? (One) reuse : new One();
      one.only = order[place];
      one.document = -1;
      return one;
    }
  }

  private static final class One extends WrittenTerms.Postings {
    private int only;
    private int document;

    @Override
    public int freq() {
      return 1;
    }

    @Override
    public int docID() {
      return document;
    }

    @Override
    public int nextDoc() {
      return document = document < 0 ? only : NO_MORE_DOCS;
    }
  }
}
