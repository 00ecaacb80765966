#!/bin/sh
# slurm.sh up FOLDER [NODES] [CPUS] [GPUS]: a Slurm with so many node daemons on this machine, for tests: nothing but FOLDER
# and the loopback interface is used. slurm.sh down FOLDER ends it and every job of it; slurm.sh lose FOLDER NODE ends a node's
# daemon and all that runs there. Needs root, slurmctld and slurmd. To use it set SLURM_CONF=FOLDER/slurm.conf and
# PMIX_MCA_psec=native. The nodes n0, n1, ... share a hostname, and there are no control groups; the partition `urgent`
# preempts jobs of `main`. A GPU is a clone of /dev/null. In a name space of its own the loopback interface may be given an
# address for each node, 10.78.0.1 for n0 and so on: ranks use them where they are, for Open MPI takes the ranks of nodes that
# have one address for each other.
set -eu
[ -z "${SLURM_CONF:-}" ] || exec env -u SLURM_CONF "$0" "$@"
action=$1
folder=$2
nodes=${3:-3}
cpus=${4:-2}
gpus=${5:-0}

# The processes of this Slurm and of its jobs: its configuration is in the environment of all of them.
members() {
  for process in /proc/[0-9]*; do
    if { tr '\0' '\n' <"$process/environ"; } 2>/dev/null | grep -qx "SLURM_CONF=$folder/slurm.conf"; then
      echo "${process#/proc/}"
    fi
  done
}

# The daemon, what it started for a step, which does not say its node, and the ranks.
of_node() {
  for process in $(members); do
    if { tr '\0' ' ' <"/proc/$process/cmdline"; } 2>/dev/null | grep -q "slurmd -N $1 "; then
      echo "$process"
    elif { tr '\0' '\n' <"/proc/$process/environ"; } 2>/dev/null | grep -qx "SLURMD_NODENAME=$1"; then
      parent=$(sed 's/.*) . //; s/ .*//' "/proc/$process/stat")
      ! grep -q slurmstepd "/proc/$parent/cmdline" || echo "$parent"
      echo "$process"
    fi
  done
}

if [ "$action" = lose ]; then
  # shellcheck disable=SC2046  # numbers
  kill -KILL $(of_node "$3")
  exit
fi
if [ "$action" = down ]; then
  for signal in TERM KILL; do
    # shellcheck disable=SC2046  # numbers
    kill -$signal $(members) 2>/dev/null || :
    for attempt in 1 2 3 4 5; do
      [ -n "$(members)" ] || break 2
      sleep "0.$attempt"
    done
  done
  rm -rf "$folder" "/dev/shm/tally-slurm-$(basename "$folder")".*
  exit
fi

mkdir -p "$folder/state" "$folder/log"
last=$((nodes - 1))
port=$((20000 + $$ % 10000))
# Open MPI names its shared memory by host, user, job and local rank, which are the same on every node here.
cat >"$folder/prolog.sh" <<END
#!/bin/sh
memory=/dev/shm/tally-slurm-$(basename "$folder").\$SLURMD_NODENAME
mkdir -p \$memory
echo export OMPI_MCA_btl_vader_backing_directory=\$memory
address=10.78.0.\$((\${SLURMD_NODENAME#n} + 1))
ip -o address show lo | grep -qF " \$address/" && echo export OMPI_MCA_btl_tcp_if_include=\$address/32 || echo export OMPI_MCA_btl_tcp_if_include=lo
END
chmod 755 "$folder" "$folder/prolog.sh"
cat >"$folder/slurm.conf" <<END
ClusterName=tally
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort=$port
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/state/spool.%n
TmpFS=$folder/state/tmp.%n
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
TaskProlog=$folder/prolog.sh
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,sched_min_interval=0
SlurmctldParameters=preempt_send_user_signal
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
MpiDefault=none
ReturnToService=2
SlurmdTimeout=15
SlurmctldTimeout=30
InactiveLimit=0
KillWait=10
Waittime=0
SwitchType=switch/none
SlurmdParameters=config_overrides
END
if [ "$gpus" -gt 0 ]; then
  echo "GresTypes=gpu" >>"$folder/slurm.conf"
  for gpu in $(seq 0 $((gpus - 1))); do mknod "$folder/gpu$gpu" c 1 3; done
  echo "Name=gpu File=$folder/gpu[0-$((gpus - 1))]" >"$folder/gres.conf"
fi
for node in $(seq 0 $last); do
  mkdir -p "$folder/state/spool.n$node" "$folder/state/tmp.n$node"
  echo "NodeName=n$node NodeHostname=localhost NodeAddr=127.0.0.1 Port=$((port + 1 + node)) CPUs=$cpus Boards=1" \
    "SocketsPerBoard=1 CoresPerSocket=$cpus ThreadsPerCore=1 RealMemory=2000 Gres=gpu:$gpus State=UNKNOWN" >>"$folder/slurm.conf"
done
{
  echo "PartitionName=main Nodes=n[0-$last] Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=30"
  echo "PartitionName=urgent Nodes=n[0-$last] MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF"
} >>"$folder/slurm.conf"

export SLURM_CONF="$folder/slurm.conf"
slurmctld -c >"$folder/log/start" 2>&1 </dev/null
for node in $(seq 0 $last); do slurmd -N "n$node" >>"$folder/log/start" 2>&1 </dev/null; done
for attempt in $(seq 40); do
  [ "$(timeout 5 sinfo -h -N -p main -o %T 2>/dev/null | grep -c idle)" = "$nodes" ] && exit 0
  sleep 0.25
done
echo "slurm.sh: the nodes did not come up; see $folder/log" >&2
exit 1
