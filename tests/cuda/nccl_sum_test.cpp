// NcclSum's decisions on stand-ins for the functions of CUDA and NCCL that it calls: needs their headers, no library and
// no GPU.
#include "core/backends/nccl_sum.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

using tally::CollectiveState;
using tally::DeviceError;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// What the stand-ins answer, and the calls they saw.
struct Library {
  ncclResult_t state = ncclInProgress;  // of what goes on in the background
  cudaError_t events = cudaErrorNotReady;
  cudaError_t last_event = cudaErrorNotReady;  // the one recorded last
  std::vector<std::string> calls;
  cudaEvent_t last_recorded = nullptr;
  std::size_t made_events = 0;
};
Library library;
int blocking = -1;

struct NcclSumTest : ::testing::Test {
  NcclSumTest() { library = {}; }
  std::vector<unsigned char> id = std::vector<unsigned char>(tally::NcclConnection::id_bytes, 7);
  std::int64_t value = 0;
};

// One of two ranks, connected.
struct Connected {
  explicit Connected(const NcclSumTest& test) : connection(test.id.data(), 0, 2) {
    connection.start();
    library.state = ncclSuccess;
    EXPECT_EQ(connection.poll(), CollectiveState::done);
  }
  tally::NcclConnection connection;
};

// Its sum of a test's value.
struct ConnectedSum : Connected {
  explicit ConnectedSum(NcclSumTest& test) : Connected(test), sum(connection, nullptr, &test.value, 1) {}
  tally::NcclSum sum;
};

}  // namespace

extern "C" {
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  id->internal[127] = 5;
  return ncclSuccess;
}
const char* ncclGetErrorString(ncclResult_t) {
  return "an error of NCCL";
}
const char* ncclGetLastError(ncclComm_t) {
  return "the cable is out";
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int, ncclUniqueId, int, ncclConfig_t* config) {
  library.calls.push_back("init");
  blocking = config->blocking;
  *comm = reinterpret_cast<ncclComm_t>(&library);
  return ncclInProgress;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t, ncclResult_t* state) {
  *state = library.state;
  return ncclSuccess;
}
ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type,
                           ncclRedOp_t operation, ncclComm_t, cudaStream_t) {
  EXPECT_EQ(from, to);
  EXPECT_EQ(count, 1U);
  EXPECT_EQ(type, ncclInt64);
  EXPECT_EQ(operation, ncclSum);
  library.calls.push_back("all_reduce");
  return ncclInProgress;
}
ncclResult_t ncclCommAbort(ncclComm_t) {
  library.calls.push_back("abort");
  return ncclSuccess;
}
ncclResult_t ncclCommFinalize(ncclComm_t) {
  library.calls.push_back("finalize");
  return ncclInProgress;
}
ncclResult_t ncclCommDestroy(ncclComm_t) {
  library.calls.push_back("destroy");
  return ncclSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int) {
  return cudaSuccess;
}
const char* cudaGetErrorString(cudaError_t) {
  return "an error of CUDA";
}
const char* cublasGetStatusString(cublasStatus_t) {
  return "";
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = reinterpret_cast<cudaEvent_t>(++library.made_events);
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t) {
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  library.calls.push_back(event == reinterpret_cast<cudaEvent_t>(1) ? "joined" : "finished");
  library.last_recorded = event;
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  return event == library.last_recorded ? library.last_event : library.events;
}
}

