// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "backend/char_backend.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "backend/escape_filter.h"
#include "base/fd.h"

namespace triune::backend {
namespace {

using namespace std::chrono_literals;

std::span<const u8> bytes(std::string_view s) { return {reinterpret_cast<const u8*>(s.data()), s.size()}; }

/// A loop on its own thread, and a receiver that takes `room` bytes and then says no.
struct CharTest : testing::Test {
    CharTest() : loop(base::EventLoop::create().value()), thread([this] { loop->run(); }) {
        std::string t = (std::filesystem::temp_directory_path() / "triune-char-XXXXXX").string();
        EXPECT_TRUE(::mkdtemp(t.data()));
        dir = t;
    }
    ~CharTest() override {
        backend.reset();
        loop->stop();
        thread.join();
        std::filesystem::remove_all(dir);
    }
    void receive_from(CharBackend& b) {
        b.on_input([this](std::span<const u8> in) {
            const std::scoped_lock lock(mutex);
            const size_t n = std::min(in.size(), room);
            room -= n;
            got.append(reinterpret_cast<const char*>(in.data()), n);
            return n;
        });
    }
    void give_room(size_t n) {
        {
            const std::scoped_lock lock(mutex);
            room = n;
        }
        backend->resume_input();
    }
    std::string received() {
        const std::scoped_lock lock(mutex);
        return got;
    }
    template <class F>
    bool eventually(F f) {
        for (int i = 0; i < 2000; ++i) {
            if (f()) return true;
            std::this_thread::sleep_for(1ms);
        }
        return false;
    }
    base::Fd connect(const std::string& path) {
        base::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_un a{};
        a.sun_family = AF_UNIX;
        std::copy(path.begin(), path.end(), a.sun_path);
        if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&a), sizeof a) != 0) fd.reset();
        return fd;
    }
    static std::string read_some(int fd, size_t wanted) {
        std::string s;
        while (s.size() < wanted) {
            pollfd p{.fd = fd, .events = POLLIN, .revents = 0};
            char c[256];
            if (::poll(&p, 1, 2000) <= 0) break;
            const ssize_t n = ::read(fd, c, std::min(sizeof c, wanted - s.size()));
            if (n <= 0) break;
            s.append(c, static_cast<size_t>(n));
        }
        return s;
    }
    static void send(int fd, std::string_view s) {
        ASSERT_EQ(::write(fd, s.data(), s.size()), static_cast<ssize_t>(s.size()));
    }

    std::unique_ptr<base::EventLoop> loop;
    std::thread thread;
    std::string dir;
    std::unique_ptr<CharBackend> backend;
    std::mutex mutex;
    std::string got;
    size_t room = 1 << 20;
};

TEST_F(CharTest, FileIsTruncatedAndWritten) {
    const std::string path = dir + "/log";
    std::ofstream(path) << "old contents";
    backend = make_file_char(path).value();
    backend->write(bytes("one"));
    backend->write(bytes(" two"));
    std::ifstream in(path);
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), "one two");
    const auto bad = make_file_char(dir + "/no/such");
    ASSERT_FALSE(bad);
    EXPECT_NE(bad.error().message.find("/no/such: No such file"), std::string::npos);
}

TEST_F(CharTest, UnixSocketBothWays) {
    const std::string path = dir + "/s";
    backend = make_unix_char(*loop, path).value();
    receive_from(*backend);
    backend->write(bytes("before; "));  // kept for the first client
    base::Fd client = connect(path);
    ASSERT_TRUE(client);
    EXPECT_EQ(read_some(client.get(), 8), "before; ");
    backend->write(bytes("hello"));
    EXPECT_EQ(read_some(client.get(), 5), "hello");
    send(client.get(), "typed");
    EXPECT_TRUE(eventually([&] { return received() == "typed"; }));
}

TEST_F(CharTest, UnixSocketFlowControlLosesNothing) {
    const std::string path = dir + "/s";
    backend = make_unix_char(*loop, path).value();
    receive_from(*backend);
    room = 3;
    std::string sent;
    {
        base::Fd client = connect(path);
        for (int i = 0; i < 3000; ++i) sent += static_cast<char>('a' + i % 23);
        send(client.get(), sent);
    }  // the client has already gone
    EXPECT_TRUE(eventually([&] { return received() == sent.substr(0, 3); }));
    for (size_t n = 3; n < sent.size(); n += 16) {
        give_room(16);
        ASSERT_TRUE(eventually([&] { return received().size() >= std::min(sent.size(), n + 16); })) << n;
    }
    EXPECT_EQ(received(), sent);
}

