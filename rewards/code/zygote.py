"""The inside of the code sandbox: a warm Python interpreter that forks once for each program.

hone (sandbox.cpp) starts it under bubblewrap and speaks to it over a socket, file descriptor 3: a
request is one JSON object with open files beside it, the answer is one JSON object. It goes into the
control group that hone made for it, if there is one, and so does all that it starts. Each program
is the first process of a process namespace of its own, with a mount namespace, an empty /tmp and
no /proc of its own, without capabilities and behind the filter of system calls; when it ends, the
kernel ends whatever it left running. This process keeps its hands off what a program says: it
only starts, watches and reports.

kinds of programs
  run      Python source, run as __main__, or a binary: standard input to standard output
  compile  C++ source to a binary
  calls    Python source whose functions are called over a socket, file descriptor 3 in there
  tests    asserts or check(candidate), calling a program that runs elsewhere over that socket
"""
import ctypes
import json
import os
import resource
import select
import signal
import socket
import sys
import time

CONTROL, FILTER, GROUP, EVENTS, LINK = 3, 4, 6, 7, 3  # 6, 7: of the group, or /dev/null
CLONE_NEWNS, CLONE_NEWPID = 0x00020000, 0x20000000
SYS_CLONE, SYS_CAPSET = {"x86_64": (56, 126), "aarch64": (220, 91)}[os.uname().machine]
MS_NOSUID, MS_NODEV, MNT_DETACH = 2, 4, 2
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 22, 38, 47
POLL_SECONDS = 0.01

libc = ctypes.CDLL(None, use_errno=True)


def preload():
    """Imports once what solutions import often; a forked child finds it there."""
    for name in ("array bisect cmath collections copy dataclasses datetime decimal enum fractions "
                 "functools hashlib heapq io itertools math numbers operator queue random re "
                 "statistics string struct textwrap threading traceback types typing ast "
                 "collections.abc unicodedata inspect calendar base64").split():
        try:
            __import__(name)
        except ImportError:
            pass
    import builtins
    import _sitebuiltins  # what `site`, which is left out for speed, would put there
    for name in ("exit", "quit"):
        setattr(builtins, name, _sitebuiltins.Quitter(name, ""))


class Filter:
    """The compiled filter of system calls, as prctl takes it."""

    def __init__(self, program):
        self.buffer = ctypes.create_string_buffer(program, len(program))
        self.header = ctypes.create_string_buffer(16)
        count = len(program) // 8
        self.header[0:2] = count.to_bytes(2, sys.byteorder)
        self.header[8:16] = ctypes.addressof(self.buffer).to_bytes(8, sys.byteorder)


# ---- watching: what runs in the trusted process -------------------------------------------------

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Usage:
    def __init__(self):
        self.cpu, self.memory, self.processes = 0.0, 0, 0


def usage_of(program, level):
    """Processor seconds, resident bytes and number of a program's processes: all in here but our
    own two; without a process namespace those of its session, which it may leave."""
    u = Usage()
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in (1, os.getpid()):
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as f:
                fields = f.read().rsplit(b")", 1)[1].split()
        except OSError:
            continue  # it ended meanwhile
        if level == "process" and int(fields[3]) != program:
            continue
        u.cpu += sum(int(x) for x in fields[11:15]) / TICKS
        u.memory += int(fields[21]) * PAGE
        u.processes += 1
    return u


def shares(program, level):
    """Resident bytes of a program's processes, with what several share counted once: slower."""
    total = 0
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in (1, os.getpid()):
            continue
        try:
            if level == "process" and os.getsid(int(entry)) != program:
                continue
            with open(f"/proc/{entry}/smaps_rollup") as f:
                total += sum(int(line.split()[1]) * 1024 for line in f if line.startswith("Pss:"))
        except OSError:
            continue
    return total


def memory_kills():
    """How many processes of our control group the kernel has ended for memory."""
    for line in os.pread(EVENTS, 4096, 0).splitlines():
        name, count = line.split()
        if name == b"oom_kill":
            return int(count)
    return 0  # no group that holds memory


