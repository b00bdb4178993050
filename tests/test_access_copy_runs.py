"""The measure: what `identify` lists, copied into an empty root, starts there and serves.

Each service is recorded while it starts and serves a request.  Then tar takes the list as it stands
(``--format paths --existing -0``) into an empty root, in which only the system's own paths are
mounted, and the service has to serve the same request there.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from access.truth import need

from precopy.access import AccessLog, record
from precopy.access.exclude import DEFAULT_EXCLUDED
from precopy.cli import main

MOUNTED = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/dev", "/proc", "/sys")
MADE = ("tmp", "var/tmp", "var/lib", "var/log", "var/cache", "run", "etc", "home", "root", "srv")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def get(port: int, path: str = "/") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return str(answer.read().decode())


def tell(port: int, text: str) -> str:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(text.encode())
        return connection.recv(4096).decode()


@dataclass
class Service:
    """How a service is started and asked; without `ask` its output is the answer."""

    command: list[str]
    cwd: Path
    port: int = 0
    ask: Callable[[int], str] | None = None
    roots: list[Path] = field(default_factory=list)


def serve(process: subprocess.Popen[str], service: Service) -> str:
    """Ask a service that is starting, and stop it; or wait for the answer of a command."""
    if service.ask is None:
        return process.communicate(timeout=60)[0]
    give_up_at = time.monotonic() + 30
    try:
        while True:
            try:
                return service.ask(service.port)
            except OSError:
                if process.poll() is not None or time.monotonic() > give_up_at:
                    break
            time.sleep(0.02)
    finally:
        time.sleep(0.2)  # of a process that is killed, its last moments may not be reported
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=30)[0]
    raise AssertionError(f"does not serve: {output}")


def recorded(service: Service, log: Path) -> str:
    """Run a service under the monitor and return its answer."""
    with (
        record(app="service", log=log, env=environment()) as recording,
        subprocess.Popen(
            service.command, cwd=service.cwd, text=True, env=recording.env,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        ) as process,
    ):  # fmt: skip
        return serve(process, service)


def environment() -> dict[str, str]:
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}


def copied(service: Service, log: Path, root: Path, capsysbinary: Any) -> None:
    """Let tar take the list into an empty root."""
    options = [word for top in service.roots for word in ("--root", str(top))]
    capsysbinary.readouterr()
    main(
        [
            "identify",
            "service",
            "--log",
            str(log),
            "--format",
            "paths",
            "--existing",
            "-0",
            *options,
        ]
    )
    listed = capsysbinary.readouterr().out
    for name in MADE:
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    for name in DEFAULT_EXCLUDED:
        if name.startswith("/etc/") and os.path.lexists(name):
            (root / name[1:]).parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-a", name, root / name[1:]], check=True)
    pack = ["tar", "c", "-C", "/", "--null", "-T", "-"]
    packed = subprocess.run(pack, input=listed, check=True, capture_output=True).stdout
    subprocess.run(["tar", "x", "-p", "-C", root], input=packed, check=True)


def run_copy(service: Service, root: Path) -> str:
    """Run the service where nothing is but the system and the copy."""
    mounts = "".join(
        f'mkdir -p "$0{name}" && mount --rbind {name} "$0{name}" || exit 1\n'
        if not os.path.islink(name)
        else f'cp -a {name} "$0{name}"\n'
        for name in MOUNTED
        if os.path.lexists(name)
    )
    script = f'{mounts} exec chroot "$0" sh -c \'cd "$0" && exec "$@"\' "$@"'
    with subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script, root, service.cwd, *service.command],
        text=True, env=environment(), cwd="/",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        return serve(process, service)


def python_service(srv: Path) -> Service:
    """A Python web application of compiled modules in a venv, with an entry point and a marker."""
    port = free_port()
    python = Path(sys._base_executable)
    subprocess.run([python, "-m", "venv", "--without-pip", srv / "venv"], check=True)
    (packages,) = srv.glob("venv/lib/python3*/site-packages")
    (packages / "shop").mkdir()
    (packages / "shop" / "__init__.py").touch()
    (packages / "shop" / "prices.py").write_text("def total(): return 42\n")
    (packages / "shop" / "main.py").write_text(
        "import http.server, os, pathlib, sys\n"
        "from importlib import metadata, resources\n"
        "class Handler(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        from shop import prices\n"
        "        pages = sorted(p.name for p in pathlib.Path('pages').iterdir())\n"
        "        text = f'{prices.total()} {pages} {metadata.version(\"shop\")}'\n"
        "        self.send_response(200); self.end_headers(); self.wfile.write(text.encode())\n"
        "    def log_message(self, *args): pass\n"
        "def main():\n"
        "    if not os.path.exists('.ready'): sys.exit('begins anew')\n"
        "    http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()\n"
    )
    (packages / "shop-1.5.dist-info").mkdir()
    (packages / "shop-1.5.dist-info" / "METADATA").write_text("Name: shop\nVersion: 1.5\n")
    subprocess.run([python, "-m", "compileall", "-q", packages / "shop"], check=True)
    (srv / "venv" / "bin" / "shop").write_text(
        f"#!{srv}/venv/bin/python3\nimport sys\nfrom shop.main import main\nsys.exit(main())\n"
    )
    (srv / "venv" / "bin" / "shop").chmod(0o755)
    (srv / "pages").mkdir()
    for name in ("index", "about"):
        (srv / "pages" / name).touch()
    (srv / ".ready").touch()
    return Service([f"{srv}/venv/bin/shop", str(port)], srv, port, get)


def nginx(srv: Path) -> Service:
    """Configuration in pieces behind links, a release directory behind a link, mime types."""
    need("nginx")
    port = free_port()
    for name in ("sites-available", "sites-enabled", "releases/7", "logs", "state"):
        (srv / name).mkdir(parents=True)
    (srv / "releases" / "7" / "index.html").write_text("seven")
    (srv / "current").symlink_to("releases/7")
    (srv / "sites-available" / "shop").write_text(
        f"server {{ listen 127.0.0.1:{port}; root {srv}/current; }}\n"
    )
    (srv / "sites-enabled" / "shop").symlink_to("../sites-available/shop")
    temporary = "".join(
        f"{name}_temp_path {srv}/state/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (srv / "nginx.conf").write_text(
        f"daemon off; user root; pid {srv}/state/pid; error_log {srv}/logs/error.log;\n"
        f"events {{}}\nhttp {{\naccess_log {srv}/logs/access.log; include /etc/nginx/mime.types;\n"
        f"{temporary}include {srv}/sites-enabled/*;\n}}\n"
    )
    return Service(["nginx", "-p", str(srv), "-c", f"{srv}/nginx.conf"], srv, port, get)


def redis(srv: Path) -> Service:
    """A data directory of its own, read at the start."""
    need("redis-server")
    port = free_port()
    (srv / "data").mkdir(mode=0o700)
    (srv / "redis.conf").write_text(
        f"port {port}\nbind 127.0.0.1\ndir {srv}/data\nappendonly yes\nsave 60 1\n"
    )

    def ask(port: int) -> str:
        tell(port, "SETNX first yes\r\n")
        return tell(port, "GET first\r\n")

    return Service(["redis-server", f"{srv}/redis.conf"], srv, port, ask)


def shell(srv: Path) -> Service:
    """A start script with a marker that it tests for, a database and a spool that it lists."""
    need("sqlite3")
    (srv / "spool" / "in").mkdir(parents=True)
    for name in ("b", "a"):
        (srv / "spool" / "in" / name).touch()
    (srv / "start").write_text(
        '#!/bin/sh\ncd "$(dirname "$0")"\n'
        '[ -e .initialized ] || { sqlite3 db "create table t (a)"; : > .initialized; }\n'
        "sqlite3 db 'insert or ignore into t select 5 where not exists (select * from t)'\n"
        "sqlite3 db 'select * from t'; ls spool/in; cd spool/out 2>&1 && pwd -P | sed 's#.*/##'\n"
    )
    (srv / "spool" / "out").mkdir()
    (srv / "start").chmod(0o755)
    subprocess.run([srv / "start"], check=True, capture_output=True)
    return Service([f"{srv}/start"], srv)


def git(srv: Path) -> Service:
    """A work tree that is compared with its index, and a repository that is served as a whole."""
    need("git")
    identity = ["-c", "user.name=n", "-c", "user.email=e@x", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, "init", "-q", srv / "shop"], check=True)
    for name in ("one", "two"):
        (srv / "shop" / name).write_text(name)
    subprocess.run(["git", "-C", srv / "shop", "add", "."], check=True)
    commit = ["git", "-C", srv / "shop", *identity, "commit", "-qm", "first"]
    subprocess.run(commit, check=True)
    script = (
        "git config --global --get safe.directory > /dev/null; git -C shop status --short;"
        " git -C shop log --format=%s; rm -rf clone; git clone -q --no-hardlinks shop clone;"
        " ls clone"
    )
    return Service(["sh", "-c", script], srv, roots=[srv / "shop" / ".git"])


def node(srv: Path) -> Service:
    """Modules of its own behind a link, static files that are listed."""
    need("node")
    port = free_port()
    (srv / "packages" / "price").mkdir(parents=True)
    (srv / "packages" / "price" / "package.json").write_text('{"name":"price","main":"lib.js"}')
    (srv / "packages" / "price" / "lib.js").write_text("exports.total = () => 42;\n")
    (srv / "node_modules").mkdir()
    (srv / "node_modules" / "price").symlink_to("../packages/price")
    (srv / "public").mkdir()
    for name in ("a.css", "b.css"):
        (srv / "public" / name).touch()
    (srv / "app.js").write_text(
        "const price = require('price'), fs = require('fs');\n"
        "require('http').createServer((q, r) =>\n"
        "  r.end(price.total() + ' ' + fs.readdirSync('public').filter(\n"
        "    name => fs.statSync('public/' + name).isFile()))).listen("
        f"{port}, '127.0.0.1');\n"
    )
    return Service(["node", "app.js"], srv, port, get)


def perl(srv: Path) -> Service:
    """A library directory of its own, a template."""
    need("perl")
    (srv / "lib" / "Shop").mkdir(parents=True)
    (srv / "lib" / "Shop" / "Price.pm").write_text("package Shop::Price; sub total { 42 } 1;\n")
    (srv / "page.tmpl").write_text("total: ")
    (srv / "serve.pl").write_text(
        'use FindBin; use lib "$FindBin::Bin/lib"; use Shop::Price;\n'
        "open my $page, '<', \"$FindBin::Bin/page.tmpl\" or die; print <$page>;\n"
        'print Shop::Price::total(), "\\n";\n'
    )
    return Service(["perl", f"{srv}/serve.pl"], srv)


def java(srv: Path) -> Service:
    """Classes, and a resource of which only the address is asked for."""
    need("java", "javac")
    (srv / "Serve.java").write_text(
        "public class Serve { public static void main(String[] a) {\n"
        '  System.out.println(Serve.class.getResource("page.txt") != null);\n'
        "  System.out.println(Price.total()); } }\n"
        "class Price { static int total() { return 42; } }\n"
    )
    (srv / "page.txt").touch()
    subprocess.run(["javac", "-d", srv / "classes", srv / "Serve.java"], check=True)
    shutil.copy(srv / "page.txt", srv / "classes")
    return Service(["java", "-Xshare:auto", "-cp", f"{srv}/classes", "Serve"], srv)


SERVICES = {
    python_service: "42 ['about', 'index'] 1.5",
    nginx: "seven",
    redis: "$3\r\nyes\r\n",
    shell: "5\na\nb\nout\n",
    git: "first\none\ntwo\n",
    node: "42 a.css,b.css",
    perl: "total: 42\n",
    java: "true\n42\n",
}


@pytest.mark.parametrize("make", SERVICES, ids=lambda make: make.__name__)
def test_the_copy_starts_and_serves(make, tmp_path, capsysbinary):
    need("unshare", "tar")
    allowed = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    if allowed.returncode != 0:
        pytest.skip("unshare: not allowed to mount")
    srv, log, root = tmp_path / "srv", tmp_path / "log" / "access.db", tmp_path / "root"
    for directory in (srv, log.parent, root):
        directory.mkdir()
    service = make(srv)
    assert recorded(service, log) == SERVICES[make]
    with AccessLog(log) as opened:
        assert opened.complete, opened.incomplete_reason
    copied(service, log, root, capsysbinary)
    assert run_copy(service, root) == SERVICES[make]
