"""A pod's /etc/hosts and /etc/resolv.conf, as a kubelet writes them. Pure but for `write`.

Protocol: `dnsPolicy`, `dnsConfig`, `hostAliases`, `hostname` and `subdomain` of `core/v1`. One deviation: a pod's
processes share the machine, so the machine's own host entries stay in front.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

from fairlead.embedded.agent.pod import DnsConfig, Pod

HOSTS, RESOLV_CONF = "/etc/hosts", "/etc/resolv.conf"
_MANAGED = "# Kubernetes-managed hosts file."
_NDOTS = "ndots:5"
_MAX_SERVERS = 3
"""The C library reads no more."""


@dataclass(frozen=True, slots=True)
class ClusterDns:
    """Where cluster DNS answers. `server` is empty where there is none."""

    server: str = ""
    domain: str = "cluster.local"


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a resolv.conf says."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Resolution:
        servers, searches, options = [], [], []
        for words in (line.split() for line in text.splitlines()):
            match words:
                case ["nameserver", server, *_]:
                    servers.append(server)
                case ["search" | "domain", *domains]:
                    # The last such line counts.
                    searches = domains
                case ["options", *given]:
                    options += given
        return cls(tuple(servers), tuple(searches), tuple(options))

    def text(self) -> str:
        lines = [f"search {' '.join(self.searches)}"] if self.searches else []
        lines += [f"nameserver {server}" for server in self.servers]
        lines += [f"options {' '.join(self.options)}"] if self.options else []
        return "".join(f"{line}\n" for line in lines)


def hosts_text(pod: Pod, pod_ip: str, domain: str, machine: str) -> str:
    """The pod's hosts file; `machine` is the text of the machine's."""
    lines = [_MANAGED, *machine.rstrip("\n").split("\n")]
    if pod_ip and not pod.spec.host_network:
        name = hostname(pod)
        full = f"{name}.{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{domain}" if pod.spec.subdomain else ""
        lines.append("\t".join([pod_ip, *([full] if full else []), name]))
    if pod.spec.host_aliases:
        lines += ["", "# Entries added by HostAliases."]
        lines += ["\t".join([alias.ip, *alias.hostnames]) for alias in pod.spec.host_aliases]
    return "\n".join(lines) + "\n"


def hostname(pod: Pod) -> str:
    """The pod's own name, at most as long as a label of DNS."""
    return pod.spec.hostname or re.sub(r"[-.]+$", "", pod.metadata.name[:63])


def compute_resolution(pod: Pod, cluster: ClusterDns, machine: Resolution) -> Resolution | None:
    """What the pod's resolv.conf says; None where the machine's own is right as it is."""
    policy, config = pod.spec.dns_policy, pod.spec.dns_config
    if policy == "ClusterFirst" and pod.spec.host_network:
        # The node's network comes with the node's names; ClusterFirstWithHostNet asks for the cluster's.
        policy = "Default"
    if policy == "None":
        base = Resolution()
    elif policy == "Default" or not cluster.server:
        if config is None:
            return None
        base = machine
    else:
        domains = (f"{pod.metadata.namespace}.svc.{cluster.domain}", f"svc.{cluster.domain}", cluster.domain)
        base = Resolution((cluster.server,), _unique(*domains, *machine.searches), (_NDOTS,))
    return base if config is None else _with_config(base, config)


def _with_config(base: Resolution, config: DnsConfig) -> Resolution:
    given = {option.name: option.value for option in config.options}
    options = {o.partition(":")[0]: o for o in base.options}
    options |= {name: name if value is None else f"{name}:{value}" for name, value in given.items()}
    return Resolution(
        _unique(*base.servers, *config.nameservers)[:_MAX_SERVERS],
        _unique(*base.searches, *config.searches),
        tuple(options.values()),
    )


def _unique(*values: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def write(folder: Path, pod: Pod, pod_ip: str, cluster: ClusterDns) -> dict[str, Path]:
    """Write the pod's files into its folder -> path in the pod: file."""
    made = {HOSTS: folder / "etc-hosts"}
    made[HOSTS].write_text(hosts_text(pod, pod_ip, cluster.domain, _read(HOSTS)))
    resolution = compute_resolution(pod, cluster, Resolution.parse(_read(RESOLV_CONF)))
    if resolution is not None:
        made[RESOLV_CONF] = folder / "resolv.conf"
        made[RESOLV_CONF].write_text(resolution.text())
    for path in made.values():
        # A container's user need not be the agent's.
        path.chmod(0o644)
    return made


def present(folder: Path) -> dict[str, Path]:
    """What `write` has made for a pod."""
    files = {HOSTS: folder / "etc-hosts", RESOLV_CONF: folder / "resolv.conf"}
    return {target: path for target, path in files.items() if path.exists()}


def _read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text(errors="replace")
    return "127.0.0.1\tlocalhost\n" if path == HOSTS else ""
