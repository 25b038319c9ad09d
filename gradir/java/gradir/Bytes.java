package gradir;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** Arrays as Python hands them over: the little-endian bytes of NumPy. */
final class Bytes {
  private Bytes() {}

  static int[] ints(byte[] bytes) {
    int[] values = new int[bytes.length / Integer.BYTES];
    ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asIntBuffer().get(values);
    return values;
  }

  static byte[] of(int[] values) {
    ByteBuffer bytes = buffer((long) Integer.BYTES * values.length);
    bytes.asIntBuffer().put(values);
    return bytes.array();
  }

  static ByteBuffer buffer(long size) {
    return ByteBuffer.allocate(Math.toIntExact(size)).order(ByteOrder.LITTLE_ENDIAN);
  }
}