def watch(pid, job, control, level):
    """Waits for the program, within its limits. What it returns is the report."""
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(control, select.POLLIN)
    started = phase = time.monotonic()
    cpu_before = 0.0  # when the limits began to count anew
    limit, peak, cpu, gone = None, 0, 0.0, False
    kills_before = memory_kills()
    next_look = started + POLL_SECONDS

    def kill(reason):
        nonlocal limit
        limit = limit or reason
        os.kill(pid, signal.SIGKILL)
        if level == "process":
            try:
                os.killpg(pid, signal.SIGKILL)
            except OSError:
                pass  # it had not begun its session yet

    while True:
        ready = [fd for fd, _ in poll.poll(POLL_SECONDS * 1000)]
        if control.fileno() in ready:
            message = control.recv(65536)
            if not message:
                gone = True
                kill("abandoned")
            elif message == f"kill {job['nonce']}".encode():
                kill("stopped")
            elif message == f"wait {job['nonce']}".encode():  # for another program
                phase = float("inf")
            elif message == f"again {job['nonce']}".encode():  # the next input has the full time
                phase, cpu_before = time.monotonic(), usage_of(pid, level).cpu
        if pidfd in ready:
            break
        now = time.monotonic()
        if now < next_look:
            continue
        next_look = now + POLL_SECONDS
        u = usage_of(pid, level)
        peak, cpu = max(peak, u.memory), max(cpu, u.cpu)
        if u.memory > job["memory"] and (u.processes == 1 or shares(pid, level) > job["memory"]):
            kill("memory")
        elif memory_kills() > kills_before:  # one of its processes, and the others may go on
            kill("memory")
        elif u.processes > job["processes"]:
            kill("processes")
        elif u.cpu - cpu_before > job["cpu_seconds"] or now - phase > job["wall_seconds"]:
            kill("time")
    os.close(pidfd)
    _, status, used = os.wait4(pid, 0)
    if gone:
        os._exit(0)
    signalled = os.WIFSIGNALED(status)
    number = os.WTERMSIG(status) if signalled else 0
    if limit is None and memory_kills() > kills_before:
        limit = "memory"
    if limit is None and number == signal.SIGXCPU:
        limit = "time"
    return {"exit": -1 if signalled else os.WEXITSTATUS(status), "signal": number, "limit": limit,
            "cpu": max(cpu, used.ru_utime + used.ru_stime),
            "memory": max(peak, used.ru_maxrss * 1024)}


# ---- in the program's process, before its code --------------------------------------------------

def must(result, what):
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def prctl(option, *values):
    values += (0,) * (4 - len(values))
    return libc.prctl(option, *[ctypes.c_ulong(v) for v in values])


def shut_in(job, level, filter_program):
    """From here on the process has only what a program may have."""
    try:
        with open("/proc/self/oom_score_adj", "w") as f:
            f.write("1000")  # where memory is short the kernel ends programs, not the worker
    except OSError:
        pass  # it ends the largest
    if level == "namespaces":
        libc.umount2(b"/proc", MNT_DETACH)
        must(libc.mount(b"tmpfs", b"/tmp", b"tmpfs", MS_NOSUID | MS_NODEV,
                        f"size={job['disk']},nr_inodes=4096,mode=0700".encode()), "mount /tmp")
    os.chdir("/tmp")
    os.setsid()

    def at_most(which, value, hard=None):
        _, most = resource.getrlimit(which)
        hard = value if hard is None else hard
        if most != resource.RLIM_INFINITY:
            value, hard = min(value, most), min(hard, most)
        resource.setrlimit(which, (value, hard))

    at_most(resource.RLIMIT_AS, job["address_space"])
    seconds = int(job["cpu_seconds"] * job["inputs"]) + 1
    at_most(resource.RLIMIT_CPU, seconds, seconds + 1)
    at_most(resource.RLIMIT_NOFILE, job["files"])
    at_most(resource.RLIMIT_FSIZE, job["disk"])
    at_most(resource.RLIMIT_CORE, 0)
    at_most(resource.RLIMIT_NPROC, job["processes"] + 4)  # the sandbox's own processes count too
    if level == "namespaces":
        prctl(PR_CAP_AMBIENT, 4)  # clear all
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        must(libc.syscall(SYS_CAPSET, header, (ctypes.c_uint32 * 6)()), "capset")
    must(prctl(PR_SET_NO_NEW_PRIVS, 1), "no_new_privs")
    if filter_program is not None:
        must(prctl(PR_SET_SECCOMP, 2, ctypes.addressof(filter_program.header)), "seccomp")


