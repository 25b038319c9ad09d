package gradir;

import java.util.Arrays;
import org.apache.lucene.util.BytesRef;

/** The terms by id, and their order as UTF-8 bytes, which is Lucene's. */
final class Vocabulary {
  private final byte[] utf8;
  private final int[] offsets; // [size + 1]
  final int size;

  Vocabulary(byte[] utf8, int[] offsets) {
    this.utf8 = utf8;
    this.offsets = offsets;
    size = offsets.length - 1;
  }

  BytesRef term(int id) {
    return new BytesRef(utf8, offsets[id], offsets[id + 1] - offsets[id]);
  }

  /** Term ids in the order of their terms. */
  int[] sorted() {
    Integer[] ids = new Integer[size];
    Arrays.setAll(ids, id -> id);
    Arrays.sort(ids, (a, b) -> term(a).compareTo(term(b)));
    return Arrays.stream(ids).mapToInt(Integer::intValue).toArray();
  }

  /** The place of each term id in `sorted()`. */
  static int[] ranks(int[] sorted) {
    int[] ranks = new int[sorted.length];
    for (int rank = 0; rank < sorted.length; rank++) {
      ranks[sorted[rank]] = rank;
    }
    return ranks;
  }
}
