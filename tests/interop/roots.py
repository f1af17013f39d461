"""Debian roots that hold real GDALs (and QGIS, R), for the interoperability tests.

A root is a small Debian tree made by debootstrap and kept outside the project, in
``$MOSAIC_ROOTS`` (default ``${XDG_CACHE_HOME:-~/.cache}/mosaic-roots``); commands run in it by
chroot, in mount and process namespaces of their own, so nothing outlives them.  All of this needs
root (uid 0), and a build needs the network's Debian mirror, which is read from the machine's own
apt sources.

    python tests/interop/roots.py build [NAME...] [--with GROUP...]
    python tests/interop/roots.py run NAME [--bind PATH...] -- COMMAND [ARGUMENT...]
    python tests/interop/roots.py list
"""

from __future__ import annotations

import argparse
import fcntl
import functools
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

BASE = "base"
GDAL = ("gdal-bin", "python3-gdal", "python3-numpy")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Spec:
    """What a root is made of."""

    name: str
    suite: str
    packages: tuple[str, ...]
    script: str = "sid"  # debootstrap's script: an old debootstrap has none for a newer suite


ROOTS = {spec.name: spec for spec in (Spec("trixie", "trixie", GDAL), Spec("forky", "forky", GDAL))}
EXTRAS = {  # groups that can be added to a root later
    "qgis": ("qgis", "python3-qgis", "xvfb"),
    "r": ("r-cran-terra", "r-cran-stars"),
}

# $1 root, $2 "private" in a namespace of its own, $3 how many paths to bind, the paths, the command
# (The shell stays the namespace's first process: the kernel withholds signals from that one.)
ENTER = """
set -e; root=$1 private=$2 count=$3 mounted=; shift 3
leave() { printf %s "$mounted" | while IFS= read -r path; do umount -l "$path"; done; }
[ "$private" ] || trap leave EXIT
at() { mounted="$1
$mounted"; }
mount -t proc proc "$root/proc"; at "$root/proc"
[ -z "$private" ] || mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
while [ "$count" -gt 0 ]; do
    if [ -d "$1" ]; then mkdir -p "$root$1"; else mkdir -p "$root${1%/*}"; touch "$root$1"; fi
    mount --rbind "$1" "$root$1"; at "$root$1"; mount --make-rprivate "$root$1"
    count=$((count - 1)); shift
done
set +e; chroot "$root" "$@"; exit $?
"""

# Repairs what an interrupted installation left, then installs.
INSTALL = """
dpkg --configure -a
apt-get -o Acquire::Retries=3 update
apt-get -o Acquire::Retries=3 install -y --fix-broken --no-install-recommends "$@"
apt-get clean
rm -rf /var/lib/apt/lists/*
"""


class RootUnavailable(RuntimeError):
    """A root is not there, or cannot be built or entered on this machine."""


class CommandFailed(subprocess.CalledProcessError):
    """A command in a root failed; the message has the end of what it said."""

    def __str__(self) -> str:
        said = (self.stderr or self.stdout or "").strip()[-4000:]
        return f"{super().__str__()}\n{said}" if said else super().__str__()