def read_all(fd):
    with open(fd, "rb", closefd=False) as f:
        f.seek(0)
        return f.read()


def new_main(source_name):
    import types
    module = types.ModuleType("__main__")
    module.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = module
    sys.argv = [source_name]
    return module.__dict__


def open_standard_files():
    sys.stdin = open(0, "r", encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1,
                      closefd=False)
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr


def leave(code):
    """What the interpreter does at its end, without tearing itself down."""
    import atexit
    import threading
    try:
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
    except BaseException:
        code = code or 1
    os._exit(code)


MEMORY_EXIT = 86  # a program that ran out of memory; it may say so itself, for nothing


def show_exception(error):
    import traceback
    traceback.print_exception(type(error), error, error.__traceback__, limit=-6)


def run_source(source, nonce):
    names = new_main("solution.py")
    code = 0
    try:
        exec(compile(source, "solution.py", "exec"), names)
    except SystemExit as end:
        if isinstance(end.code, int):
            code = end.code & 255
        elif end.code is not None:
            sys.stderr.write(str(end.code) + "\n")
            code = 1
    except MemoryError as error:
        show_exception(error)
        code = MEMORY_EXIT
    except BaseException as error:
        show_exception(error)
        code = 1
    try:
        sys.stdout.flush()
        os.write(LINK, (json.dumps({"n": nonce, "done": True}) + "\n").encode())
    except OSError:
        pass
    leave(code)


# ---- values between processes: exact built-in types, tagged where JSON has none -----------------
# null, true, false, 1, "s", [..] are themselves; {"i": digits} a large int, {"f": repr} a float,
# {"t": [..]} tuple, {"d": [[k, v]..]} dict, {"s": [..]} set, {"z": [..]} frozenset,
# {"b": hex} bytes, {"c": [re, im]} complex. Subclasses are refused: they may lie when compared;
# those of the standard library that are only containers are told by their exact type.

class Unserialisable(Exception):
    pass


def make_codec():
    """Encoder and decoder that hold their own references, taken before any program's code ran."""
    from collections import Counter, OrderedDict, defaultdict, deque
    from decimal import Decimal
    from fractions import Fraction
    dict_like = (Counter, OrderedDict, defaultdict)
    type_, dict_items, repr_, str_, list_, range_ = type, dict.items, float.__repr__, str, list, range
    views = (type({}.keys()), type({}.values()))

    def encode(value, depth=0):
        t = type_(value)
        if value is None or t is bool or t is str:
            return value
        if t is int:
            return value if -2**53 < value < 2**53 else {"i": int.__repr__(value)}
        if t is float:
            return {"f": repr_(value)}
        if depth > 60:
            raise Unserialisable("a value nested more than 60 deep")
        if t is list:
            return [encode(x, depth + 1) for x in value]
        if t is tuple:
            return {"t": [encode(x, depth + 1) for x in value]}
        if t is dict or t in dict_like:
            return {"d": [[encode(k, depth + 1), encode(v, depth + 1)]
                          for k, v in dict_items(value)]}
        if t is set:
            return {"s": [encode(x, depth + 1) for x in value]}
        if t is frozenset:
            return {"z": [encode(x, depth + 1) for x in value]}
        if t is bytes:
            return {"b": bytes.hex(value)}
        if t is complex:
            return {"c": [repr_(value.real), repr_(value.imag)]}
        if t is deque or t is range_ or t in views:
            return [encode(x, depth + 1) for x in list_(value)]
        if t is Decimal:
            return {"f": repr_(float(value))}
        if t is Fraction:
            return {"f": repr_(float(value))}
        raise Unserialisable(f"a value of type {t.__name__}")

    def decode(value, depth=0):
        t = type_(value)
        if value is None or t in (bool, int, str):
            return value
        if t is float:
            return value
        if depth > 64:
            raise ValueError("nested too deep")
        if t is list:
            return [decode(x, depth + 1) for x in value]
        (tag, inner), = value.items()
        if tag == "i":
            return int(inner)
        if tag == "f":
            return float(inner)
        if tag == "t":
            return tuple(decode(x, depth + 1) for x in inner)
        if tag == "d":
            return {decode(k, depth + 1): decode(v, depth + 1) for k, v in inner}
        if tag == "s":
            return {decode(x, depth + 1) for x in inner}
        if tag == "z":
            return frozenset(decode(x, depth + 1) for x in inner)
        if tag == "b":
            return bytes.fromhex(inner)
        if tag == "c":
            return complex(float(inner[0]), float(inner[1]))
        raise ValueError(f"unknown tag {tag}")

    return encode, decode