TEST_F(CharTest, UnixSocketClientsTakeTurns) {
    const std::string path = dir + "/s";
    backend = make_unix_char(*loop, path).value();
    receive_from(*backend);
    base::Fd first = connect(path), second = connect(path);
    send(first.get(), "1");
    send(second.get(), "2");
    EXPECT_TRUE(eventually([&] { return received() == "1"; }));
    std::this_thread::sleep_for(20ms);
    EXPECT_EQ(received(), "1") << "the second waits";
    first.reset();
    EXPECT_TRUE(eventually([&] { return received() == "12"; }));
    backend->write(bytes("to the second"));
    EXPECT_EQ(read_some(second.get(), 13), "to the second");
}

TEST_F(CharTest, UnixSocketHalfClosedClientStillHears) {
    const std::string path = dir + "/s";
    backend = make_unix_char(*loop, path).value();
    receive_from(*backend);
    base::Fd client = connect(path);
    send(client.get(), "ask");
    ::shutdown(client.get(), SHUT_WR);
    EXPECT_TRUE(eventually([&] { return received() == "ask"; }));
    std::this_thread::sleep_for(20ms);
    backend->write(bytes("answer"));
    EXPECT_EQ(read_some(client.get(), 6), "answer");
    client.reset();
    base::Fd next = connect(path);
    send(next.get(), "!");
    EXPECT_TRUE(eventually([&] { return received() == "ask!"; }));
}

