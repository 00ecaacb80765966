#include "launch/cluster/life_line.hpp"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <string>
#include <utility>

#include "core/error.hpp"

namespace tally {
namespace {

using State = LifeLineWatch::State;

class LifeLineTest : public testing::Test {
 protected:
  void SetUp() override { setenv(life_line_variable, watch_.where().c_str(), 1); }
  void TearDown() override { unsetenv(life_line_variable); }

  // What the watch says once it says something else than `before`, or after a while.
  State after(State before) {
    State state = before;
    for (int i = 0; i < 500 && state == before; ++i) {
      state = watch_.look();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return state;
  }

  // Connects and says this, as a stranger may.
  int say(const std::string& text) {
    const auto port = static_cast<std::uint16_t>(std::stoi(watch_.where().substr(watch_.where().find(':') + 1)));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    const int connection = socket(AF_INET, SOCK_STREAM, 0);
    EXPECT_EQ(connect(connection, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(send(connection, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
    return connection;
  }

  std::string token() const { return watch_.where().substr(watch_.where().rfind(':') + 1); }

  LifeLineWatch watch_{true, std::chrono::seconds(5)};
};

TEST_F(LifeLineTest, FromTheFirstWordToTheLast) {
  EXPECT_EQ(watch_.look(), State::waiting);
  {
    const LifeLine line;
    EXPECT_EQ(after(State::waiting), State::alive);
    std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    EXPECT_EQ(watch_.look(), State::alive);
    EXPECT_LT(watch_.silence(), std::chrono::seconds(1));
  }
  EXPECT_EQ(after(State::alive), State::ended);
}

TEST_F(LifeLineTest, TheLastWordIsTheStatus) {
  {
    LifeLine line;
    line.ends_with('e');
    EXPECT_EQ(after(State::waiting), State::alive);
    EXPECT_EQ(watch_.status(), std::nullopt);
  }
  EXPECT_EQ(after(State::alive), State::ended);
  EXPECT_EQ(watch_.status(), 'e');
}

TEST_F(LifeLineTest, TheStatusMayComeLaterThanTheEnd) {
  const int connection = say(token() + "\n..e");
  after(State::waiting);
  EXPECT_EQ(after(State::alive), State::ended);
  EXPECT_EQ(watch_.status(), std::nullopt);
  EXPECT_EQ(send(connection, "\3", 1, MSG_NOSIGNAL), 1);
  for (int i = 0; i < 500 && !watch_.status(); ++i, std::this_thread::sleep_for(std::chrono::milliseconds(10))) watch_.look();
  EXPECT_EQ(watch_.status(), 3);
  close(connection);
}

TEST_F(LifeLineTest, ABrokenConnectionIsALostJob) {
  const int connection = say(token() + "\n.");
  EXPECT_EQ(after(State::waiting), State::alive);
  close(connection);
  EXPECT_EQ(after(State::alive), State::lost);
}

TEST_F(LifeLineTest, StrangersAreNotHeard) {
  const int stranger = say("GET / HTTP/1.1\n");
  const int partial = say(token().substr(0, 3));
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(watch_.look(), State::waiting);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  const LifeLine line;
  EXPECT_EQ(after(State::waiting), State::alive);
  close(stranger);
  close(partial);
}

TEST_F(LifeLineTest, ALauncherThatCannotBeReachedIsAnError) {
  std::string where = watch_.where();
  const auto port = where.find(':') + 1;
  where.replace(port, where.find(':', port) - port, "1");
  setenv(life_line_variable, where.c_str(), 1);
  EXPECT_THROW(LifeLine(), CommunicationError);
}

TEST_F(LifeLineTest, ALauncherThatIsGoneEndsTheJob) {
  sigset_t termination, before;
  sigemptyset(&termination);
  sigaddset(&termination, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &termination, &before);
  const timespec patience{10, 0};
  {
    std::optional<LifeLineWatch> launcher(std::in_place, true, std::chrono::seconds(5));
    setenv(life_line_variable, launcher->where().c_str(), 1);
    const LifeLine line;
    while (launcher->look() == State::waiting) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    launcher.reset();
    EXPECT_EQ(sigtimedwait(&termination, nullptr, &patience), SIGTERM);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST_F(LifeLineTest, WithoutALauncherNothingHappens) {
  unsetenv(life_line_variable);
  const LifeLine line;
  EXPECT_EQ(watch_.look(), State::waiting);
}

}  // namespace
}  // namespace tally