namespace {

TEST_F(NcclSumTest, AnIdIsBytes) {
  tally::NcclConnection::make_id(id.data());

  EXPECT_EQ(id[127], 5);
}

TEST_F(NcclSumTest, OneRankNeedsNoNccl) {
  {
    tally::NcclConnection connection(nullptr, 0, 1);
    connection.start();
    EXPECT_EQ(connection.poll(), CollectiveState::done);
    tally::NcclSum sum(connection, nullptr, &value, 1);

    sum.start();

    EXPECT_EQ(sum.poll(), CollectiveState::working);
    library.last_event = cudaSuccess;
    EXPECT_EQ(sum.poll(), CollectiveState::done);
  }
  EXPECT_THAT(library.calls, ElementsAre("joined"));
}

TEST_F(NcclSumTest, TheStartIsPolledAndNeverBlocks) {
  tally::NcclConnection connection(id.data(), 0, 2);

  connection.start();

  EXPECT_EQ(blocking, 0);
  EXPECT_EQ(connection.poll(), CollectiveState::waiting);
  library.state = ncclSuccess;
  EXPECT_EQ(connection.poll(), CollectiveState::done);
}

TEST_F(NcclSumTest, AStartThatIsGivenUpIsAborted) {
  {
    tally::NcclConnection connection(id.data(), 0, 2);
    connection.start();
  }
  EXPECT_THAT(library.calls, ElementsAre("init", "abort"));
}

TEST_F(NcclSumTest, ASumIsFollowedByAnEventOnceItIsOnTheStream) {
  {
    ConnectedSum connected(*this);
    tally::NcclSum& sum = connected.sum;
    library.state = ncclInProgress;

    sum.start();

    EXPECT_EQ(sum.poll(), CollectiveState::working);  // the stream is busy with what comes before
    library.last_event = cudaSuccess;
    EXPECT_EQ(sum.poll(), CollectiveState::waiting);
    EXPECT_THAT(library.calls, ElementsAre("init", "joined", "all_reduce"));
    library.state = ncclSuccess;
    library.last_event = cudaErrorNotReady;
    library.events = cudaSuccess;
    EXPECT_EQ(sum.poll(), CollectiveState::waiting);
    library.last_event = cudaSuccess;
    EXPECT_EQ(sum.poll(), CollectiveState::done);
  }
  EXPECT_THAT(library.calls, ElementsAre("init", "joined", "all_reduce", "finished", "finalize", "destroy"));
}

TEST_F(NcclSumTest, ASecondSumWaitsForItsOwnEvent) {
  ConnectedSum connected(*this);
  tally::NcclSum& sum = connected.sum;
  library.events = library.last_event = cudaSuccess;
  sum.start();
  EXPECT_EQ(sum.poll(), CollectiveState::done);
  library.last_event = cudaErrorNotReady;

  sum.start();

  EXPECT_EQ(sum.poll(), CollectiveState::waiting);
  library.last_event = cudaSuccess;
  EXPECT_EQ(sum.poll(), CollectiveState::done);
}

TEST_F(NcclSumTest, AnErrorSaysWhatNcclSays) {
  ConnectedSum connected(*this);
  tally::NcclSum& sum = connected.sum;
  sum.start();
  library.state = ncclInternalError;
  std::string message;

  try {
    sum.poll();
  } catch (const DeviceError& error) {
    message = error.what();
  }

  EXPECT_THAT(message, HasSubstr("an error of NCCL (the cable is out)"));
}

TEST_F(NcclSumTest, AnErrorOfAPeerIsLeftToThePeerAtFirst) {
  ConnectedSum connected(*this);
  tally::NcclSum& sum = connected.sum;
  sum.start();
  library.state = ncclRemoteError;
  library.events = library.last_event = cudaSuccess;

  EXPECT_EQ(sum.poll(), CollectiveState::waiting);

  std::this_thread::sleep_for(std::chrono::milliseconds(5100));
  EXPECT_THROW(sum.poll(), DeviceError);
}

TEST_F(NcclSumTest, AnErrorOfTheDeviceIsThrown) {
  ConnectedSum connected(*this);
  tally::NcclSum& sum = connected.sum;
  sum.start();
  library.last_event = cudaErrorIllegalAddress;

  EXPECT_THROW(sum.poll(), DeviceError);
}

TEST_F(NcclSumTest, AnAbortIsFinal) {
  {
    ConnectedSum connected(*this);
    tally::NcclSum& sum = connected.sum;
    sum.start();

    sum.abort();
    sum.abort();

    EXPECT_THROW(sum.start(), DeviceError);
    EXPECT_THROW(sum.poll(), DeviceError);
  }
  EXPECT_THAT(library.calls, ElementsAre("init", "joined", "all_reduce", "abort"));
}

TEST_F(NcclSumTest, AnExceptionThatUnwindsWaitsForNobody) {
  try {
    const Connected connected(*this);
    throw DeviceError("another error");
  } catch (const DeviceError&) {
  }
  EXPECT_THAT(library.calls, ElementsAre("init", "abort"));
}

}  // namespace
