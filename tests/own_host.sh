#!/bin/sh
# own_host.sh COMMAND...: runs a rank as though it were on a host of its own, so that two ranks can sum over one GPU by NCCL,
# which otherwise refuses that, and so does Tally. For tests: the ranks compete for the GPU. Needs root, or user
# namespaces; fails where the system allows neither.
name=rank-${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-${SLURM_PROCID:-0}}}
export NCCL_HOSTID="$name"
# Ranks in different namespaces cannot read each other's memory.
export OMPI_MCA_btl_vader_single_copy_mechanism=none
user=
[ "$(id -u)" = 0 ] || user="--user --map-root-user"
# shellcheck disable=SC2086,SC2016  # words; expanded by the inner shell
exec unshare $user --uts sh -c 'hostname "$0" && exec "$@"' "$name" "$@"