encode, decode = make_codec()


class Link:
    """Lines of JSON to and from the judge."""

    def __init__(self):
        self.input = open(LINK, "rb", closefd=False)
        self.dumps, self.loads, self.write = json.dumps, json.loads, os.write

    def send(self, message):
        data = (self.dumps(message) + "\n").encode()
        while data:
            data = data[self.write(LINK, data):]

    def receive(self):
        line = self.input.readline()
        if not line:
            os._exit(0)
        return self.loads(line)


def describe(error):
    """The exception in words; its own methods are the program's and may do anything."""
    try:
        return str(error)[:200]
    except BaseException:
        return ""


def lend(prelude):
    """Defines what a solution may use without an import, behind its own names: as built-ins, so that
    a program that defines nothing cannot pass by a function of the library."""
    import builtins
    names = {}
    exec(prelude, names)
    for name, value in names.items():
        if not name.startswith("__") and not hasattr(builtins, name):
            setattr(builtins, name, value)


def serve_calls(source, nonce, prelude):
    """Loads the program, then answers calls. A reply carries its request's nonce, which the
    program cannot know before; the values are compared elsewhere."""
    link = Link()
    names = new_main("solution.py")
    names["__name__"] = "solution"  # `if __name__ == "__main__"` is not the tests' business
    try:
        lend(prelude)
        exec(compile(source, "solution.py", "exec"), names)
    except BaseException as error:
        show_exception(error)
        link.send({"n": nonce, "error": type(error).__name__, "message": describe(error)})
        os._exit(1)
    link.send({"n": nonce, "loaded": True})
    expressions = {}
    while True:
        request = link.receive()
        reply = {"n": request["n"]}
        try:
            name = request["f"]
            function = names.get(name) or expressions.get(name)
            if "get" in request:
                link.send({**reply, "v": encode(names[name])})
                continue
            if function is None and "Solution" in names and name.isidentifier():
                function = getattr(names["Solution"](), name)
            if function is None and name.isidentifier():
                raise NameError(f"name '{name}' is not defined")
            if function is None:  # an expression in its names, such as "Solution().add"
                function = expressions[name] = eval(name, names)
            arguments = [decode(x) for x in request["a"]]
            keywords = {k: decode(v) for k, v in request.get("k", {}).items()}
            value = function(*arguments, **keywords)
            reply["v"] = encode(value)
            if "back" in request:  # a test may look at arguments that were changed in place
                reply["a"] = [encode(x) for x in arguments]
        except Unserialisable as error:
            reply = {"n": request["n"], "unserialisable": describe(error)}
        except MemoryError as error:
            show_exception(error)
            os._exit(MEMORY_EXIT)
        except BaseException as error:
            reply = {"n": request["n"], "error": type(error).__name__, "message": describe(error)}
        try:
            sys.stdout.flush()
        except BaseException:
            pass
        link.send(reply)


# ---- tests that are code ------------------------------------------------------------------------

class NeedsOneProcess(Exception):
    """The test passes or takes objects that cannot travel between processes."""


def value_or_proxy(name, link, nested, called):
    """What stands for a name of the program's: a copy of its value, or of a function a proxy."""
    if name not in called:
        link.send({"call": name, "get": True, "a": [], "k": {}})
        reply = link.receive()
        if "v" in reply:
            return decode(reply["v"])
    return Proxy(name, link, nested)


