"""A real PostgreSQL on loopback, with a folder of its own: started, killed, followed by a standby, promoted."""

import os
import pathlib
import pwd
import shutil
import subprocess

from processes import free_ports, wait_for

TIMEOUT_S = 60


def find_binaries():
    # Debian keeps them apart from what is on the PATH.
    if folders := sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin")):
        return folders[-1]
    found = shutil.which("pg_ctl")
    assert found, "PostgreSQL is missing: `scripts/test rust` installs it"
    return pathlib.Path(found).parent


class Postgres:
    """One server. `args`: its settings, as -c takes them. Its user `faceid` needs no password, unless `hba` says otherwise."""

    def __init__(self, folder, args=(), hba=None):
        self._bin = find_binaries()
        self.folder = folder
        self.data = folder / "data"
        self._args = list(args)
        (self.port,) = free_ports(1)
        self.address = f"127.0.0.1:{self.port}"
        folder.mkdir(parents=True)
        self._own(folder)
        self._make()
        if hba:
            self._write_hba(hba)

    def url(self, *others, query="sslmode=disable"):
        addresses = ",".join(server.address for server in (self, *others))
        return f"postgres://faceid@{addresses}/postgres?{query}"

    def _make(self):
        self._run("initdb", f"--pgdata={self.data}", "--username=faceid", "--auth=trust", "--encoding=UTF8", "--no-sync")

    def _write_hba(self, text):
        (self.data / "pg_hba.conf").write_text(text, encoding="utf-8")

    def start(self):
        settings = ["listen_addresses=127.0.0.1", f"port={self.port}", "unix_socket_directories=''", "max_connections=200", *self._args]
        options = " ".join(f"-c {setting}" for setting in settings)
        self._run("pg_ctl", f"--pgdata={self.data}", f"--log={self.folder / 'server.log'}", "--wait", "start", f"--options={options}")

    def kill(self):
        """As a crash: connections are cut, and nothing is written any more."""
        subprocess.run(
            self._as_server("pg_ctl", f"--pgdata={self.data}", "--mode=immediate", "stop"), cwd="/", capture_output=True, timeout=TIMEOUT_S
        )

    def promote(self):
        self._run("pg_ctl", f"--pgdata={self.data}", "--wait", "promote")

    def sql(self, statement):
        done = subprocess.run(
            [self._bin / "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "faceid", "-d", "postgres", "-Atc", statement],
            capture_output=True, text=True, timeout=TIMEOUT_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def _run(self, *command):
        # pg_ctl leaves its output open to the server: it goes to a file, which nobody waits for.
        with (self.folder / "commands.log").open("ab") as log:
            done = subprocess.run(self._as_server(*command), cwd="/", stdout=log, stderr=log, timeout=TIMEOUT_S)
        assert done.returncode == 0, (self.folder / "commands.log").read_text(encoding="utf-8")

    def _as_server(self, command, *args):
        # PostgreSQL does not run as root.
        prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.getuid() == 0 else []
        return [*prefix, str(self._bin / command), *map(str, args)]

    def _own(self, path):
        if os.getuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(path, user.pw_uid, user.pw_gid)
            # The folders of a test are its user's alone.
            for parent in path.parents:
                if parent.stat().st_uid == os.getuid() and parent != pathlib.Path("/"):
                    parent.chmod(parent.stat().st_mode | 0o011)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()


class Standby(Postgres):
    """Follows a primary, which waits for it with each commit if its settings say so."""

    def __init__(self, folder, primary, args=()):
        self._primary = primary
        super().__init__(folder, args)

    def _make(self):
        self._run(
            "pg_basebackup", f"--pgdata={self.data}", "--write-recovery-conf", "--wal-method=stream", "--no-sync", "--checkpoint=fast",
            "--host=127.0.0.1", f"--port={self._primary.port}", "--username=faceid",
        )

    def wait_until_it_follows(self):
        streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
        wait_for("the standby", lambda: self._primary.sql(streaming) == "1")
