#!/bin/sh
# mpirun with settings that let tests and examples run anywhere: as root in a container, with more ranks than cores,
# without binding (two ranks would share one core) and without probing for network cards. Open MPI 4 and 5 read
# them; MPICH ignores them. TALLY_MPIEXEC names another mpirun.
if [ "$(id -u)" = 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe PRTE_MCA_hwloc_default_binding_policy=none
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_pml=ob1 OMPI_MCA_btl=^openib,uct,ofi,usnic OMPI_MCA_osc=^ucx
export OMPI_MCA_orte_abort_print_stack=0 PMIX_MCA_psec=native HWLOC_COMPONENTS=-gl,-opencl
exec "${TALLY_MPIEXEC:-mpirun}" "$@"