class Proxy:
    """Stands for a function of the program under test."""

    def __init__(self, name, link, nested):
        self.__dict__.update(_name=name, _link=link, _nested=nested, __name__=name)

    def __call__(self, *arguments, **keywords):
        try:
            request = {"call": self._name, "a": [encode(x) for x in arguments],
                       "k": {k: encode(v) for k, v in keywords.items()}}
        except Unserialisable as error:
            raise NeedsOneProcess(f"an argument of {self._name} is {error}")
        self._link.send(request)
        reply = self._link.receive()
        if "error" in reply:
            import builtins
            kind = getattr(builtins, str(reply["error"]), None)
            known = isinstance(kind, type) and issubclass(kind, Exception)
            raise (kind if known else RuntimeError)(str(reply.get("message", "")))
        if "unserialisable" in reply:
            if self._nested:
                raise NeedsOneProcess(f"{self._name} gives {reply['unserialisable']}")
            raise TypeError(f"{self._name} returned {reply['unserialisable']}")
        for mine, after in zip(arguments, reply.get("a", [])):
            after = decode(after)
            if type(mine) is list and type(after) is list:
                mine[:] = after
            elif type(mine) in (dict, set) and type(after) is type(mine):
                mine.clear()
                mine.update(after)
        return decode(reply["v"])

    def __getattr__(self, name):
        raise NeedsOneProcess(f"the test uses {self._name}.{name}")


def free_names(tree, bound, defined):
    """Names that a test reads and that the program defines, in order: those that are nobody else's
    and, of the built-in ones, those that the row's own solution defines; those that are called;
    and those whose calls stand within another call or before a dot, so that their value may be an object."""
    import ast
    import builtins
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            bound.update((a.asname or a.name).split(".")[0] for a in node.names)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    free, nested, called = [], set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in bound and node.id not in free:
            if node.id in defined or not hasattr(builtins, node.id):
                free.append(node.id)
        inner = []
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                called.add(node.func.id)
            inner = list(node.args) + [k.value for k in node.keywords]
        elif isinstance(node, ast.Attribute):
            inner = [node.value]
        for part in inner:
            for below in ast.walk(part):
                if isinstance(below, ast.Call) and isinstance(below.func, ast.Name):
                    nested.add(below.func.id)
    return free, nested, called


def run_tests(payload, nonce):
    """Runs asserts one by one, or check(candidate), and reports each."""
    import ast
    link = Link()
    job = json.loads(payload)
    names = new_main("tests.py")
    names["__name__"] = "tests"
    one_process = "solution" in job
    function = job["function"]
    pieces = job["asserts"] or [job["check"] + "\ncheck(__candidate__)\n"]

    def report(index, ok, **more):
        link.send({"n": nonce, "test": index, "ok": ok, **more})

    try:
        setup = compile(job["setup"], "setup.py", "exec")
        try:
            exec(setup, names)
        except NameError as error:  # it needs the program's names
            if not one_process:
                link.send({"n": nonce, "one_process": str(error)})
                os._exit(0)
        if one_process:
            exec(compile(job["solution"], "solution.py", "exec"), names)
            exec(setup, names)
            if job["check"]:
                names["__candidate__"] = eval(function, names)
        if not one_process:
            names["__candidate__"] = Proxy(function, link, False)
            whole = ast.parse("\n".join(pieces))
            try:
                defined = {n.name for n in ast.parse(job["reference"]).body if hasattr(n, "name")}
            except (SyntaxError, ValueError):
                defined = set()
            free, nested, called = free_names(whole, set(names), defined)
            for name in free:
                if name in sys.modules or name in ("math", "sys"):
                    names[name] = __import__(name)
                else:
                    names[name] = value_or_proxy(name, link, name in nested, called)
    except BaseException as error:
        show_exception(error)
        link.send({"n": nonce, "unreadable" if not one_process else "broken": True,
                   "error": type(error).__name__, "message": describe(error)})
        os._exit(0)
    for index, piece in list(enumerate(pieces))[job["first"]:]:
        try:
            exec(compile(piece, "tests.py", "exec"), names)
            report(index, True)
        except NeedsOneProcess as error:
            link.send({"n": nonce, "one_process": str(error)})
            os._exit(0)
        except BaseException as error:
            report(index, False, error=type(error).__name__, message=describe(error))
    link.send({"n": nonce, "end": True})
    os._exit(0)


