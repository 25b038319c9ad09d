"""An encoder folder opened as an object with `encode(texts)`, and the query encoder objects that Pyserini takes."""
