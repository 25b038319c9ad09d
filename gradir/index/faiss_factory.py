"""FAISS indexes of a factory string: made, trained on a sample, and moved to a GPU where there is one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradir.data.faiss_files import faiss_cause, index_parts, open_faiss, set_search_effort
from gradir.errors import GradirError
from gradir.index.source import Source

_PER_CENTROID = 256  # vectors for each centroid: FAISS trains with no more
_ENOUGH_PER_CENTROID = 39  # with fewer it warns
_OTHERS = 100_000  # vectors for what has no centroids: ranges of scalar quantisers, rotations
_MEMORY = 2 << 30  # bytes of the sample, if that is enough for all centroids
_SEED = 13


def new_index(factory: str, dimensions: int, ef_construction: int, ef_search: int, nprobe: int | None) -> Any:
    """An empty inner-product index.

    Args:
        factory: FAISS factory string.
        dimensions: Of the vectors.
        ef_construction: Graphs: candidates looked at for a vector that is added.
        ef_search: Graphs: candidates looked at for a query.
        nprobe: Inverted files: cells looked at for a query; one in sixteen but at least sixteen if not given.

    Raises:
        GradirError: FAISS does not know it, or not for inner products or vectors of this size.
    """
    faiss = open_faiss()
    try:
        index = faiss.index_factory(dimensions, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        problem = f"FAISS cannot make it for vectors of {dimensions} numbers ({faiss_cause(error)})"
        raise GradirError(f"--factory {factory}: {problem}. Try IVF256,PQ16 or HNSW32_SQ8, say.") from None
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise GradirError(
            f"--factory {factory}: FAISS makes it for distances alone. Try HNSW32_SQ8 or IVF256,PQ16, say."
        )
    for part in index_parts(index):
        if isinstance(part, faiss.IndexIDMap | faiss.IndexIDMap2):
            raise GradirError(f"--factory {factory}: ids stand in the file `docid`. Leave out the IDMap.")
        if hasattr(part, "nlist") and not part.nlist:
            raise GradirError(f"--factory {factory}: an inverted file needs one cell or more.")
        if hasattr(part, "hnsw"):
            part.hnsw.efConstruction = ef_construction
        if hasattr(part, "do_polysemous_training"):
            # nine tenths of the time, for a kind of search that neither we nor Pyserini offer
            part.do_polysemous_training = False
        if hasattr(part, "nprobe"):
            set_search_effort(part, None, nprobe or max(16, part.nlist // 16))
    set_search_effort(index, ef_search, None)
    return index


def train(index: Any, factory: str, source: Source) -> int:
    """Train an index, if it must be, on a sample drawn in one pass; returns how many vectors that took.

    The sample is at most 256 vectors a centroid, and 2 GiB unless that were fewer than 39 a centroid.

    Raises:
        GradirError: There are fewer vectors than the index has to learn centroids, or FAISS refuses them.
    """
    if index.is_trained:
        return 0
    centroids = max((_centroids(part) for part in index_parts(index)), default=0)
    if len(source) < centroids:
        problem = f"it learns {centroids} centroids from as many vectors or more ({_ENOUGH_PER_CENTROID * centroids} "
        problem += f"to do it well), and {source.folder} holds {len(source)}"
        raise GradirError(f"--factory {factory}: {problem}. Take a smaller one, SQ8 or HNSW32_SQ8, say.")
    affordable = max(_MEMORY // (4 * index.d), _ENOUGH_PER_CENTROID * centroids)
    vectors = sample(source, min(_PER_CENTROID * centroids or _OTHERS, affordable))
    _hush(index)
    try:
        index.train(vectors)
    except RuntimeError as error:
        problem = f"FAISS cannot train it on {len(vectors)} vectors ({faiss_cause(error)})"
        raise GradirError(f"--factory {factory}: {problem}. Take another one, SQ8 or HNSW32_SQ8, say.") from None
    return len(vectors)


def sample(source: Source, size: int) -> NDArray[np.float32]:
    """[min(size, N), D] vectors of a source in its order, a uniform sample by a fixed seed, drawn in one pass."""
    total = len(source)
    rows = np.sort(np.random.default_rng(_SEED).choice(total, min(size, total), replace=False))
    kept, first = [], 0
    for _, docids, vectors in source.dense():
        inside = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + len(docids))]
        kept.append(vectors[inside - first])
        first += len(docids)
    return np.concatenate(kept)


def to_gpu(index: Any) -> tuple[Any, bool]:
    """(the index on the GPUs, to be trained and filled there, True); as it is and False without GPUs, and for graphs."""
    faiss = open_faiss()
    if not (hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus()):
        return index, False
    try:
        return faiss.index_cpu_to_all_gpus(index), True
    except RuntimeError:  # FAISS's answer for what it has for CPUs alone
        return index, False


def _hush(index: Any) -> None:
    """Have FAISS train on a small sample without a line on stderr for each of its hundreds of clusterings."""
    faiss = open_faiss()
    quantisers: list[Any] = []
    for part in index_parts(index):
        quantisers += [part] if hasattr(part, "nlist") else []
        quantisers += [getattr(part, name) for name in ("pq", "rq") if hasattr(part, name)]
        transforms = [part.chain.at(place) for place in range(part.chain.size())] if hasattr(part, "chain") else []
        for rotation in map(faiss.downcast_VectorTransform, transforms):
            if isinstance(rotation, faiss.OPQMatrix):  # makes a quantiser like this one unless given one
                rotation.pq = faiss.ProductQuantizer(rotation.d_out, rotation.M, 8)
                quantisers.append(rotation.pq)
    for quantiser in quantisers:
        quantiser.cp.min_points_per_centroid = 1


def _centroids(part: Any) -> int:
    """The largest number of centroids that a part of an index learns at once."""
    bits = [int(part.pq.nbits)] if hasattr(part, "pq") else []
    if hasattr(part, "aq"):
        bits += open_faiss().vector_to_array(part.aq.nbits).tolist()
    return max([int(getattr(part, "nlist", 0)), *(2**number for number in bits)])
