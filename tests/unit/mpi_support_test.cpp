#include "launch/cluster/mpi_support.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tally {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* open_mpi_library =
    "Open MPI v4.1.4, package: Debian OpenMPI, ident: 4.1.4, repo rev: v4.1.4, May 26, 2022";
constexpr const char* open_mpi_mpirun = "mpirun (Open MPI) 4.1.4\n\nReport bugs to http://www.open-mpi.org/community/help/\n";
constexpr const char* mpich_library = "MPICH Version:\t4.0.2\nMPICH Release date:\tThu Apr  7 12:34:45 CDT 2022\n";
constexpr const char* hydra = "HYDRA build details:\n    Version:                                 4.0.2\n";

TEST(MpiName, IsReadFromWhatMpiSaysOfItself) {
  EXPECT_EQ(parse_mpi_name(open_mpi_library).words(), "Open MPI 4.1.4");
  EXPECT_EQ(parse_mpi_name(open_mpi_mpirun).words(), "Open MPI 4.1.4");
  EXPECT_EQ(parse_mpi_name("prterun (PRRTE) 3.0.2").words(), "Open MPI");
  EXPECT_EQ(parse_mpi_name(mpich_library).words(), "MPICH 4.0.2");
  EXPECT_EQ(parse_mpi_name(hydra).words(), "MPICH 4.0.2");
  EXPECT_EQ(parse_mpi_name("true (GNU coreutils) 9.1").words(), "");
  EXPECT_EQ(parse_mpi_name(parse_mpi_name(open_mpi_library).words()).words(), "Open MPI 4.1.4");
}

TEST(MpiName, AnMpirunStartsNoRanksOfAnotherMpi) {
  const auto why = [](const char* mpirun, const char* library) {
    return why_not_started_by(parse_mpi_name(mpirun), parse_mpi_name(library));
  };
  EXPECT_THAT(why(open_mpi_mpirun, mpich_library), HasSubstr("of Open MPI 4.1.4, and this Tally was built with MPICH 4.0.2"));
  EXPECT_THAT(why(hydra, open_mpi_library), HasSubstr("of MPICH 4.0.2, and this Tally was built with Open MPI 4.1.4"));
  EXPECT_EQ(why(open_mpi_mpirun, open_mpi_library), "");
  EXPECT_EQ(why(hydra, mpich_library), "");
  EXPECT_EQ(why(hydra, "Some MPI 7"), "");
}

TEST(MpiName, OpenMpisOfDifferentSeriesAreDoubtful) {
  const auto doubts = [](const char* mpirun, const char* library) {
    return doubts_about(parse_mpi_name(mpirun), parse_mpi_name(library));
  };
  EXPECT_THAT(doubts("mpirun (Open MPI) 5.0.3", open_mpi_library), HasSubstr("Open MPI 5.0.3, and the ranks load Open MPI 4.1.4"));
  EXPECT_EQ(doubts("mpirun (Open MPI) 4.0.1", open_mpi_library), "");
  EXPECT_EQ(doubts("prterun (PRRTE) 3.0.2", open_mpi_library), "");
  EXPECT_EQ(doubts(hydra, mpich_library), "");
}

TEST(MpiSupport, NodesOfDifferentLibrariesAreNamed) {
  Cluster cluster;
  for (const char* name : {"a", "b", "c", "d"}) cluster.nodes.emplace_back().name = name;
  std::vector<std::string> warnings;
  warn_of_libraries(cluster, warnings);
  for (const std::size_t n : {1, 2, 3}) cluster.nodes[n].mpi = "Open MPI 4.1.4";
  warn_of_libraries(cluster, warnings);
  EXPECT_THAT(warnings, IsEmpty());
  cluster.nodes[2].mpi = "Open MPI 4.1.6";
  warn_of_libraries(cluster, warnings);
  cluster.nodes[3].mpi = "MPICH 4.0.2";
  warn_of_libraries(cluster, warnings);
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("node c has Open MPI 4.1.6 and node b Open MPI 4.1.4"),
                                    HasSubstr("node c, as 1 more, has Open MPI 4.1.6")));
}

TEST(MpiSupport, PluginsOfSrun) {
  EXPECT_THAT(parse_srun_plugins("MPI plugin types are...\n\tpmix\n\tnone\n\tcray_shasta\n\tpmi2\n"
                                 "specific pmix plugin versions available: pmix_v4\n"),
              ElementsAre("pmix", "none", "cray_shasta", "pmi2"));
  EXPECT_THAT(parse_srun_plugins("srun: MPI types are...\nsrun: pmix_v3\nsrun: none\nsrun: pmi2\n"),
              ElementsAre("pmix_v3", "none", "pmi2"));
  EXPECT_THAT(parse_srun_plugins("srun: fatal: Could not establish a configuration source\n"), IsEmpty());
}

}  // namespace
}  // namespace tally