TEST_F(CharTest, UnixSocketPathRules) {
    const std::string path = dir + "/s";
    std::ofstream(dir + "/plain") << "x";
    EXPECT_FALSE(make_unix_char(*loop, dir + "/plain"));
    EXPECT_FALSE(make_unix_char(*loop, std::string(200, 'a')));
    backend = make_unix_char(*loop, path).value();
    const auto twice = make_unix_char(*loop, path);
    ASSERT_FALSE(twice);
    EXPECT_NE(twice.error().message.find("another program"), std::string::npos);
    backend.reset();
    EXPECT_FALSE(std::filesystem::exists(path));
    {  // a stale file, as a killed program leaves it
        base::Fd s(::socket(AF_UNIX, SOCK_STREAM, 0));
        sockaddr_un a{};
        a.sun_family = AF_UNIX;
        std::copy(path.begin(), path.end(), a.sun_path);
        ASSERT_EQ(::bind(s.get(), reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
    }
    ASSERT_TRUE(std::filesystem::exists(path));
    EXPECT_TRUE(make_unix_char(*loop, path));
}

TEST_F(CharTest, OutputNobodyTakesDoesNotBlock) {
    const std::string path = dir + "/s";
    backend = make_unix_char(*loop, path).value();
    base::Fd client = connect(path);
    const std::string block(1 << 16, 'x');
    for (int i = 0; i < 64; ++i) backend->write(bytes(block));
    SUCCEED();
}

TEST_F(CharTest, PtyCarriesRawBytes) {
    testing::internal::CaptureStderr();
    backend = make_pty_char(*loop).value();
    const std::string said = testing::internal::GetCapturedStderr();
    const auto at = said.find("/dev/pts/");
    ASSERT_NE(at, std::string::npos) << said;
    const std::string name = said.substr(at, said.find('\n') - at);
    receive_from(*backend);
    for (int round = 0; round < 2; ++round) {  // a terminal program may leave and come back
        base::Fd terminal(::open(name.c_str(), O_RDWR | O_NOCTTY));
        ASSERT_TRUE(terminal);
        backend->write(bytes("login: \r\n"));
        EXPECT_EQ(read_some(terminal.get(), 9), "login: \r\n");
        send(terminal.get(), std::string_view("a\x03\n\0", 4));
        EXPECT_TRUE(eventually([&] { return received().size() == 4u * (round + 1); }));
    }
    EXPECT_EQ(received().substr(0, 4), std::string("a\x03\n\0", 4));
}

/// Puts `fd` in the place of standard input for a while.
struct StdinIs {
    explicit StdinIs(int fd) : saved(::dup(0)) { ::dup2(fd, 0); }
    ~StdinIs() { ::dup2(saved.get(), 0); }
    base::Fd saved;
};

TEST_F(CharTest, StdinPipeIsPassedOnUnchangedAndItsEndIsNoEvent) {
    int p[2];
    ASSERT_EQ(::pipe(p), 0);
    base::Fd from(p[0]), to(p[1]);
    const StdinIs stdin_is(from.get());
    bool quit = false;
    backend = make_stdio_char(*loop, {.quit = [&] { quit = true; }}).value();
    receive_from(*backend);
    send(to.get(), "\001xabc\n");
    to.reset();
    EXPECT_TRUE(eventually([&] { return received() == "\001xabc\n"; }));
    std::this_thread::sleep_for(20ms);
    EXPECT_FALSE(quit);
    backend.reset();
}

TEST_F(CharTest, StdinMayBeAFileOrNull) {
    std::ofstream(dir + "/in") << std::string(5000, 'z');
    {
        base::Fd in(::open((dir + "/in").c_str(), O_RDONLY));
        const StdinIs stdin_is(in.get());
        backend = make_stdio_char(*loop, {}).value();
        room = 100;
        receive_from(*backend);
        EXPECT_TRUE(eventually([&] { return received().size() == 100; }));
        give_room(10000);
        EXPECT_TRUE(eventually([&] { return received().size() == 5000; }));
        backend.reset();
    }
    base::Fd null(::open("/dev/null", O_RDONLY));
    const StdinIs stdin_is(null.get());
    backend = make_stdio_char(*loop, {}).value();
    receive_from(*backend);
    std::this_thread::sleep_for(20ms);
    EXPECT_EQ(received().size(), 5000u);
    backend.reset();
}

/// In a child whose controlling terminal is a pty of ours.
TEST_F(CharTest, TerminalIsRawAndRestoredOnEveryWayOut) {
    for (const bool abort_child : {false, true}) {
        base::Fd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
        ASSERT_TRUE(master);
        ASSERT_EQ(::grantpt(master.get()), 0);
        ASSERT_EQ(::unlockpt(master.get()), 0);
        const std::string name = ::ptsname(master.get());
        base::Fd slave(::open(name.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
        termios before{};
        ASSERT_EQ(::tcgetattr(slave.get(), &before), 0);
        const pid_t child = ::fork();
        if (child == 0) {
            ::setsid();
            const int tty = ::open(name.c_str(), O_RDWR);
            ::dup2(tty, 0);
            ::dup2(tty, 1);
            auto l = base::EventLoop::create().value();
            {
                auto b = make_stdio_char(*l, {.quit = [&] { l->stop(); }}).value();
                b->on_input([&](std::span<const u8> in) {
                    if (in[0] == 'A') ::abort();
                    b->write(in);
                    return in.size();
                });
                b->write(bytes("ready"));
                l->run();
                b->on_input({});
            }
            ::_exit(7);
        }
        EXPECT_EQ(read_some(master.get(), 5), "ready");
        termios during{};
        ASSERT_EQ(::tcgetattr(slave.get(), &during), 0);
        EXPECT_FALSE(during.c_lflag & (ICANON | ECHO | ISIG));
        send(master.get(), "\x03q\001\001");
        EXPECT_EQ(read_some(master.get(), 3), "\x03q\001");
        send(master.get(), abort_child ? "A" : "\001x");
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        if (abort_child)
            EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) << status;
        else
            EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
        termios after{};
        ASSERT_EQ(::tcgetattr(slave.get(), &after), 0);
        EXPECT_EQ(after.c_lflag, before.c_lflag);
        EXPECT_EQ(after.c_iflag, before.c_iflag);
    }
}

TEST(EscapeFilter, Commands) {
    int quits = 0, switches = 0, helps = 0;
    EscapeFilter filter(
        {.quit = [&] { ++quits; }, .switch_engine = [&] { ++switches; }, .help = [&] { ++helps; }});
    const auto run = [&](std::string_view s) {
        const auto v = filter(bytes(s));
        return std::string(v.begin(), v.end());
    };
    EXPECT_EQ(run("ab\001xc"), "abc");
    EXPECT_EQ(quits, 1);
    EXPECT_EQ(run("\001"), "");
    EXPECT_EQ(run("hx"), "x") << "the state survives between reads";
    EXPECT_EQ(helps, 1);
    EXPECT_EQ(run("\001\001x"), "\001x");
    EXPECT_EQ(run("\001zz"), "z");
    EXPECT_EQ(run("e\001ee"), "ee");
    EXPECT_EQ(switches, 1);
    EXPECT_EQ(quits, 1);
}

}  // namespace
}  // namespace triune::backend