# ---- starting programs --------------------------------------------------------------------------

def start(job, fds, trouble, level, filter_program):
    """In the new process: never returns. What goes wrong before the program's own code goes into the
    pipe `trouble`, which is closed when that code begins: it cannot pretend to be our failure."""
    try:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        source, inherited = fds[0], fds[1:]
        for number in range(len(inherited)):  # 0, 1, 2 and the link, 3
            inherited[number] = os.dup2(inherited[number], 200 + number, inheritable=False)
        source = os.dup2(source, 210, inheritable=False)
        trouble = os.dup2(trouble, 211, inheritable=False)
        for number, fd in enumerate(inherited):
            os.dup2(fd, number, inheritable=True)
        first = len(inherited)  # the program's own file stands behind them
        source = os.dup2(source, first, inheritable=False)
        trouble = os.dup2(trouble, first + 1, inheritable=False)
        os.closerange(first + 2, 1024)
        shut_in(job, level, filter_program)
        kind = job["kind"]
        if kind == "run" and job["binary"]:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.close(trouble)  # a binary that cannot be started is the program's doing
            trouble = None
            os.execve(source, ["solution"], {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"})
        if kind == "compile":
            compile_source(source, job, trouble)
        program = read_all(source)
        os.close(source)
        open_standard_files()
        sys.modules["random"].seed(0)  # the same verdict every time
        os.environ.clear()
        os.environ.update({"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LC_ALL": "C.UTF-8"})
        os.close(trouble)
        trouble = None
        if kind == "run":
            run_source(program, job["nonce"])
        elif kind == "calls":
            serve_calls(program, job["nonce"], job["prelude"])
        else:
            run_tests(program, job["nonce"])
    except BaseException as error:
        try:
            if trouble is not None:
                os.write(trouble, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(1)


def compile_source(source, job, trouble):
    """g++ on /tmp; the binary goes to the link, a file of the judge's. Its end is the compiler's."""
    with open("/tmp/solution.cpp", "wb") as f:
        f.write(read_all(source))
    os.close(source)
    command = [job["compiler"], "-std=c++20", "-O2", "-pipe", "-o", "/tmp/solution",
               "/tmp/solution.cpp"]
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": "/tmp", "LC_ALL": "C.UTF-8"}
    pid = os.posix_spawn(command[0], command, environment)
    os.close(trouble)
    _, status = os.waitpid(pid, 0)
    if status != 0:
        os._exit(1)
    with open("/tmp/solution", "rb") as f:
        while chunk := f.read(1 << 20):
            while chunk:
                chunk = chunk[os.write(LINK, chunk):]
    os._exit(0)


def main():
    import gc
    if sys.path and sys.path[0] == "":
        del sys.path[0]
    level = sys.argv[1]
    try:
        os.write(GROUP, b"0")  # hone looks whether that worked
    except OSError:
        pass
    os.close(GROUP)
    control = socket.socket(fileno=CONTROL)
    program = read_all(FILTER)
    filter_program = Filter(program) if program else None
    preload()
    sys.set_int_max_str_digits(0)
    gc.collect()
    gc.freeze()  # children then copy fewer pages
    flags = CLONE_NEWPID | CLONE_NEWNS if level == "namespaces" else 0
    control.send(b'{"ready": true}')
    while True:
        data, fds, _, _ = socket.recv_fds(control, 65536, 8)
        if not data:
            os._exit(0)
        if not data.startswith(b"{"):
            continue  # meant for a program that has just ended
        job = json.loads(data)
        trouble, told = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        pid = libc.syscall(SYS_CLONE, flags | signal.SIGCHLD, 0, 0, 0, 0)
        if pid == 0:
            start(job, fds, told, level, filter_program)
        error = ctypes.get_errno()
        for fd in [*fds, told]:
            os.close(fd)
        if pid < 0:
            report = {"failed": f"clone: {os.strerror(error)}"}
        else:
            report = watch(pid, job, control, level)
            try:
                if text := os.read(trouble, 2000):
                    report = {"failed": text.decode(errors="replace")}
            except BlockingIOError:
                pass
        os.close(trouble)
        control.send(json.dumps(report).encode())


main()
