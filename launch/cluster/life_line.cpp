#include "launch/cluster/life_line.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <random>
#include <sstream>
#include <string_view>
#include <utility>

#include "core/error.hpp"
#include "core/last_words.hpp"

namespace tally {
namespace {

constexpr char beat_byte = '.', end_byte = 'e';  // the exit status is the byte after the end
constexpr int connect_patience_ms = 5000;

// The addresses at which other hosts may reach this one.
std::string addresses(bool local) {
  std::string text;
  ifaddrs* all = nullptr;
  if (!local && getifaddrs(&all) == 0) {
    for (const ifaddrs* each = all; each; each = each->ifa_next) {
      if (!each->ifa_addr || each->ifa_addr->sa_family != AF_INET) continue;
      const auto& address = reinterpret_cast<const sockaddr_in*>(each->ifa_addr)->sin_addr;
      std::array<char, INET_ADDRSTRLEN> name{};
      if (ntohl(address.s_addr) >> 24 == 127 || !inet_ntop(AF_INET, &address, name.data(), name.size())) continue;
      text += (text.empty() ? "" : ",") + std::string(name.data());
    }
    freeifaddrs(all);
  }
  return text.empty() ? "127.0.0.1" : text;
}

std::string random_token() {
  std::random_device device;
  std::string token;
  for (int i = 0; i < 4; ++i) token += std::to_string(device());
  return token;
}

sockaddr_in address_of(const std::string& name, std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  inet_pton(AF_INET, name.c_str(), &address.sin_addr);
  return address;
}

// A connection, or -1.
int connect_to(const std::string& name, std::uint16_t port) {
  const int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (connection < 0) return -1;
  const sockaddr_in address = address_of(name, port);
  int error = connect(connection, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
  if (error == EINPROGRESS) {
    pollfd waiting{connection, POLLOUT, 0};
    socklen_t size = sizeof error;
    if (poll(&waiting, 1, connect_patience_ms) != 1 ||
        getsockopt(connection, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
      error = ETIMEDOUT;
  }
  if (error == 0) return connection;
  close(connection);
  return -1;
}

bool send_all(int connection, const std::string& text) {
  return send(connection, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT) == static_cast<ssize_t>(text.size());
}

// Whether the connection still stands: a launcher that is stopped takes nothing more at some time.
bool beat(int connection) {
  return send_all(connection, std::string(1, beat_byte)) || errno == EAGAIN || errno == EWOULDBLOCK;
}

template <class Number>
Number number_in(const std::string& text) {
  Number value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace

LifeLineWatch::LifeLineWatch(bool local, std::chrono::seconds patience)
    : token_(random_token()), last_(std::chrono::steady_clock::now()) {
  listening_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_in address = address_of(local ? "127.0.0.1" : "0.0.0.0", 0);
  socklen_t size = sizeof address;
  if (listening_ < 0 || bind(listening_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      listen(listening_, 8) != 0 || getsockname(listening_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    const std::string why = std::strerror(errno);
    if (listening_ >= 0) close(listening_);
    throw CommunicationError("no port to listen at for the job's signs of life: " + why);
  }
  where_ = addresses(local) + ":" + std::to_string(ntohs(address.sin_port)) + ":" + std::to_string(patience.count()) + ":" + token_;
}

LifeLineWatch::~LifeLineWatch() {
  for (const Newcomer& newcomer : newcomers_) close(newcomer.connection);
  if (connection_ >= 0) close(connection_);
  close(listening_);
}

// Of those who connect, the job is the one who knows the token.
void LifeLineWatch::meet_newcomers() {
  for (int connection; (connection = accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0;)
    newcomers_.push_back({connection, ""});
  const std::string expected = token_ + '\n';
  std::array<char, 256> bytes{};
  for (Newcomer& newcomer : newcomers_) {
    const ssize_t count = recv(newcomer.connection, bytes.data(), expected.size() - newcomer.said.size(), 0);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) continue;
    if (count > 0) newcomer.said.append(bytes.data(), static_cast<std::size_t>(count));
    if (newcomer.said == expected && connection_ < 0) {
      connection_ = std::exchange(newcomer.connection, -1);
      last_ = std::chrono::steady_clock::now();
      state_ = State::alive;
    } else if (count <= 0 || !expected.starts_with(newcomer.said)) {
      close(std::exchange(newcomer.connection, -1));
    }
  }
  std::erase_if(newcomers_, [](const Newcomer& newcomer) { return newcomer.connection < 0; });
}

LifeLineWatch::State LifeLineWatch::look() {
  if (state_ == State::waiting) meet_newcomers();
  std::array<char, 256> bytes{};
  while (connection_ >= 0) {
    const ssize_t count = recv(connection_, bytes.data(), bytes.size(), 0);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) break;
    if (count <= 0) {
      close(std::exchange(connection_, -1));
      if (state_ == State::alive) state_ = State::lost;
      break;
    }
    last_ = std::chrono::steady_clock::now();
    for (const char byte : std::string_view(bytes.data(), static_cast<std::size_t>(count))) {
      if (state_ == State::ended && !status_) status_ = static_cast<unsigned char>(byte);
      if (byte == end_byte) state_ = State::ended;
    }
  }
  return state_;
}

std::chrono::steady_clock::duration LifeLineWatch::silence() const { return std::chrono::steady_clock::now() - last_; }

LifeLine::LifeLine() {
  const char* const where = std::getenv(life_line_variable);
  if (!where) return;
  std::istringstream parts(where);
  std::string names, port, seconds, token;
  for (std::string* part : {&names, &port, &seconds}) std::getline(parts, *part, ':');
  std::getline(parts, token);
  std::istringstream list(names);
  for (std::string name; connection_ < 0 && std::getline(list, name, ',');)
    connection_ = connect_to(name, number_in<std::uint16_t>(port));
  if (connection_ < 0 || !send_all(connection_, token + "\n")) {
    if (connection_ >= 0) close(connection_);
    throw CommunicationError("rank 0 cannot reach the launcher at " + names + ", which would take the job for dead: is a firewall "
                             "between them? Run tally launch on a host of the job");
  }
  const unsigned milliseconds = 1000 * number_in<unsigned>(seconds);
  setsockopt(connection_, IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, sizeof milliseconds);
  beat_ = std::jthread([connection = connection_](const std::stop_token& stopping) {
    std::mutex mutex;
    std::condition_variable_any wake;
    std::unique_lock lock(mutex);
    while (!wake.wait_for(lock, stopping, std::chrono::seconds(1), [&] { return stopping.stop_requested(); })) {
      if (beat(connection)) continue;
      last_words("tally: error: rank 0 has lost the launcher, which takes the job for dead: it ends\n");
      kill(getpid(), SIGTERM);
      return;
    }
  });
}

LifeLine::~LifeLine() {
  if (connection_ < 0) return;
  if (beat_.joinable()) {
    beat_.request_stop();
    beat_.join();
  }
  send_all(connection_, {end_byte, static_cast<char>(status_)});
  close(connection_);
}

}  // namespace tally