@functools.cache
def _namespaces() -> tuple[str, ...]:
    """What to put before a command to give it namespaces that die with us; () if not permitted."""
    prefix = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--mount-proc")
    prefix = (*prefix, "--fork", "--kill-child", "--")
    try:
        allowed = subprocess.run([*prefix, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        allowed = False
    return prefix if allowed else ()


class Root:
    """One root, built or not (`build` makes it, `get` insists that it is there)."""

    def __init__(self, spec: Spec, path: Path | None = None) -> None:
        self.spec = spec
        self.path = path or cache_folder() / spec.name

    def packages(self, group: str) -> tuple[str, ...]:
        return self.spec.packages if group == BASE else EXTRAS[group]

    def stamp(self, group: str) -> Path:
        """The file that says a group is installed: it lists the packages."""
        return self.path / "var/lib/mosaic-roots" / group

    def missing(self, groups: Iterable[str] = ()) -> list[str]:
        """Those of "base" and these groups that are not (or no longer fully) installed."""

        def installed(group: str) -> bool:
            stamp = self.stamp(group)
            return stamp.is_file() and stamp.read_text().split() == [*self.packages(group)]

        return [group for group in dict.fromkeys((BASE, *groups)) if not installed(group)]

    def command(
        self,
        argv: Sequence[str | Path],
        *,
        binds: Iterable[str | Path] = (),
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> list[str]:
        """The outer command that runs argv in the root (for Popen; `run` uses it too)."""
        if os.geteuid() != 0:
            raise RootUnavailable("make interop needs root and debootstrap: chroot needs root")
        paths = [os.path.abspath(path) for path in ("/dev", *binds)]
        for path in paths:
            if not os.path.exists(path):
                raise FileNotFoundError(f"cannot bind {path}: it does not exist")
            target = os.path.realpath(f"{self.path}{path}")
            if path == "/" or not Path(target).is_relative_to(self.path.resolve()):
                raise ValueError(f"cannot bind {path}: its place would be outside the root")
        variables = {"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8", "HOME": "/tmp", **(env or {})}
        prefix = _namespaces()
        head = ["sh", "-c", ENTER, "sh", str(self.path), "private" if prefix else ""]
        inner = ["env", "-i", "-C", str(cwd or "/tmp"), *(f"{k}={v}" for k, v in variables.items())]
        return [*prefix, *head, str(len(paths)), *paths, *inner, *map(str, argv)]

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        binds: Iterable[str | Path] = (),
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = 300,
        check: bool = True,
        input: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run argv in the root, each bind mounted at its own absolute path, and /tmp empty."""
        command = self.command(argv, binds=binds, cwd=cwd, env=env)
        done = subprocess.run(
            command, input=input or "", capture_output=True, timeout=timeout, encoding="utf-8",
            errors="replace",
        )  # fmt: skip
        inner = [str(word) for word in argv]
        if check and done.returncode:
            raise CommandFailed(done.returncode, inner, done.stdout, done.stderr)
        return subprocess.CompletedProcess(inner, done.returncode, done.stdout, done.stderr)


def cache_folder() -> Path:
    """Where the roots are kept."""
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("MOSAIC_ROOTS") or f"{caches}/mosaic-roots").expanduser().absolute()


def get(name: str, *groups: str) -> Root:
    """A root that is already built, with these groups; otherwise RootUnavailable."""
    root = Root(ROOTS[name])
    if root.missing(groups):
        extras = f" --with {' '.join(groups)}" if groups else ""
        raise RootUnavailable(f"run: python tests/interop/roots.py build {name}{extras}")
    return root


def gdal_version(root: Root) -> tuple[int, int, int]:
    """The version of the root's GDAL."""
    said = root.run(["gdalinfo", "--version"]).stdout
    found = re.match(r"GDAL (\d+)\.(\d+)\.(\d+)", said)
    if found is None:
        raise ValueError(f"not a GDAL version: {said!r}")
    return int(found[1]), int(found[2]), int(found[3])


def build(name: str, *groups: str) -> Root:
    """Make a root, and add groups to it, unless that is done; say so on stderr."""
    root, start = Root(ROOTS[name]), time.monotonic()
    if not root.missing(groups):
        return root
    _prepare_machine()
    with _locked_log(name) as log:  # a build that went on meanwhile may have done it all
        if not root.path.is_dir():  # the last step is the rename: a folder of this name is whole
            partial = Root(root.spec, root.path.with_name(f"{name}.partial"))
            _remove(partial.path)
            partial.path.mkdir(mode=0o755)
            _say(f"{name}: debootstrap")
            script = f"/usr/share/debootstrap/scripts/{root.spec.script}"
            words = ["debootstrap", "--variant=minbase", "--include=ca-certificates"]
            words += [root.spec.suite, str(partial.path), _mirror(), script]
            _logged([*_namespaces(), *words], log)
            _install(partial, BASE, log)
            partial.path.rename(root.path)
        for group in root.missing(groups):
            _install(root, group, log)
    _say(f"{name}: ready in {time.monotonic() - start:.0f} s")
    return root


def _install(root: Root, group: str, log: IO[str]) -> None:
    _say(f"{root.spec.name}: installing {group}")
    etc, packages = root.path / "etc", root.packages(group)
    (etc / "apt/sources.list").write_text(f"deb {_mirror()} {root.spec.suite} main\n")
    (etc / "dpkg/dpkg.cfg.d/mosaic-roots").write_text("force-unsafe-io\n")  # no fsync per file
    shutil.copytree("/etc/apt/apt.conf.d", etc / "apt/apt.conf.d", dirs_exist_ok=True)
    for file in ("resolv.conf", "hosts"):
        (etc / file).unlink(missing_ok=True)
        shutil.copyfile(f"/etc/{file}", etc / file)
    policy = root.path / "usr/sbin/policy-rc.d"  # no services here
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    script = ["sh", "-ec", INSTALL, "sh", *packages]
    _logged(root.command(script, env={"DEBIAN_FRONTEND": "noninteractive"}), log)
    root.stamp(group).parent.mkdir(parents=True, exist_ok=True)
    root.stamp(group).write_text("\n".join(packages))


def _prepare_machine() -> None:
    problem = "make interop needs root and debootstrap: "
    if os.geteuid() != 0:
        raise RootUnavailable(problem + "this is not root")
    if shutil.which("debootstrap", path=SYSTEM_PATH) is None:
        if shutil.which("apt-get") is None:
            raise RootUnavailable(problem + "debootstrap is absent, and so is apt")
        with _locked_log("debootstrap") as log:
            _say("installing debootstrap")
            apt = ["apt-get", "-o", "DPkg::Lock::Timeout=300"]
            _logged([*apt, "update"], log)
            _logged([*apt, "install", "-y", "debootstrap"], log)


@contextmanager
def _locked_log(name: str) -> Iterator[IO[str]]:
    """The log, locked: what a build starts inherits it, so the lock lasts as long as they do."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / f"{name}.log").open("a+", errors="replace") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"{name}: waiting for another build")
            fcntl.flock(log, fcntl.LOCK_EX)
        yield log


def _logged(command: Sequence[str], log: IO[str]) -> None:
    """Run a step of a build; when it fails, show the end of the log without addresses."""
    env = {"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=env
    )
    if done.returncode:
        log.seek(0)
        tail = "".join(log.readlines()[-20:])
        hosts = {urlsplit(uri).hostname for uri, _, _ in _sources()} - {None}
        names = "|".join(map(re.escape, filter(None, hosts))) or "$."
        tail = re.sub(rf"\b\w+://\S+|{names}|\b\d+(\.\d+){{3}}\b", "<mirror>", tail)
        raise RootUnavailable(f"a step of the build failed ({done.returncode}); the log ends:\n{tail}")


def _remove(path: Path) -> None:
    """Delete what an interrupted build left, after unmounting anything below it."""
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        mounted = line.split()[4].replace("\\040", " ")
        if mounted.startswith(f"{path}/"):
            subprocess.run(["umount", "-l", mounted], check=True)
    subprocess.run(["rm", "-rf", "--one-file-system", "--", path], check=True)


def _sources() -> Iterator[tuple[str, list[str], list[str]]]:
    """The address, suites and components of each of the machine's apt sources."""
    apt = Path("/etc/apt")
    for file in sorted(apt.glob("sources.list.d/*.sources")):
        text = re.sub(r"(?m)^#.*\n", "", file.read_text())
        for stanza in re.split(r"\n\s*\n", text):
            pairs = re.findall(r"(?m)^([\w-]+):(.*(?:\n[ \t].*)*)", stanza)
            fields = {key.lower(): value.split() for key, value in pairs}
            if "deb" in fields.get("types", ()) and fields.get("enabled") != ["no"]:
                for uri in fields.get("uris", ()):
                    yield uri, fields.get("suites", []), fields.get("components", [])
    for file in (apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))):
        text = file.read_text() if file.exists() else ""
        for found in re.finditer(r"(?m)^\s*deb\s+(?:\[.*?\]\s*)?(\S+)\s+(\S+)([^#\n]*)", text):
            yield found[1], [found[2]], found[3].split()


def _mirror() -> str:
    """The mirror this machine gets Debian itself from."""
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "sid")
    for uri, suites, components in _sources():
        if release in suites and "main" in components and uri.startswith("http"):
            return uri
    raise RootUnavailable("make interop needs a Debian mirror: none in this machine's apt sources")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(argv: Sequence[str]) -> int:
    own, _, command = (list(argv), "", []) if "--" not in argv else (
        list(argv[: argv.index("--")]), "", list(argv[argv.index("--") + 1 :])
    )  # fmt: skip
    parser = argparse.ArgumentParser(prog="roots.py")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("build", help="build roots (default: all), add groups of packages")
    verb.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ROOTS))
    verb.add_argument("--with", nargs="+", dest="groups", default=[], choices=EXTRAS)
    verb = verbs.add_parser("run", help="run a command in a root: run NAME -- COMMAND ...")
    verb.add_argument("name", choices=ROOTS)
    verb.add_argument("--bind", nargs="+", default=[], metavar="PATH")
    verbs.add_parser("list", help="say which roots are built, with which groups")
    options = parser.parse_args(own)
    try:
        if options.verb == "build":
            for name in options.names or ROOTS:
                build(name, *options.groups)
        elif options.verb == "run":
            return subprocess.call(get(options.name).command(command, binds=options.bind))
        else:
            for root in map(Root, ROOTS.values()):
                there = [group for group in (BASE, *EXTRAS) if group not in root.missing(EXTRAS)]
                print(f"{root.spec.name}\t{' '.join(there) or 'absent'}\t{root.path}")
    except RootUnavailable as problem:
        _say(str(problem))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
