package gradir;

import java.io.IOException;
import java.nio.file.Paths;
import org.apache.lucene.index.IndexWriter;
import org.apache.lucene.index.IndexWriterConfig;
import org.apache.lucene.index.LogDocMergePolicy;
import org.apache.lucene.store.Directory;
import org.apache.lucene.store.FSDirectory;
import org.apache.lucene.util.IOUtils;

/** Lucene indexes to one. In Java because pyjnius cannot tell addIndexes(Directory...) from addIndexes(CodecReader...). */
public final class IndexMerge {
  private IndexMerge() {}

  /**
   * @param sources folders of indexes, a line each
   * @param target an empty folder
   * @param optimize whether to merge to one segment; otherwise segments are copied as they are
   */
  public static void merge(String sources, String target, boolean optimize) throws IOException {
    String[] folders = sources.split("\n");
    Directory[] directories = new Directory[folders.length];
    IndexWriterConfig config = new IndexWriterConfig();
    config.setMergePolicy(new LogDocMergePolicy()); // it keeps the order of documents
    config.setUseCompoundFile(false);
    try (Directory directory = FSDirectory.open(Paths.get(target))) {
      IndexWriter writer = new IndexWriter(directory, config);
      try {
        for (int i = 0; i < folders.length; i++) {
          directories[i] = FSDirectory.open(Paths.get(folders[i]));
        }
        writer.addIndexes(directories);
        if (optimize) {
          writer.forceMerge(1);
        }
        writer.commit();
      } finally {
        writer.rollback(); // closes; what is not committed is gone
        IOUtils.close(directories);
      }
    }
  }
}
