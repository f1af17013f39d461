"""Debian roots that hold other GDALs (and QGIS, and R), for the interoperability tests.

A root is a small Debian tree made by debootstrap and kept outside the project, in
``$MOSAIC_ROOTS`` (default ``${XDG_CACHE_HOME:-~/.cache}/mosaic-roots``). Commands run in it by
chroot, in mount and process namespaces of their own, so that no mount and no process outlives them
(where namespaces are not permitted: with mounts that are undone at the end, but not after a kill).
All this needs root (uid 0); a build also needs the network's Debian mirror, whose address is read
from the machine's own apt sources.

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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

NEEDS = "make interop needs root and debootstrap: "
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
GDAL = ("gdal-bin", "python3-gdal", "python3-numpy")
EXTRAS = {  # groups of packages that can be added to a root that is already built
    "qgis": ("qgis", "python3-qgis", "xvfb", "xauth"),
    "r": ("r-cran-terra", "r-cran-stars", "r-cran-codetools"),
    "r-zarr": ("r-cran-terra", "r-cran-stars", "r-cran-codetools", "r-cran-cftime"),
    "browser": ("chromium-headless-shell", "fonts-dejavu-core"),
    "postgis": ("postgresql-17", "postgresql-17-postgis-3"),
}

# Arguments: the root, "private" if in a namespace, how many paths to bind, these, the command.
# No exec at the end: the kernel spares a namespace's first process most signals, even its own.
ENTER = """
set -e; root=$1 private=$2 count=$3 mounted=; shift 3
leave() { printf %s "$mounted" | while IFS= read -r path; do umount -l "$path"; done; }
[ "$private" ] || trap leave EXIT
note() { mounted="$1
$mounted"; }
mount -t proc proc "$root/proc"; note "$root/proc"
[ -z "$private" ] || mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
while [ "$count" -gt 0 ]; do
    if [ -d "$1" ]; then mkdir -p "$root$1"
    elif ! [ -e "$root$1" ]; then mkdir -p "$root${1%/*}"; touch "$root$1"; fi
    mount --rbind "$1" "$root$1"; note "$root$1"; mount --make-rprivate "$root$1"
    count=$((count - 1)); shift
done
set +e; chroot "$root" "$@"; exit $?
"""

INSTALL = """
dpkg --configure -a || true  # an installation may have been interrupted: apt repairs the rest
apt-get -o Acquire::Retries=3 update
apt-get -o Acquire::Retries=3 install -y --fix-broken --no-install-recommends "$@"
apt-get clean
rm -rf /var/lib/apt/lists/*
"""


class RootUnavailable(RuntimeError):  # noqa: N818 (it is a state, not a mistake)
    """A root is not there, or cannot be built or entered on this machine."""


class CommandFailed(subprocess.CalledProcessError):
    """A command in a root failed; the message has the end of what it said."""

    def __str__(self) -> str:
        return f"{super().__str__()}\n{(self.stderr or self.stdout or '').strip()[-4000:]}"


@dataclass(frozen=True)
class Root:
    """A root, built or not: `build` makes it, `get` insists that it is there."""

    name: str
    suite: str
    packages: tuple[str, ...]
    script: str = "sid"  # debootstrap's: an older debootstrap has none for a newer suite
    suffix: str = ""

    @property
    def path(self) -> Path:
        return cache_folder() / (self.name + self.suffix)

    def stamp(self, group: str) -> tuple[Path, str]:
        """The file that says that a group is installed, and what it then contains."""
        packages = self.packages if group == "base" else EXTRAS[group]
        return self.path / "var/lib/mosaic-roots" / group, "\n".join(packages)

    def missing(self, groups: Iterable[str] = ()) -> list[str]:
        """Those of "base" and the groups that are not, or no longer wholly, installed."""
        stamps = {group: self.stamp(group) for group in ("base", *groups)}
        return [g for g, (at, text) in stamps.items() if not at.is_file() or at.read_text() != text]

    def command(
        self,
        argv: Sequence[str | Path],
        binds: Iterable[str | Path] = (),
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> list[str]:
        """The command that, outside, runs argv inside: what `run` runs, or for a Popen."""
        if os.geteuid() != 0:
            raise RootUnavailable(f"{NEEDS}this is not root")
        paths = [Path(path).absolute() for path in ("/dev", *binds)]
        for path in paths:
            if not path.exists():
                raise FileNotFoundError(f"cannot bind {path}: it does not exist")
            inside = Path(f"{self.path}{path}").resolve()  # a link in the root may lead out of it
            if self.path.resolve() not in inside.parents:
                raise ValueError(f"cannot bind {path}: its place is not inside the root")
        variables = {"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": "/tmp"} | dict(env or {})
        inner = ["env", "-i", "-C", str(cwd or "/tmp"), *(f"{k}={v}" for k, v in variables.items())]
        private = _private()
        enter = [*private, "sh", "-c", ENTER, "sh", str(self.path), "private" if private else ""]
        return [*enter, str(len(paths)), *map(str, paths), *inner, *map(str, argv)]

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        binds: Iterable[str | Path] = (),
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = 300,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run argv inside, each bind at the path it has outside, and otherwise an empty /tmp."""
        command, words = self.command(argv, binds, cwd, env), [str(word) for word in argv]
        try:
            done = subprocess.run(
                command,
                input="",
                capture_output=True,
                timeout=timeout,
                encoding="utf-8",
                errors="replace",
            )
        except subprocess.TimeoutExpired as late:
            late.cmd = words
            raise
        if check and done.returncode:
            raise CommandFailed(done.returncode, words, done.stdout, done.stderr)
        return subprocess.CompletedProcess(words, done.returncode, done.stdout, done.stderr)


ROOTS = {root.name: root for root in (Root("trixie", "trixie", GDAL), Root("forky", "forky", GDAL))}


def cache_folder() -> Path:
    """Where the roots are kept."""
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("MOSAIC_ROOTS") or f"{caches}/mosaic-roots").expanduser().absolute()


def get(name: str, *groups: str) -> Root:
    """A root that is already built, with these groups; else RootUnavailable."""
    root = ROOTS[name]
    if root.missing(groups):
        wanted = " ".join((name, *(["--with"] if groups else []), *groups))
        raise RootUnavailable(f"not built: run python tests/interop/roots.py build {wanted}")
    return root


def gdal_version(root: Root) -> tuple[int, int, int]:
    """The version of the root's GDAL."""
    said = root.run(["gdalinfo", "--version"]).stdout
    major, minor, patch = map(int, said.split()[1].rstrip(",").split("."))
    return major, minor, patch


def build(name: str, *groups: str) -> Root:
    """Make a root and add groups to it, so far as that is not done yet; tell stderr."""
    root, start = ROOTS[name], time.monotonic()
    if not root.missing(groups):
        return root
    _need_debootstrap()
    with _locked_log(name) as log:  # who had the lock before may have done everything
        if not root.path.is_dir():  # the renaming is last, so a folder of that name is whole
            partial = replace(root, suffix=".partial")
            _remove(partial.path)
            partial.path.mkdir(mode=0o755)
            _say(f"{name}: debootstrap")
            words = ["debootstrap", "--variant=minbase", "--include=ca-certificates", root.suite]
            words += [str(partial.path), _mirror(), f"/usr/share/debootstrap/scripts/{root.script}"]
            _logged([*_private(), *words], log)
            _install(partial, "base", log)
            partial.path.rename(root.path)
        for group in root.missing(groups):
            _install(root, group, log)
    _say(f"{name}: ready in {time.monotonic() - start:.0f} s")
    return root


def _install(root: Root, group: str, log: IO[str]) -> None:
    _say(f"{root.name}: installing {group}")
    etc = root.path / "etc"
    (etc / "apt/sources.list").write_text(f"deb {_mirror()} {root.suite} main\n")
    (etc / "dpkg/dpkg.cfg.d/mosaic-roots").write_text("force-unsafe-io\n")  # no fsync per file
    shutil.copytree("/etc/apt/apt.conf.d", etc / "apt/apt.conf.d", dirs_exist_ok=True)
    for name in ("resolv.conf", "hosts"):
        (etc / name).unlink(missing_ok=True)
        shutil.copyfile(f"/etc/{name}", etc / name)
    no_services = root.path / "usr/sbin/policy-rc.d"
    no_services.write_text("#!/bin/sh\nexit 101\n")
    no_services.chmod(0o755)
    stamp, packages = root.stamp(group)
    env = {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy")}
    env["DEBIAN_FRONTEND"] = "noninteractive"
    _logged(root.command(["sh", "-ec", INSTALL, "sh", *packages.split()], env=env), log)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(packages)


def _need_debootstrap() -> None:
    if os.geteuid() != 0:
        raise RootUnavailable(f"{NEEDS}this is not root")
    if shutil.which("debootstrap", path=PATH) is None:
        if shutil.which("apt-get", path=PATH) is None:
            raise RootUnavailable(f"{NEEDS}there is no debootstrap, and no apt to install it")
        with _locked_log("debootstrap") as log:
            _say("installing debootstrap")
            _logged(["apt-get", "update"], log)
            apt = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "install", "-y"]
            _logged([*apt, "debootstrap"], log)


@functools.cache
def _private() -> tuple[str, ...]:
    """What gives the command behind it namespaces that die with us; () where not permitted."""
    words = "setpriv --pdeathsig KILL unshare --mount --pid --mount-proc --fork --kill-child"
    try:
        tried = subprocess.run([*words.split(), "true"], capture_output=True)
    except FileNotFoundError:
        return ()
    return tuple(words.split()) if tried.returncode == 0 else ()


@contextmanager
def _locked_log(name: str) -> Iterator[IO[str]]:
    """The log of a build, which is its lock too: children inherit it, so it lasts as they do."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / f"{name}.log").open("a+", errors="replace") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"{name}: waiting for another build")
            fcntl.flock(log, fcntl.LOCK_EX)
        yield log


def _logged(command: Sequence[str], log: IO[str]) -> None:
    """Run a step of a build; if it fails, show the log's end, without addresses."""
    env = os.environ | {"PATH": PATH, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    nothing = subprocess.DEVNULL
    code = subprocess.call(command, env=env, stdin=nothing, stdout=log, stderr=subprocess.STDOUT)
    if code:
        log.seek(0)
        tail = "".join(log.readlines()[-20:])
        hosts = {re.escape(urlsplit(uri).hostname or "://") for uri, _, _ in _sources()}
        address = "|".join([r"\w+://\S+", *hosts, r"\d+(\.\d+){3}"])
        tail = re.sub(address, "<mirror>", tail)
        raise RootUnavailable(f"a step of the build failed ({code}); its log ends:\n{tail}")


def _remove(path: Path) -> None:
    """Delete what an interrupted build left, and first unmount what is mounted there."""
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        if line.split()[4].startswith(f"{path}/"):
            subprocess.run(["umount", "-l", line.split()[4]], check=True)
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
    for file in sorted([*apt.glob("sources.list"), *apt.glob("sources.list.d/*.list")]):
        line = r"(?m)^[ \t]*deb[ \t]+(?:\[.*?\][ \t]*)?(\S+)[ \t]+(\S+)([^#\n]*)"
        for uri, suite, components in re.findall(line, file.read_text()):
            yield uri, [suite], components.split()


def _mirror() -> str:
    """Where this machine gets Debian itself from."""
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "sid")
    for uri, suites, components in _sources():
        if release in suites and "main" in components and uri.startswith("http"):
            return uri
    raise RootUnavailable(f"{NEEDS}this machine's apt sources name no Debian mirror")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Debian roots for the interoperability tests.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("build", help="build roots (all by default), add groups of packages")
    verb.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ROOTS))
    verb.add_argument("--with", nargs="+", dest="groups", default=[], choices=EXTRAS)
    verb = verbs.add_parser("run", help="run a command in a root: run NAME -- COMMAND ...")
    verb.add_argument("names", nargs=1, metavar="NAME", help=", ".join(ROOTS))
    verb.add_argument("--bind", nargs="+", default=[], metavar="PATH")
    verbs.add_parser("list", help="tell which roots are built, with which groups, and where")
    end = argv.index("--") if "--" in argv else len(argv)
    options, command = parser.parse_args(argv[:end]), argv[end + 1 :]
    names = getattr(options, "names", []) or list(ROOTS)
    if not set(names) <= set(ROOTS) or (options.verb == "run" and not command):
        parser.error(f"expected names among {', '.join(ROOTS)}, and for run -- and a command")
    try:
        if options.verb == "run":
            return subprocess.call(get(names[0]).command(command, options.bind))
        for root in map(ROOTS.__getitem__, names):
            if options.verb == "build":
                build(root.name, *options.groups)
            else:
                missing = root.missing(EXTRAS)
                there = [group for group in ("base", *EXTRAS) if group not in missing]
                print(root.name, " ".join(there) or "absent", root.path, sep="\t")
    except RootUnavailable as problem:
        _say(str(problem))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
