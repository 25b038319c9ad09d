package gradir;

import java.io.Closeable;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import org.apache.lucene.codecs.Codec;
import org.apache.lucene.codecs.DocValuesConsumer;
import org.apache.lucene.codecs.FieldsConsumer;
import org.apache.lucene.codecs.StoredFieldsWriter;
import org.apache.lucene.codecs.TermVectorsWriter;
import org.apache.lucene.index.BinaryDocValues;
import org.apache.lucene.index.DocValuesType;
import org.apache.lucene.index.EmptyDocValuesProducer;
import org.apache.lucene.index.FieldInfo;
import org.apache.lucene.index.FieldInfos;
import org.apache.lucene.index.Fields;
import org.apache.lucene.index.IndexOptions;
import org.apache.lucene.index.SegmentCommitInfo;
import org.apache.lucene.index.SegmentInfo;
import org.apache.lucene.index.SegmentWriteState;
import org.apache.lucene.index.Terms;
import org.apache.lucene.index.VectorEncoding;
import org.apache.lucene.index.VectorSimilarityFunction;
import org.apache.lucene.store.Directory;
import org.apache.lucene.store.IOContext;
import org.apache.lucene.store.TrackingDirectoryWrapper;
import org.apache.lucene.util.IOUtils;
import org.apache.lucene.util.InfoStream;
import org.apache.lucene.util.StringHelper;
import org.apache.lucene.util.Version;

/**
 * One segment, written through the codec as IndexWriter does it when it flushes: `id` (stored, searchable, and as doc values for
 * Anserini's tie-break), `contents` (impacts as term frequencies, no norms: ImpactSimilarity ignores them), and `raw` where given.
 */
final class Segment implements Closeable {
  private static final Codec CODEC = Codec.getDefault();

  private final TrackingDirectoryWrapper directory;
  private final SegmentInfo draft; // its number of documents is not known yet
  private final Vocabulary vocabulary;
  private final int[] ranks;
  private final Spill spill;
  private final Ids ids = new Ids();
  private final FieldInfo id;
  private final FieldInfo contents;
  private final FieldInfo raw; // null where no texts are stored
  private final StoredFieldsWriter stored;
  private final TermVectorsWriter vectors; // null where none are stored

  Segment(Directory directory, Path folder, String name, Vocabulary vocabulary, int[] sorted, boolean withVectors, boolean withRaw)
      throws IOException {
    this.directory = new TrackingDirectoryWrapper(directory);
    this.vocabulary = vocabulary;
    ranks = Vocabulary.ranks(sorted);
    draft = info(name, -1, StringHelper.randomId(), new HashMap<>());
    id = field("id", 0, IndexOptions.DOCS, DocValuesType.BINARY, false);
    contents = field("contents", 1, IndexOptions.DOCS_AND_FREQS, DocValuesType.NONE, withVectors);
    raw = withRaw ? field("raw", 2, IndexOptions.NONE, DocValuesType.NONE, false) : null;
    spill = new Spill(folder.resolve(name + ".postings.tmp"), vocabulary, sorted);
    stored = CODEC.storedFieldsFormat().fieldsWriter(this.directory, draft, IOContext.DEFAULT);
    vectors = withVectors ? CODEC.termVectorsFormat().vectorsWriter(this.directory, draft, IOContext.DEFAULT) : null;
  }

  private SegmentInfo info(String name, int documents, byte[] identity, Map<String, String> attributes) {
    Map<String, String> diagnostics = new HashMap<>();
    diagnostics.put("source", "gradir");
    diagnostics.put("lucene.version", Version.LATEST.toString());
    return new SegmentInfo(
        directory, Version.LATEST, Version.LATEST, name, documents, false, false, CODEC, diagnostics, identity, attributes, null);
  }

  private static FieldInfo field(String name, int number, IndexOptions options, DocValuesType values, boolean vectors) {
    boolean omitNorms = options != IndexOptions.NONE;
    return new FieldInfo(
        name, number, vectors, omitNorms, false, options, values, -1, new HashMap<>(), 0, 0, 0, 0,
        VectorEncoding.FLOAT32, VectorSimilarityFunction.EUCLIDEAN, false);
  }

