"""A SLURM of two virtual nodes on this machine, for tests: its own folder, keys and ports, no database, no root.

Where root starts it, the nodes have no network but their own loopback, as compute nodes often have none.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from support.waiting import wait_for

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
CLIENTS = PROGRAMS[3:]
NODES = ("n1", "n2")
CPUS = 4  # of a node
PATIENCE = 300  # seconds for a command and until the nodes must be idle

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=20
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobSubmitPlugins=lua
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory,CR_LLN
SlurmdParameters=config_overrides
SlurmdTimeout=300
MessageTimeout=60
BatchStartTimeout=120
UnkillableStepTimeout=300
MinJobAge=3600
KillWait=15
GresTypes=gpu
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cpus} RealMemory=30000 Gres=gpu:fake:2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs={cpus} RealMemory=30000 Gres=gpu:fake:2
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=UNLIMITED State=UP
PartitionName=paid Nodes=n1,n2 MaxTime=UNLIMITED State=UP
"""

GRES = """\
NodeName=n[1-2] Name=gpu Type=fake File=/dev/null
NodeName=n[1-2] Name=gpu Type=fake File=/dev/zero
"""

# Without a database SLURM knows no accounts; this is how a site without one requires them.
SUBMIT = """\
function slurm_job_submit(job, partitions, uid)
   if job.partition == "paid" and job.account ~= "lab" then
      slurm.log_user("Partition paid: the account lab is required.")
      return slurm.ERROR
   end
   return slurm.SUCCESS
end
function slurm_job_modify(job, record, partitions, uid)
   return slurm.SUCCESS
end
return slurm.SUCCESS
"""


class NotStartedError(Exception):
    """SLURM cannot be started here; the text says why."""


def path_of(program: str) -> str | None:
    """Path of a program, also among those of the administrator."""
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [entry.getsockname()[1] for entry in sockets]
    for entry in sockets:
        entry.close()
    return ports


class Cluster:
    """Attributes: `folder`; `environment`: variables with which the commands of SLURM reach this cluster; `isolated`:
    whether its nodes have no network."""

    def __init__(self, folder: Path) -> None:
        """Start it. Raises NotStartedError."""
        missing = [program for program in PROGRAMS if path_of(program) is None]
        if missing:
            raise NotStartedError(f"SLURM is not installed ({', '.join(missing)}); make test-slurm installs it")
        self.folder = folder
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._enter = self._namespace()
        self.isolated = bool(self._enter)
        folder.chmod(0o755)
        for name in ("state", "bin", *(f"spool-{node}" for node in NODES)):
            (folder / name).mkdir()
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        values = {"host": socket.gethostname().split(".")[0], "user": user, "folder": folder, "cpus": CPUS}
        (folder / "slurm.conf").write_text(CONFIGURATION.format(ports=free_ports(3), **values))
        (folder / "gres.conf").write_text(GRES)
        (folder / "job_submit.lua").write_text(SUBMIT)
        # The plugin of Snakemake removes SLURM_CONF from the environment of `srun`: the commands set it themselves.
        for client in CLIENTS:
            program = folder / "bin" / client
            program.write_text(
                f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {" ".join(self._enter)} {path_of(client)} "$@"\n'
            )
            program.chmod(0o755)
        # Snakemake asks the database whether an account exists; there is none here.
        accounts = folder / "bin" / "sacctmgr"
        accounts.write_text("#!/bin/sh\necho lab\n")
        accounts.chmod(0o755)
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_", "SRUN_"))
        }
        self.environment["PATH"] = f"{folder / 'bin'}:{os.environ['PATH']}"
        try:
            self._start_munge()
            self._start("slurmctld", "-c")
            for node in NODES:
                self.start_node(node)
            wait_for(self.idle, PATIENCE, "idle nodes")
        except (TimeoutError, OSError) as error:
            text = self.logs()
            self.stop()
            raise NotStartedError(f"SLURM did not start: {error}\n{text}") from error

    def _namespace(self) -> list[str]:
        """Create a network without a way out; return the command that enters it, nothing where that is not allowed."""
        # SLURM finds no address of its own where there is none but 127.0.0.1; this one is reserved for documentation.
        up = "ip link set lo up && ip address add 192.0.2.1/32 dev lo && echo up && exec sleep infinity"
        holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", up], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        if not holder.stdout or holder.stdout.readline() != b"up\n":
            holder.wait()
            return []
        self._daemons["network"] = holder
        return ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        files = {name: self.folder / f"munge.{name}" for name in ("socket", "pid", "log", "seed")}
        self._daemons["munged"] = subprocess.Popen(
            [path_of("munged") or "", "--foreground", "--force", f"--key-file={key}", f"--socket={files['socket']}",
             f"--pid-file={files['pid']}", f"--log-file={files['log']}", f"--seed-file={files['seed']}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(files["socket"].exists, PATIENCE, "socket of munged")

    def _start(self, name: str, *arguments: str, node: str = "") -> None:
        self._daemons[node or name] = subprocess.Popen(
            [*self._enter, path_of(name) or "", "-D", "-f", str(self.folder / "slurm.conf"), *arguments],
            cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def start_node(self, node: str) -> None:
        """Start `slurmd` of a node."""
        self._start("slurmd", "-N", node, node=node)

    def kill_node(self, node: str) -> None:
        """Kill `slurmd` of a node; jobs run on."""
        daemon = self._daemons.pop(node)
        daemon.kill()
        daemon.wait()

    def responds(self, node: str) -> bool:
        """Whether the controller hears of a node."""
        state = self.run("sinfo", "--noheader", "--nodes", node, "--partition=main", "--format=%t").strip()
        return state in ("idle", "mix", "alloc")

    def run(self, *command: str) -> str:
        """Output of a command of SLURM."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE)
        return done.stdout

    def idle(self) -> bool:
        """Whether all nodes wait for jobs."""
        return self.run("sinfo", "--noheader", "--Node", "--partition=main", "--format=%t").split() == ["idle"] * 2

    def jobs(self) -> list[dict[str, str]]:
        """What `scontrol show job` says of each job since the start, the oldest first."""
        lines = self.run("scontrol", "show", "job", "--oneliner").splitlines()
        found = [dict(field.partition("=")[::2] for field in line.split(" ")) for line in lines if "JobId=" in line]
        return sorted(found, key=lambda job: int(job["JobId"]))

    def logs(self) -> str:
        """The last lines of the daemons' logs."""
        texts = [path.read_text(errors="replace").splitlines()[-15:] for path in sorted(self.folder.glob("*.log"))]
        return "\n".join(line for text in texts for line in text)

    def stop(self) -> None:
        """Cancel all jobs and end the daemons that were started."""
        if "slurmctld" in self._daemons:
            self.run("scancel", "--partition=main,paid", "--signal=KILL", "--full")
            self.run("scancel", "--partition=main,paid")
            with contextlib.suppress(TimeoutError):
                wait_for(lambda: not self.run("squeue", "--noheader"), PATIENCE, "no jobs")
        for daemon in reversed(self._daemons.values()):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()
