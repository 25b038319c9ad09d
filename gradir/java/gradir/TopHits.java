package gradir;

import java.util.Arrays;

/**
 * The best k documents seen, by score descending, then docid ascending. New ones wait in a buffer; when it is full, the k best of
 * it are selected in linear time and the worst of them becomes the least score that is let in.
 */
final class TopHits {
  private final DocIds ids;
  private final int k;
  private final long[] buffer; // score as the bits of a positive float, which order as it does, then the document
  private int size;
  float least; // what a score must reach

  TopHits(DocIds ids, int k) {
    this.ids = ids;
    this.k = k;
    buffer = new long[Math.max(2 * k, k + 1024)];
  }

  void clear() {
    size = 0;
    least = Float.MIN_VALUE; // the smallest score above 0
  }

  void add(int document, float score) {
    buffer[size++] = (long) Float.floatToRawIntBits(score) << 32 | document;
    if (size == buffer.length) {
      select();
    }
  }

  private void select() {
    int low = 0;
    int high = size - 1;
    while (low < high) { // quickselect: the k best come to stand before place k
      long pivot = buffer[low + high >>> 1];
      int i = low;
      int j = high;
      while (i <= j) {
        while (before(buffer[i], pivot)) {
          i++;
        }
        while (before(pivot, buffer[j])) {
          j--;
        }
        if (i <= j) {
          long kept = buffer[i];
          buffer[i++] = buffer[j];
          buffer[j--] = kept;
        }
      }
      if (k - 1 <= j) {
        high = j;
      } else if (k - 1 >= i) {
        low = i;
      } else {
        break;
      }
    }
    size = k;
    least = Float.intBitsToFloat((int) (buffer[k - 1] >>> 32));
  }

  private boolean before(long one, long other) {
    int difference = Integer.compare((int) (one >>> 32), (int) (other >>> 32));
    return difference > 0 || difference == 0 && ids.compare((int) one, (int) other) < 0;
  }

  /** The hits, best first: as `add` keeps them. */
  long[] sorted() {
    if (size > k) {
      select();
    }
    long[] hits = Arrays.copyOf(buffer, size);
    Arrays.sort(hits);
    for (int i = 0, j = hits.length - 1; i < j; i++, j--) {
      long kept = hits[i];
      hits[i] = hits[j];
      hits[j] = kept;
    }
    sortTies(hits);
    return hits;
  }

  private void sortTies(long[] hits) {
    for (int start = 0; start < hits.length; ) {
      int end = start + 1;
      while (end < hits.length && hits[end] >>> 32 == hits[start] >>> 32) {
        end++;
      }
      if (end - start > 1) {
        Long[] tied = new Long[end - start];
        for (int i = start; i < end; i++) {
          tied[i - start] = hits[i];
        }
        Arrays.sort(tied, (a, b) -> ids.compare((int) (long) a, (int) (long) b));
        for (int i = start; i < end; i++) {
          hits[i] = tied[i - start];
        }
      }
      start = end;
    }
  }
}