  /** Whether the ids, which stand in one array, have room for another chunk. */
  boolean hasRoom(Chunk chunk) {
    return (long) ids.bytes() + chunk.ids.length < 1 << 30;
  }

  void add(Chunk chunk) throws IOException {
    for (int i = 0; i < chunk.documents; i++) {
      stored.startDocument();
      stored.writeField(id, text(chunk.ids, chunk.idOffsets, i));
      if (raw != null) {
        stored.writeField(raw, text(chunk.raw, chunk.rawOffsets, i));
      }
      stored.finishDocument();
      if (vectors != null) {
        vector(chunk, i);
      }
    }
    ids.add(chunk.ids, chunk.idOffsets, chunk.documents);
    spill.add(chunk);
  }

  private static String text(byte[] utf8, int[] offsets, int i) {
    return new String(utf8, offsets[i], offsets[i + 1] - offsets[i], StandardCharsets.UTF_8);
  }

  private void vector(Chunk chunk, int document) throws IOException {
    int begin = chunk.indptr[document];
    int count = chunk.indptr[document + 1] - begin;
    vectors.startDocument(count == 0 ? 0 : 1);
    if (count > 0) {
      long[] byRank = new long[count];
      for (int i = 0; i < count; i++) {
        byRank[i] = (long) ranks[chunk.terms[begin + i]] << 32 | begin + i;
      }
      java.util.Arrays.sort(byRank);
      vectors.startField(contents, count, false, false, false);
      for (long place : byRank) {
        vectors.startTerm(vocabulary.term(chunk.terms[(int) place]), chunk.impacts[(int) place]);
        vectors.finishTerm();
      }
      vectors.finishField();
    }
    vectors.finishDocument();
  }

  int documents() {
    return ids.size();
  }

  /** Writes what is left; postings and the rest at the same time where the pool has a thread free. */
  SegmentCommitInfo finish(ExecutorService pool) throws Exception {
    SegmentInfo info = info(draft.name, documents(), draft.getId(), draft.getAttributes());
    FieldInfos fields = new FieldInfos(raw == null ? new FieldInfo[] {id, contents} : new FieldInfo[] {id, contents, raw});
    SegmentWriteState state =
        new SegmentWriteState(InfoStream.NO_OUTPUT, directory, info, fields, null, IOContext.DEFAULT);
    Callable<Void> beside = () -> {
      finishDocuments(state);
      return null;
    };
    Future<Void> future = pool.submit(beside);
    try {
      writePostings(state);
    } finally {
      future.get();
    }
    spill.close();
    CODEC.fieldInfosFormat().write(directory, info, "", fields, IOContext.DEFAULT);
    info.setFiles(new HashSet<>(directory.getCreatedFiles()));
    CODEC.segmentInfoFormat().write(directory, info, IOContext.DEFAULT);
    return new SegmentCommitInfo(info, 0, 0, -1, -1, -1, StringHelper.randomId());
  }

  private void finishDocuments(SegmentWriteState state) throws IOException {
    stored.finish(documents());
    stored.close();
    if (vectors != null) {
      vectors.finish(documents());
      vectors.close();
    }
    try (DocValuesConsumer consumer = CODEC.docValuesFormat().fieldsConsumer(state)) {
      consumer.addBinaryField(
          id,
          new EmptyDocValuesProducer() {
            @Override
            public BinaryDocValues getBinary(FieldInfo field) {
              return ids.values();
            }
          });
    }
  }

  private void writePostings(SegmentWriteState state) throws IOException {
    Terms sortedIds = ids.terms(ids.sorted());
    Fields all = new Fields() {
      @Override
      public Iterator<String> iterator() {
        return List.of("contents", "id").iterator();
      }

      @Override
      public Terms terms(String field) {
        return field.equals("id") ? sortedIds : spill.terms();
      }

      @Override
      public int size() {
        return 2;
      }
    };
    try (FieldsConsumer consumer = CODEC.postingsFormat().fieldsConsumer(state)) {
      consumer.write(all, null);
    }
  }

  @Override
  public void close() throws IOException {
    List<Closeable> open = new ArrayList<>(List.of(spill, stored));
    if (vectors != null) {
      open.add(vectors);
    }
    IOUtils.close(open);
  }
}
