"""The kernel in which `flowcal run` executes a chapter: ipykernel, with a note of every file that is read."""

import importlib.util
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from traitlets.config import Config

from flowcal.artifacts import RECORD, note_file
from flowcal.code import FOLDER
from flowcal.files import ending_with_us, kill_group

__all__ = ["AT_ONCE", "end_kernels", "kernel_config", "let_kernels_run", "main", "socket_folder", "watch_files"]

AT_ONCE = 2  # chapters that are executed side by side
LOG = logging.getLogger("papermill")  # of kernels that have ended it says so
SHORT_FOLDER = "/tmp"  # noqa: S108, of a private folder in it
LONGEST_SOCKET = 90  # bytes; the name of a socket may have 107, and ours end in -1 to -5
IGNORED = ("artifacts", "_build", ".venv", ".git", "src")  # results, and what has fingerprints of its own


class _Kernel(AsyncKernelManager):
    """Runs the kernel of this interpreter and this package, whatever is installed, and tells it where to record."""

    running: ClassVar[dict[str, ExitStack]] = {}  # by record: what to do once the kernel has to end
    may_run: ClassVar[bool] = True

    @property
    def kernel_spec(self) -> KernelSpec:
        """How the kernel is started."""
        command = [sys.executable, "-P", "-m", __name__, "-f", "{connection_file}"]
        threads = str(max(1, (os.cpu_count() or 1) // AT_ONCE))
        env = {name: os.environ.get(name) or threads for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        paths = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        env["PYTHONPATH"] = os.pathsep.join([str(FOLDER.parent), *map(os.path.abspath, paths)])
        env["TMPDIR"] = tempfile.gettempdir()  # absolute: the kernel works in another folder
        if data := os.environ.get("FLOWCAL_DATA"):
            env["FLOWCAL_DATA"] = os.path.abspath(data)
        return KernelSpec(argv=command, language="python", env=env | {RECORD: self.config.Flowcal.record})

    async def _async_pre_start_kernel(self, **options: Any) -> tuple[list[str], dict[str, Any]]:
        """In the folder of the notebook; papermill would change that of this process, in which two chapters run."""
        return await super()._async_pre_start_kernel(**options | {"cwd": self.config.Flowcal.cwd})

    async def _async_post_start_kernel(self, **options: Any) -> None:
        """Remember it, so that it ends with the command."""
        await super()._async_post_start_kernel(**options)
        if process := getattr(self.provisioner, "pid", None):
            ending = self.running[self.config.Flowcal.record]
            ending.callback(kill_group, process)
            ending.enter_context(ending_with_us("group", process))
        if not self.may_run:
            end_kernels()

    async def _async_interrupt_kernel(self) -> None:
        """Without the interrupt before a shutdown: the kernel is idle then, and would complain of it."""
        if not self.shutting_down:
            await super()._async_interrupt_kernel()

    pre_start_kernel = _async_pre_start_kernel
    post_start_kernel = _async_post_start_kernel
    interrupt_kernel = _async_interrupt_kernel


@contextmanager
def kernel_config(private: Path, record: Path, folder: Path) -> Iterator[Config]:
    """Talk to a kernel through files in a folder of ours where the system can, not through ports open to others.

    The kernel works in `folder`, and ends with the block with all that it has started.
    """
    kernel = {"connection_file": str(private / "kernel.json")}
    socket = str(private / "kernel")
    if os.name == "posix" and len(os.fsencode(socket)) < LONGEST_SOCKET:
        kernel |= {"transport": "ipc", "ip": socket}
    client, ours = {"kernel_manager_class": _Kernel}, {"record": str(record), "cwd": str(folder)}
    _Kernel.running[ours["record"]] = ExitStack()
    try:
        yield Config({"NotebookClient": client, "KernelManager": kernel, "Flowcal": ours})
    finally:
        _Kernel.running.pop(ours["record"]).close()


def socket_folder() -> str | None:
    """Where to make the folder of a kernel's sockets: not the usual place if that has too long a name for them."""
    usual = len(os.fsencode(tempfile.gettempdir())) + len("/flowcal-12345678/kernel") < LONGEST_SOCKET
    return None if usual or not os.access(SHORT_FOLDER, os.W_OK) else SHORT_FOLDER


def let_kernels_run() -> None:
    """Take back what `end_kernels` has done to kernels that are yet to start."""
    _Kernel.may_run, LOG.disabled = True, False


def end_kernels() -> None:
    """End every kernel that this process has started or is about to start, and what these have started."""
    _Kernel.may_run, LOG.disabled = False, True
    for ending in list(_Kernel.running.values()):
        ending.close()


def watch_files(root: Path) -> None:
    """Note every file of the project that this process opens for reading, helpers and data beside notebooks included.

    Packages, results and the package's own source are left out, and so are paired notebooks, which hold a chapter's
    stored outputs, and what a library opens without Python.
    """
    ignored = tuple(str(root / name) + os.sep for name in IGNORED)
    inside, seen = str(root) + os.sep, set()

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not isinstance(arguments[0], str) or not _reads(*arguments[1:3]):
            return
        path = os.path.abspath(arguments[0])
        if path in seen or not path.startswith(inside) or path.startswith(ignored) or path.endswith(".ipynb"):
            return
        seen.add(path)
        note_file(_source_of(path))

    sys.addaudithook(watch)


def _reads(mode: str | None, flags: int | None) -> bool:
    return "r" in mode if mode is not None else (flags or 0) & os.O_ACCMODE == os.O_RDONLY


def _source_of(path: str) -> Path:
    """The file itself, or the module that it is the bytecode of."""
    return Path(importlib.util.source_from_cache(path) if path.endswith(".pyc") else path)


def main() -> None:
    """Start the kernel; the project is the parent of the working folder."""
    from ipykernel import kernelapp

    opening_a_port: Any = vars(kernelapp)["IOPubThread"]  # for what forked processes print
    kernelapp.IOPubThread = lambda socket, pipe, session: opening_a_port(socket, False, session)  # type: ignore
    sys.path.insert(1, "")  # helpers beside the notebook can be imported, but not in place of this package
    watch_files(Path.cwd().parent)
    kernelapp.launch_new_instance()


if __name__ == "__main__":
    main()
