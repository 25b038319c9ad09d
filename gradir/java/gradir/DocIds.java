package gradir;

import java.io.IOException;
import java.util.Arrays;
import java.util.List;
import org.apache.lucene.index.BinaryDocValues;
import org.apache.lucene.index.LeafReaderContext;
import org.apache.lucene.util.ArrayUtil;
import org.apache.lucene.util.BytesRef;

/** The docids of an index by document number, read once: they break ties, and the caller names hits by them. */
final class DocIds {
  private byte[] bytes = new byte[1 << 16];
  private final int[] starts; // [documents + 1]

  DocIds(List<LeafReaderContext> leaves, int documents) throws IOException {
    starts = new int[documents + 1];
    for (LeafReaderContext leaf : leaves) {
      BinaryDocValues values = leaf.reader().getBinaryDocValues("id");
      for (int i = 0; i < leaf.reader().maxDoc(); i++) {
        if (values == null || !values.advanceExact(i)) {
          throw new IllegalArgumentException("document " + (leaf.docBase + i) + " has no doc values in the field id");
        }
        BytesRef id = values.binaryValue();
        int start = starts[leaf.docBase + i];
        int end = Math.addExact(start, id.length);
        bytes = ArrayUtil.grow(bytes, end);
        System.arraycopy(id.bytes, id.offset, bytes, start, id.length);
        starts[leaf.docBase + i + 1] = end;
      }
    }
  }

  int compare(int one, int other) {
    return Arrays.compareUnsigned(
        bytes, starts[one], starts[one + 1], bytes, starts[other], starts[other + 1]);
  }

  byte[] utf8() {
    return Arrays.copyOf(bytes, starts[starts.length - 1]);
  }

  byte[] offsets() {
    return Bytes.of(starts);
  }
}
