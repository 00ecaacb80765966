#!/bin/sh
# fit.sh HOSTFILE FIT...: a fit on hosts that ssh reaches, without a batch system. It asks each host whether Tally is there,
# shows what will run where, and fits; where a host is lost it goes on from the last checkpoint on the others:
#   fit.sh hosts gmm data.h5:/x -k 64 --out model.h5 --checkpoint state
# The fit needs --checkpoint. Tally, MPI, the data and the checkpoints must be at the same place on all hosts. Where they are reached by
# another command than ssh, OMPI_MCA_plm_rsh_agent holds it.
set -eu
hosts=$1
shift
ssh=${OMPI_MCA_plm_rsh_agent:-ssh -o BatchMode=yes}
tally=$(command -v tally)
version=$("$tally" --version)

# shellcheck disable=SC2013  # words, too
for host in $(sed -e 's/#.*//' -e 's/^[[:space:]]*//' -e 's/[[:space:]:].*//' "$hosts"); do
  # shellcheck disable=SC2086  # words
  there=$($ssh "$host" "$tally" --version </dev/null) || there="no $tally, or no ssh without a password"
  [ "$there" = "$version" ] || { echo "fit.sh: $host has $there; here is $version" >&2 && exit 1; }
done

tally launch --hostfile "$hosts" --dry-run -- fit "$@"
exec tally launch --hostfile "$hosts" --max-restarts 3 -- fit "$@"
