"""What a run may not do: each act refused, by its name in the denials, and all that is harmless let through.

Every act runs in a child of a fork server, locked down as the real ones are.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runs import order
from runtime_verify.readings import Outcome
from runtime_verify.run import Runner

HERE = str(Path(__file__).parent)

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="runs need Linux")


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Runner(("cpu",), executor="runs:guarded", preload=(), paths=(HERE,), timeout_s=30.0) as opened:
        yield opened


@dataclass
class World:
    """A folder outside of any run: a file, a folder with a file, a link; and how they were."""

    folder: Path

    def __post_init__(self) -> None:
        (self.folder / "file").write_text("kept")
        (self.folder / "sub").mkdir()
        (self.folder / "sub" / "inner").write_text("kept too")
        (self.folder / "link").symlink_to("file")
        (self.folder / "closed").write_text("")
        (self.folder / "closed").chmod(0o400)
        self.before = self.state()

    def state(self) -> dict[str, tuple[object, ...]]:
        found: dict[str, tuple[object, ...]] = {}
        for path in [self.folder, *sorted(self.folder.rglob("*"))]:
            status = path.lstat()
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            found[str(path)] = (status.st_mode, status.st_mtime_ns, status.st_uid, status.st_nlink, content)
        return found


@pytest.fixture
def world(tmp_path: Path) -> World:
    folder = tmp_path / "world"
    folder.mkdir()
    return World(folder)


# Act, what it is called in the denials. `out` is the folder outside; the working directory is the run's own.
WRITES = [
    ("open(f'{out}/file', 'w')", "open for writing: {out}/file"),
    ("open(f'{out}/file', 'a')", "open for writing: {out}/file"),
    ("open(f'{out}/file', 'r+b')", "open for writing: {out}/file"),
    ("open(f'{out}/new', 'x')", "open for writing: {out}/new"),
    ("open(os.fsencode(f'{out}/file'), 'w')", "open for writing: {out}/file"),
    ("open(pathlib.Path(out) / 'file', 'w')", "open for writing: {out}/file"),
    ("pathlib.Path(out, 'file').write_text('x')", "open for writing: {out}/file"),
    ("open(os.path.relpath(f'{out}/file'), 'w')", "open for writing: {out}/file"),
    ("os.chdir(out); open('file', 'w')", "open for writing: {out}/file"),
    ("os.symlink(f'{out}/file', 'way'); open('way', 'w')", "open for writing: {out}/file"),
    ("os.symlink(out, 'way'); open('way/file', 'w')", "open for writing: {out}/file"),
    ("os.symlink(out, 'way'); os.remove('way/file')", "delete: {out}/file"),
    ("open(f'{home}/{os.path.relpath(out)}/file', 'w')", "open for writing: {out}/file"),
    ("open('/proc/self/root' + out + '/file', 'w')", "open for writing: {out}/file"),
    ("kept = open(f'{out}/file'); open(f'/proc/self/fd/{kept.fileno()}', 'w')", "open for writing: {out}/file"),
    ("os.open(f'{out}/file', os.O_WRONLY)", "open for writing: {out}/file"),
    ("os.open(f'{out}/file', os.O_RDONLY | os.O_TRUNC)", "open for writing: {out}/file"),
    ("os.open(f'{out}/new', os.O_CREAT)", "open for writing: {out}/new"),
    ("os.open('file', os.O_RDWR, dir_fd=at)", "open for writing: {out}/file"),
    ("open('f', 'w', opener=lambda n, f: os.open('file', f, dir_fd=at))", "open for writing: {out}/file"),
    ("io.FileIO(f'{out}/file', 'w')", "open for writing: {out}/file"),
    ("os.remove(f'{out}/file')", "delete: {out}/file"),
    ("os.remove('file', dir_fd=at)", "delete: {out}/file"),
    ("pathlib.Path(out, 'file').unlink()", "delete: {out}/file"),
    ("os.remove(f'{out}/link')", "delete: {out}/link"),
    ("os.rmdir(f'{out}/sub')", "delete: {out}/sub"),
    ("shutil.rmtree(f'{out}/sub')", "delete: {out}/sub"),
    ("shutil.rmtree(out, ignore_errors=True)", "delete: {out}"),
    ("os.rename(f'{out}/file', f'{out}/other')", "rename: {out}/file"),
    ("os.rename('inside', f'{out}/file')", "rename: {out}/file"),
    ("os.replace(f'{out}/file', 'mine')", "rename: {out}/file"),
    ("os.rename('file', 'other', src_dir_fd=at, dst_dir_fd=at)", "rename: {out}/file"),
    ("shutil.move(f'{out}/file', 'mine')", "rename: {out}/file"),
    ("shutil.copy('inside', f'{out}/file')", "open for writing: {out}/file"),
    ("os.mkdir(f'{out}/new')", "make: {out}/new"),
    ("os.mkdir('new', dir_fd=at)", "make: {out}/new"),
    ("os.makedirs(f'{out}/new/deep')", "make: {out}/new"),
    ("os.symlink('inside', f'{out}/new')", "make: {out}/new"),
    ("os.link(f'{out}/file', 'mine')", "link: {out}/file"),
    ("os.link('inside', f'{out}/new')", "link: {out}/new"),
    ("os.mkfifo(f'{out}/new')", "make: {out}/new"),
    ("os.mknod(f'{out}/new')", "make: {out}/new"),
    ("os.mknod('new', dir_fd=at)", "make: {out}/new"),
    ("os.chmod(f'{out}/file', 0)", "change: {out}/file"),
    ("kept = open(f'{out}/file'); os.fchmod(kept.fileno(), 0)", "change: {out}/file"),
    ("os.chown(f'{out}/file', 1, 1)", "change: {out}/file"),
    ("os.utime(f'{out}/file', (1, 1))", "change: {out}/file"),
    ("os.truncate(f'{out}/file', 0)", "truncate: {out}/file"),
    ("os.setxattr(f'{out}/file', 'user.a', b'b')", "change: {out}/file"),
    ("sqlite3.connect(f'{out}/new.db')", "open for writing: {out}/new.db"),
    ("tempfile.mkstemp(dir=out)", "open for writing: {out}/"),
    ("logging.FileHandler(f'{out}/log')", "open for writing: {out}/log"),
]
REACHES = [
    ("socket.create_connection(('127.0.0.1', 9))", "look up a host: 127.0.0.1"),
    ("socket.socket().connect(('127.0.0.1', 9))", "connect to: ('127.0.0.1', 9)"),
    ("socket.socket(socket.AF_UNIX).connect('/run/no.sock')", "connect to: /run/no.sock"),
    ("socket.socket().bind(('127.0.0.1', 0))", "bind a socket: ('127.0.0.1', 0)"),
    ("socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))", "send to: ('127.0.0.1', 9)"),
    ("socket.socket(type=socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, ('127.0.0.1', 9))", "send to: ('127.0.0.1', 9)"),
    ("socket.getaddrinfo('example.invalid', 80)", "look up a host: example.invalid"),
    ("urllib.request.urlopen('http://example.invalid/')", "connect to: http://example.invalid/"),
    ("subprocess.run(['true'])", "start a program: true"),
    ("os.system('true')", "start a program: b'true'"),
    ("os.popen('true')", "start a program: /bin/sh"),
    ("os.execv('/bin/true', ['true'])", "start a program: /bin/true"),
    ("os.posix_spawn('/bin/true', ['true'], {})", "start a program: /bin/true"),
    ("os.spawnv(os.P_WAIT, '/bin/true', ['true'])", "start a process"),
    ("os.fork()", "start a process"),
    ("os.forkpty()", "start a process"),
    ("multiprocessing.get_context('fork').Process(target=print).start()", "start a process"),
    ("multiprocessing.get_context('spawn').Process(target=print).start()", "start a program: fork_exec"),
    (
        "concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context('fork')).submit(print).result()",
        "start a process",
    ),
    ("os.kill(os.getppid(), 9)", "signal a process: {parent}"),
    ("os.kill(1, 15)", "signal a process: 1"),
    ("os.killpg(os.getpgid(os.getppid()), 9)", "signal a process group: "),
    ("os.kill(-1, 9)", "signal a process: -1"),
    ("os.setpgid(0, 0)", "leave the process group: setpgid"),
    ("os.setsid()", "leave the process group: setsid"),
]
HARMLESS = [
    "open('mine', 'w').write('x'); os.rename('mine', 'other'); os.remove('other')",
    "os.makedirs('a/b'); shutil.rmtree('a')",
    "os.chdir('/'); open(home + '/mine', 'w')",
    "folder = os.open(home, 0); os.chdir('/'); os.close(os.open('x', os.O_CREAT | os.O_WRONLY, dir_fd=folder))",
    "tempfile.TemporaryDirectory().cleanup(); tempfile.NamedTemporaryFile().close()",
    "os.symlink(out, 'way'); os.remove('way')",
    "assert open(f'{out}/file').read() == 'kept'; os.listdir(out); os.stat(out)",
    "open('/dev/null', 'w').write('x'); open('/dev/stdout', 'w').write('x'); open('/dev/stderr', 'a').write('x')",
    "open('/proc/self/comm', 'w').write('x')",
    "sqlite3.connect(':memory:').execute('select 1'); sqlite3.connect('mine.db').execute('create table a (b)')",
    "a, b = socket.socketpair(); a.send(b'x'); a.sendmsg([b'x']); assert b.recv(2)",
    "socket.gethostname(); asyncio.run(asyncio.sleep(0))",
    "os.kill(os.getpid(), 0); os.killpg(0, 0)",
    "threading.Thread(target=print).start(); concurrent.futures.ThreadPoolExecutor(1).submit(print).result()",
    "mmap.mmap(-1, 4096); os.memfd_create('x'); os.truncate(os.memfd_create('y'), 3)",
    "ctypes.CDLL(None).getpid(); importlib.import_module('ctypes.util')",
    "signal.signal(signal.SIGTERM, signal.SIG_IGN); os.nice(0)",
    "logging.FileHandler('log').close()",
]


def act(runner: Runner, world: World, text: str) -> tuple[str, dict[str, float], list[str]]:
    """Run the text; what it raised, the denials, and the paths as the child knew them (parent)."""
    imports = (
        "import asyncio, concurrent.futures, ctypes, importlib, io, logging, mmap, multiprocessing, os, pathlib\n"
        "import shutil, signal, socket, sqlite3, subprocess, tempfile, threading, urllib.request\n"
    )
    inside = "open('inside', 'w').close()\nhome = os.getcwd()\nown.append(str(os.getppid()))\n"
    start = f"{imports}out = {str(world.folder)!r}\nat = os.open(out, os.O_RDONLY)\n{inside}"
    record = runner.submit(order(start + textwrap.dedent(text))).result(timeout=40)
    assert record.outcome in (Outcome.ENDED, Outcome.RAISED), record
    return record.detail, record.numbers, record.own


@pytest.mark.parametrize(("text", "called"), [*WRITES, *REACHES], ids=lambda value: value[:60])
def test_what_reaches_outside_is_refused_and_said(runner: Runner, world: World, text: str, called: str) -> None:
    detail, denied, own = act(runner, world, text)
    expected = called.format(out=world.folder, parent=own[0])
    assert [name for name in denied if name.startswith(expected)], (detail, denied)
    if "ignore_errors" not in text:
        assert "refused while verifying" in detail or "process pool" in detail, detail
    assert world.state() == world.before


@pytest.mark.parametrize("text", HARMLESS, ids=lambda value: value[:60])
def test_what_stays_inside_is_let_through(runner: Runner, world: World, text: str) -> None:
    assert act(runner, world, text)[:2] == ("", {})
    assert world.state() == world.before


def test_refusals_are_counted_and_their_kinds_are_bounded(runner: Runner, world: World) -> None:
    text = """
        for turn in range(1000):
            for name in (f"{out}/file", f"{out}/new{turn}"):
                try:
                    open(name, "w")
                except PermissionError as error:
                    assert error.errno == 13 and "refused while verifying" in str(error)
        """
    detail, denied, _ = act(runner, world, text)
    assert detail == ""
    assert denied[f"open for writing: {world.folder}/file"] == 1000
    assert len(denied) == 200


def test_code_that_can_do_without_goes_on(runner: Runner, world: World) -> None:
    """A refusal is a PermissionError, which is an OSError, which is what careful code expects."""
    detail, denied, own = act(
        runner, world, "try:\n    open(f'{out}/x', 'w')\nexcept OSError:\n    own.append('went on')"
    )
    assert (detail, own[1]) == ("", "went on")
    assert len(denied) == 1


CAUGHT_BY_THE_KERNEL = [
    "libc.creat(f'{out}/new'.encode(), 0o600)",
    "libc.unlink(f'{out}/file'.encode())",
    "libc.rename(f'{out}/file'.encode(), f'{out}/other'.encode())",
    "libc.mkdir(f'{out}/new'.encode(), 0o700)",
    "libc.truncate(f'{out}/file'.encode(), ctypes.c_long(0))",
    "libc.kill(os.getppid(), 9)",
]


@pytest.mark.parametrize("text", CAUGHT_BY_THE_KERNEL)
def test_code_in_c_is_held_where_the_kernel_has_walls(runner: Runner, world: World, text: str) -> None:
    if runner.machine.walls < 6:
        pytest.skip(f"this kernel has Landlock version {runner.machine.walls}, and 6 is needed")
    detail, denied, _ = act(runner, world, f"libc = ctypes.CDLL(None)\nassert {text} == -1")
    assert (detail, denied) == ("", {})
    assert world.state() == world.before


def test_torch_is_held_too(tmp_path: Path) -> None:
    """Files that torch writes from C++."""
    pytest.importorskip("torch")
    world = tmp_path / "world"
    world.mkdir()
    text = """
        import json, torch
        model = torch.nn.Linear(2, 2)
        script = torch.jit.script(model)
        for name, save in (("save", torch.save), ("script", lambda model, place: script.save(place))):
            save(model.state_dict(), name + ".pt")
            assert torch.load(name + ".pt", weights_only=False) is not None
            try:
                save(model.state_dict(), f"{out}/{name}.pt")
            except PermissionError:
                own.append(name)
        model(torch.ones(3, 2)).sum().backward()
        torch.zeros(4).share_memory_()
        try:
            list(torch.utils.data.DataLoader([1, 2], num_workers=1))
        except PermissionError:
            own.append("workers")
        """
    executor = Runner(("cpu",), executor="runs:guarded", preload=("torch",), paths=(HERE,), timeout_s=60.0)
    with executor as opened:
        record = opened.submit(order(f"out = {str(world)!r}\n" + textwrap.dedent(text))).result(timeout=90)
    assert record.own == ["save", "script", "workers"], record
    assert set(record.numbers) == {
        f"open for writing: {world}/save.pt",
        f"open for writing: {world}/script.pt",
        "start a process",
    }
    assert not os.listdir(world)
