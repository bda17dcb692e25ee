"""What a module can do to files and processes, by its source: every use of a name that opens, lists, removes or starts.

Names are followed through imports, so `from os import unlink as away` is known; a use is found where it is called and
where it is handed on. Methods are known by their names, whatever they are looked up in, since the type is unknown. What
no analysis of names can follow, such as `getattr(os, name)`, is itself a deed.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator

from helpers.command_line import ROOT

# Functions by their full names; `module.` alone stands for everything in that module.
FUNCTIONS = {
    "opens": (
        "open builtins.open io.open io.open_code io.FileIO os.open os.fdopen os.openpty os.mknod os.truncate "
        "os.sendfile os.copy_file_range os.memfd_create codecs.open tokenize.open linecache. fileinput. mmap. dbm. "
        "sqlite3. gzip. bz2. lzma. zipfile. tarfile. zipimport. shutil.copyfile shutil.copyfileobj shutil.copy "
        "shutil.copy2 shutil.copytree shutil.make_archive shutil.unpack_archive configparser. netrc. plistlib. wave. "
        "numpy.load numpy.loadtxt numpy.genfromtxt numpy.fromfile numpy.memmap numpy.save numpy.savez numpy.savetxt "
        "numpy.savez_compressed numpy.lib.format.open_memmap numpy.DataSource PIL.Image.open pyarrow.csv.open_csv "
        "pyarrow.csv.read_csv pyarrow.csv.write_csv pyarrow.parquet.read_table pyarrow.parquet.write_table "
        "pyarrow.parquet.ParquetFile pyarrow.parquet.ParquetWriter pyarrow.memory_map pyarrow.OSFile "
        "pyarrow.input_stream pyarrow.output_stream pyarrow.dataset. pyarrow.fs. pyarrow.feather. pyarrow.orc. h5py. "
        "safetensors.safe_open scipy.io. torch.save torch.load torch.jit. torch.hub. logging.FileHandler "
        "logging.handlers. matplotlib.pyplot.savefig matplotlib.pyplot.imread polars. logging.config."
    ),
    "changes": (
        "os.rename os.renames os.replace os.link os.symlink os.mkdir os.makedirs os.chmod os.lchmod os.fchmod os.chown "
        "os.lchown os.fchown os.utime os.setxattr os.removexattr shutil.move shutil.chown shutil.copymode "
        "shutil.copystat os.mkfifo tempfile."
    ),
    "walks": "os.walk os.fwalk os.scandir os.listdir glob.",
    "ends": "os.kill os.killpg os.abort signal.pidfd_send_signal signal.raise_signal signal.pthread_kill",
    "removes": "os.unlink os.remove os.rmdir os.removedirs os.ftruncate shutil.rmtree",
    "starts": (
        "subprocess. os.system os.popen os.fork os.forkpty os.posix_spawn os.posix_spawnp os.startfile "
        "os.execl os.execle os.execlp os.execlpe os.execv "
        "os.execve os.execvp os.execvpe os.spawnl os.spawnle os.spawnlp os.spawnlpe os.spawnv os.spawnve os.spawnvp "
        "os.spawnvpe pty. pexpect. multiprocessing. asyncio. concurrent.futures.ProcessPoolExecutor "
        "concurrent.futures.process. webbrowser. torch.multiprocessing. plumbum. _posixsubprocess."
    ),
    "loads": (
        "importlib.import_module importlib.reload importlib.util. importlib.machinery. importlib.abc. __import__ exec "
        "eval compile runpy. code. codeop. imp. pkgutil. ctypes. cffi. "
        "site.addsitedir sys.path sys.meta_path sys.path_hooks types.FunctionType types.CodeType "
        "torch.ops.load_library torch.utils.cpp_extension. numpy.ctypeslib. pandas.eval globals locals "
        "__builtins__ builtins."
    ),
    "reaches": (
        "socket. ssl. urllib.request. http. ftplib. smtplib. imaplib. poplib. telnetlib. xmlrpc. socketserver. "
        "requests. httpx. aiohttp. urllib3. paramiko. wandb."
    ),
    "never": (
        "pickle. cPickle. _pickle. cloudpickle. dill. marshal. shelve. joblib. copyreg. pandas.read_pickle "
        "yaml.load yaml.load_all yaml.unsafe_load yaml.unsafe_load_all yaml.full_load yaml.full_load_all "
        "yaml.Loader yaml.UnsafeLoader yaml.FullLoader yaml.CLoader numpy.lib.format.read_array jsonpickle. "
        "logging.config.listen xml.dom. xml.etree. xml.sax.parse xml.sax.make_parser"
    ),
}
# By name alone, since what they are looked up in can be anything. Those of text and arrays are none of these.
METHODS = {
    "opens": (
        "open read_text read_bytes write_text write_bytes touch tofile fromfile extractall extract savefig "
        "read_csv read_json read_parquet read_table read_excel read_sql read_hdf read_feather "
        "to_csv to_parquet to_excel to_hdf to_sql to_feather to_html imread imsave save_file load_file"
    ),
    "changes": "rename mkdir makedirs symlink_to hardlink_to link_to chmod lchmod",
    "walks": "glob rglob iglob iterdir walk scandir listdir",
    "ends": "killpg pidfd_send_signal",
    "removes": "unlink rmdir rmtree removedirs",
    "starts": (
        "popen system posix_spawn execv execve execvp create_subprocess_exec create_subprocess_shell subprocess_exec "
        "subprocess_shell"
    ),
    "loads": "import_module exec_module load_module spec_from_file_location run_path run_module CDLL LoadLibrary",
    "never": "to_pickle read_pickle unsafe_load full_load",
}
KINDS = tuple(FUNCTIONS)
_FULL = {name: kind for kind, names in FUNCTIONS.items() for name in names.split() if not name.endswith(".")}
_WHOLE = {name[:-1]: kind for kind, names in FUNCTIONS.items() for name in names.split() if name.endswith(".")}
_BY_METHOD = {name: kind for kind, names in METHODS.items() for name in names.split()}
# Of the whole modules above: what only describes, waits or names.
_HARMLESS = {
    *("subprocess.CompletedProcess", "subprocess.TimeoutExpired", "subprocess.CalledProcessError", "subprocess.PIPE"),
    *("subprocess.SubprocessError", "subprocess.DEVNULL", "subprocess.STDOUT", "socket.gethostname", "socket.gaierror"),
    *("socket.AF_INET", "socket.AF_UNIX", "socket.AI_ADDRCONFIG", "socket.SOCK_SEQPACKET", "tempfile.gettempdir"),
    "ast.walk",
    *("importlib.machinery.ModuleSpec", "importlib.machinery.EXTENSION_SUFFIXES", "zipfile.BadZipFile"),
}
# Modules that are not handed on or searched by name, since what is then used of them cannot be seen.
_GUARDED = {"os", "io", "shutil", "importlib", "builtins", "sys", *_WHOLE}


def deeds(source: str) -> Iterator[tuple[str, int, str]]:
    """Yields (kind, line, name) of each use in a module."""
    finder = _Finder()
    finder.visit(ast.parse(source))
    yield from finder.found


class _Finder(ast.NodeVisitor):
    def __init__(self) -> None:
        self.found: list[tuple[str, int, str]] = []
        self._meant: dict[str, str] = {}  # by imports: local name -> full name

    def visit_Module(self, node: ast.Module) -> None:
        """Imports first: a function may use what is imported below it."""
        for inner in ast.walk(node):
            if isinstance(inner, ast.Import):
                for alias in inner.names:
                    local = alias.asname or alias.name.partition(".")[0]
                    self._meant[local] = alias.name if alias.asname else local
            elif isinstance(inner, ast.ImportFrom):
                place = f"hpc.{inner.module or ''}" if inner.level else inner.module or ""
                for alias in inner.names:
                    self._meant[alias.asname or alias.name] = f"{place}.{alias.name}"
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if (kind := _kind_of(f"{alias.name}.anything")) == "never":
                self._note(kind, node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            if alias.name == "*" and node.module in _GUARDED:
                self._note("loads", node, full)
            elif not node.level and (kind := _kind_of_imported(full)):
                self._note(kind, node, full)

    def visit_Name(self, node: ast.Name) -> None:
        full = self._meant.get(node.id, node.id if hasattr(builtins, node.id) or node.id == "__builtins__" else "")
        if kind := _kind_of_imported(full):
            self._note(kind, node, full)
        elif full in _GUARDED:
            self._note("loads", node, f"{full}, handed on")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        full = self._full(node)
        if full and (kind := _kind_of(full)):
            self._note(kind, node, full)
        elif full.endswith(".__dict__") and full.removesuffix(".__dict__") in _GUARDED:
            self._note("loads", node, full)
        elif node.attr in _BY_METHOD and full not in _HARMLESS and not _is_ours(full.rpartition(".")[0]):
            self._note(_BY_METHOD[node.attr], node, f".{node.attr}")
        if not full:
            self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if self._full(node.value) != "subprocess.Popen":  # Popen[bytes] is a type
            self.visit(node.value)
        self.visit(node.slice)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in ("getattr", "vars") and node.args:
            self._look_up(node)
        # A path has `replace(target)`; a text needs two arguments for it.
        is_method = isinstance(node.func, ast.Attribute) and not self._full(node.func)
        if is_method and node.func.attr == "replace" and len(node.args) == 1 and not node.keywords:
            self._note("changes", node, ".replace")
        self.generic_visit(node)

    def _look_up(self, node: ast.Call) -> None:
        """`getattr(module, name)`: as if it were written out, or what nobody can follow."""
        full = self._full(node.args[0])
        name = node.args[1].value if len(node.args) > 1 and isinstance(node.args[1], ast.Constant) else None
        if isinstance(name, str):
            if kind := _kind_of(f"{full}.{name}") or _BY_METHOD.get(name):
                self._note(kind, node, f"{full}.{name}")
        elif full in _GUARDED:
            self._note("loads", node, f"{full}, searched by name")

    def _full(self, node: ast.expr) -> str:
        """The full name of what is looked up in an imported module; empty if it is another thing."""
        if isinstance(node, ast.Name):
            return self._meant.get(node.id, "")
        inner = self._full(node.value) if isinstance(node, ast.Attribute) else ""
        return f"{inner}.{node.attr}" if inner and isinstance(node, ast.Attribute) else ""

    def _note(self, kind: str, node: ast.AST, name: str) -> None:
        self.found.append((kind, getattr(node, "lineno", 0), name))


def _is_ours(module: str) -> bool:
    """Whether a module is one of those that are looked through; what its functions do is found there."""
    place = ROOT / module.replace(".", "/")
    return module != "" and (place.with_suffix(".py").is_file() or (place / "__init__.py").is_file())


def _kind_of(full: str) -> str:
    """What a name does; empty if it is none of these."""
    if full in _HARMLESS:
        return ""
    parts = full.split(".")
    for n in range(
        len(parts), 0, -1
    ):  # what is looked up in a function or list, such as sys.path.insert, is a use of it
        name = ".".join(parts[:n])
        if name in _FULL or (name in _WHOLE and n < len(parts)):
            return _FULL.get(name) or _WHOLE[name]
    return ""


def _kind_of_imported(full: str) -> str:
    """The same for a name that is imported; one of another library by its last part as well."""
    module, _, name = full.rpartition(".")
    return _kind_of(full) or ("" if not module or _is_ours(module) else _BY_METHOD.get(name, ""))
