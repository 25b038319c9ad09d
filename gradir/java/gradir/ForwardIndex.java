package gradir;

import java.io.IOException;
import java.nio.ByteOrder;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/** The whole vectors of the documents by number, mapped from the files that gradir/data/forward.py describes. */
final class ForwardIndex {
  private static final int PIECE = 1 << 30; // a mapping ends at 2 GiB; numbers never straddle two of these

  private final Numbers starts;
  private final Numbers terms;
  private final Numbers impacts;

  ForwardIndex(Path folder, int termBytes, int impactBytes) throws IOException {
    starts = new Numbers(folder.resolve("forward.starts"), 8);
    terms = new Numbers(folder.resolve("forward.terms"), termBytes);
    impacts = new Numbers(folder.resolve("forward.impacts"), impactBytes);
  }

  /** The sum over the document's terms of weight times impact. */
  double score(int document, double[] weights) {
    long end = starts.get(document + 1L);
    double sum = 0;
    for (long place = starts.get(document); place < end; place++) {
      double weight = weights[(int) terms.get(place)];
      if (weight != 0) {
        sum += weight * impacts.get(place);
      }
    }
    return sum;
  }

  private static final class Numbers {
    private final MappedByteBuffer[] pieces;
    private final int width;

    Numbers(Path path, int width) throws IOException {
      this.width = width;
      try (FileChannel file = FileChannel.open(path, StandardOpenOption.READ)) {
        long size = file.size();
        pieces = new MappedByteBuffer[(int) ((size + PIECE - 1) / PIECE)];
        for (int i = 0; i < pieces.length; i++) {
          long start = (long) i * PIECE;
          pieces[i] = file.map(FileChannel.MapMode.READ_ONLY, start, Math.min(PIECE, size - start));
          pieces[i].order(ByteOrder.LITTLE_ENDIAN);
        }
      }
    }

    long get(long index) {
      long at = index * width;
      MappedByteBuffer piece = pieces[(int) (at / PIECE)];
      int offset = (int) (at % PIECE);
      switch (width) {
        case 2:
          return piece.getShort(offset) & 0xFFFF;
        case 4:
          return piece.getInt(offset) & 0xFFFFFFFFL;
        default:
          return piece.getLong(offset);
      }
    }
  }
}
