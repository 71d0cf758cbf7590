#!/usr/bin/env bash
# A Slurm of one node on this machine, for `make test-slurm`: slurm.sh install | start | stop | why-not
# Needs root and Debian's packages. Touches no Slurm that it has not made: its slurm.conf carries the line MARK.
set -euo pipefail

MARK="# made by tests/cluster/slurm.sh of the AEVB reproduction"
CONF=/etc/slurm
STATE=/var/tmp/aevb-slurm  # its logs too

why_not() {  # one line that says why there can be none here; nothing where there can
    if [ "$(id -u)" != 0 ]; then echo "Slurm needs root here, and this is $(id -un)"; return; fi
    if [ -e "$CONF/slurm.conf" ] && ! grep -qF "$MARK" "$CONF/slurm.conf"; then
        echo "this machine has a Slurm of its own ($CONF/slurm.conf), which stays untouched"; return
    fi
    for program in slurmctld slurmd sbatch munged; do
        if ! command -v "$program" > /dev/null; then
            echo "there is no $program: apt-get install --no-install-recommends slurm-wlm munge"; return
        fi
    done
}

install_packages() {  # where that needs no question
    if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null && ! command -v slurmctld > /dev/null; then
        apt-get update -qq || true
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends slurm-wlm munge > /dev/null || true
    fi
}

configure() {
    local memory
    memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.8)}' /proc/meminfo)
    mkdir -p "$CONF" "$STATE/ctld" "$STATE/d"
    [ -e "$STATE/gpu" ] || mknod "$STATE/gpu" c 1 3  # what Slurm hands out as a GPU is another /dev/null
    cat > "$CONF/slurm.conf" <<CONFIGURATION
$MARK
ClusterName=aevb
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
StateSaveLocation=$STATE/ctld
SlurmdSpoolDir=$STATE/d
SlurmctldPidFile=$STATE/slurmctld.pid
SlurmdPidFile=$STATE/slurmd.pid
SlurmctldLogFile=$STATE/slurmctld.log
SlurmdLogFile=$STATE/slurmd.log
MinJobAge=300
KillWait=10
ReturnToService=2
MaxArraySize=1001
GresTypes=gpu
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory Gres=gpu:1 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONFIGURATION
    echo "NodeName=$(hostname -s) Name=gpu File=$STATE/gpu" > "$CONF/gres.conf"
}

start() {
    local reason
    reason=$(why_not)
    if [ -n "$reason" ]; then echo "$reason" >&2; exit 1; fi
    stop
    configure
    [ -e /etc/munge/munge.key ] || mungekey --create
    install -d -o munge -g munge -m 755 /run/munge
    pgrep -x munged > /dev/null || runuser -u munge -- munged
    slurmctld
    slurmd
    for _ in $(seq 60); do
        if sinfo --noheader --format %t 2> /dev/null | grep -q idle; then return; fi
        sleep 1
    done
    echo "Slurm did not come up within a minute; see $STATE/*.log" >&2
    exit 1
}

stop() {
    if [ -e "$CONF/slurm.conf" ] && grep -qF "$MARK" "$CONF/slurm.conf"; then
        scancel --state=PENDING --state=RUNNING 2> /dev/null || true
        for daemon in slurmd slurmctld; do
            if [ -e "$STATE/$daemon.pid" ]; then kill "$(cat "$STATE/$daemon.pid")" 2> /dev/null || true; fi
        done
        for _ in $(seq 20); do
            pgrep -x slurmctld > /dev/null || pgrep -x slurmd > /dev/null || break
            sleep 0.5
        done
        rm -rf "$CONF/slurm.conf" "$CONF/gres.conf" "$STATE"
    fi
}

case "${1:-}" in
    install) install_packages ;;
    start) start ;;
    stop) stop ;;
    why-not) why_not ;;
    *) echo "usage: $0 install | start | stop | why-not" >&2; exit 2 ;;
esac
