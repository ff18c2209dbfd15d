// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "backend/slirp_net.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <optional>
#include <random>
#include <thread>

#include "base/fd.h"

namespace triune::backend {
namespace {

using Frame = std::vector<u8>;
constexpr MacAddress guest_mac = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
constexpr u32 guest_ip = 0x0a00020f, gateway_ip = 0x0a000202;

u16 get16(const Frame& f, size_t at) { return static_cast<u16>(f[at] << 8 | f[at + 1]); }
u32 get32(const Frame& f, size_t at) { return u32{get16(f, at)} << 16 | get16(f, at + 2); }
void put16(Frame& f, size_t at, u32 v) { f[at] = static_cast<u8>(v >> 8), f[at + 1] = static_cast<u8>(v); }
void put32(Frame& f, size_t at, u32 v) { put16(f, at, v >> 16), put16(f, at + 2, v); }

u32 sum(const Frame& f, size_t from, size_t to) {
    u32 s = 0;
    for (size_t i = from; i < to; i++) s += i % 2 == from % 2 ? u32{f[i]} << 8 : f[i];
    return s;
}
u16 fold(u32 s) {
    while (s >> 16) s = (s & 0xffff) + (s >> 16);
    return static_cast<u16>(~s);
}

Frame ethernet(u16 type, size_t payload) {
    Frame f(14 + payload);
    std::fill_n(f.begin(), 6, 0xff);
    std::ranges::copy(guest_mac, f.begin() + 6);
    put16(f, 12, type);
    return f;
}
/// An IPv4 packet with `payload` bytes behind the 20 of its header; checksums are for seal().
Frame ipv4(u8 protocol, u32 from, u32 to, size_t payload) {
    Frame f = ethernet(0x0800, 20 + payload);
    f[14] = 0x45;
    put16(f, 16, static_cast<u32>(20 + payload));
    f[22] = 64;
    f[23] = protocol;
    put32(f, 26, from);
    put32(f, 30, to);
    return f;
}
/// Fills in the checksums of IP and of TCP or UDP, which is at `at` of the payload.
Frame seal(Frame f, size_t at) {
    put16(f, 24, fold(sum(f, 14, 34)));
    const u32 pseudo = sum(f, 26, 34) + f[23] + static_cast<u32>(f.size() - 34);
    put16(f, 34 + at, fold(pseudo + sum(f, 34, f.size())));
    return f;
}
Frame udp(u32 from, u32 to, u16 from_port, u16 to_port, const Frame& data) {
    Frame f = ipv4(17, from, to, 8 + data.size());
    put16(f, 34, from_port);
    put16(f, 36, to_port);
    put16(f, 38, static_cast<u32>(8 + data.size()));
    std::ranges::copy(data, f.begin() + 42);
    return seal(f, 6);
}
constexpr u8 fin = 1, syn = 2, push = 8, ack = 16;
Frame tcp(u16 from_port, u16 to_port, u32 seq, u32 acked, u8 flags, const std::string& data = "") {
    Frame f = ipv4(6, guest_ip, gateway_ip, 20 + data.size());
    put16(f, 34, from_port);
    put16(f, 36, to_port);
    put32(f, 38, seq);
    put32(f, 42, acked);
    f[46] = 0x50;
    f[47] = flags;
    put16(f, 48, 0xffff);
    std::ranges::copy(data, f.begin() + 54);
    return seal(f, 16);
}
Frame arp(u16 operation, u32 target) {
    Frame f = ethernet(0x0806, 28);
    put16(f, 14, 1);
    put16(f, 16, 0x0800);
    f[18] = 6, f[19] = 4;
    put16(f, 20, operation);
    std::ranges::copy(guest_mac, f.begin() + 22);
    put32(f, 28, guest_ip);
    put32(f, 38, target);
    return f;
}

/// A guest whose card has a queue each way.
class Guest final : public NetClient {
public:
    explicit Guest(NetBackend& n) : net_(n) { net_.attach(this); }
    ~Guest() override { net_.attach(nullptr); }
    void send(Frame f) {
        {
            const std::lock_guard lock(mutex_);
            out_.push_back(std::move(f));
        }
        net_.kick();
    }
    void set_open(bool open) {
        {
            const std::lock_guard lock(mutex_);
            open_ = open;
        }
        net_.kick();
    }
    /// The next frame for which `wanted` holds; others are dropped. Answers ARP meanwhile.
    std::optional<Frame> expect(const std::function<bool(const Frame&)>& wanted) {
        std::unique_lock lock(mutex_);
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        for (;;) {
            while (!in_.empty()) {
                Frame f = std::move(in_.front());
                in_.pop_front();
                if (wanted(f)) return f;
            }
            if (arrived_.wait_until(lock, end) == std::cv_status::timeout) return std::nullopt;
        }
    }
    int refused() {
        const std::lock_guard lock(mutex_);
        return refused_;
    }

private:
    void network_ready() override {
        std::unique_lock lock(mutex_);
        while (!out_.empty()) {
            const Frame f = std::move(out_.front());
            out_.pop_front();
            lock.unlock();
            net_.send(f);
            lock.lock();
        }
    }
    bool receive(std::span<const u8> frame) override {
        const std::lock_guard lock(mutex_);
        if (!open_) {
            refused_++;
            return false;
        }
        Frame f(frame.begin(), frame.end());
        if (get16(f, 12) == 0x0806 && get16(f, 20) == 1 && get32(f, 38) == guest_ip)
            out_.push_back(arp(2, get32(f, 28))), net_.kick();
        else
            in_.push_back(std::move(f));
        return true;
    }
    void receive_done() override { arrived_.notify_all(); }

    NetBackend& net_;
    std::mutex mutex_;
    std::condition_variable arrived_;
    std::deque<Frame> in_, out_;
    bool open_ = true;
    int refused_ = 0;
};

/// A socket bound to a free port of 127.0.0.1.
struct Socket {
    explicit Socket(int type) : fd(::socket(AF_INET, type | SOCK_CLOEXEC, 0)) {
        sockaddr_in a{};
        a.sin_family = AF_INET;
        a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t n = sizeof a;
        ok = ::bind(fd.get(), reinterpret_cast<sockaddr*>(&a), n) == 0 &&
             (type != SOCK_STREAM || ::listen(fd.get(), 4) == 0) &&
             ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&a), &n) == 0;
        port = ntohs(a.sin_port);
        const timeval limit{10, 0};
        setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    }
    base::Fd fd;
    u16 port = 0;
    bool ok = false;
};

class SlirpNetTest : public testing::Test {
protected:
    void SetUp() override {
        loop = std::move(*base::EventLoop::create());
        thread = std::thread([this] { loop->run(); });
    }
    void TearDown() override {
        guest.reset();
        net.reset();
        loop->stop();
        thread.join();
    }
    void start(const std::vector<PortForward>& forwards = {}) {
        auto n = make_slirp_net(*loop, forwards);
        ASSERT_TRUE(n) << n.error().message;
        net = std::move(*n);
        guest = std::make_unique<Guest>(*net);
        guest->send(arp(1, gateway_ip));
        ASSERT_TRUE(
            guest->expect([](const Frame& f) { return get16(f, 12) == 0x0806 && get16(f, 20) == 2; }));
    }
    /// The next TCP segment for `port` with all of `flags`.
    std::optional<Frame> segment(u16 port, u8 flags) {
        return guest->expect([=](const Frame& f) {
            return get16(f, 12) == 0x0800 && f[23] == 6 && get16(f, 36) == port && (f[47] & flags) == flags;
        });
    }

    std::unique_ptr<base::EventLoop> loop;
    std::thread thread;
    std::unique_ptr<NetBackend> net;
    std::unique_ptr<Guest> guest;
};

TEST_F(SlirpNetTest, DhcpOffersTheFirstAddress) {
    start();
    Frame request(244);
    request[0] = 1, request[1] = 1, request[2] = 6;
    put32(request, 4, 0xcafe0001);
    std::ranges::copy(guest_mac, request.begin() + 28);
    put32(request, 236, 0x63825363);
    request[240] = 53, request[241] = 1, request[242] = 1;  // DISCOVER
    request[243] = 255;
    guest->send(udp(0, 0xffffffff, 68, 67, request));
    const auto offer = guest->expect([](const Frame& f) {
        return get16(f, 12) == 0x0800 && f[23] == 17 && get16(f, 36) == 68 && f.size() > 42 + 243;
    });
    ASSERT_TRUE(offer);
    EXPECT_EQ(get32(*offer, 42 + 4), 0xcafe0001U);
    EXPECT_EQ(get32(*offer, 42 + 16), guest_ip);
    EXPECT_EQ((*offer)[42 + 240], 53);
    EXPECT_EQ((*offer)[42 + 242], 2) << "OFFER";
    EXPECT_EQ(get32(*offer, 26), gateway_ip);
}

TEST_F(SlirpNetTest, TcpToTheHost) {
    Socket server(SOCK_STREAM);
    ASSERT_TRUE(server.ok);
    start();
    guest->send(tcp(4000, server.port, 1000, 0, syn));
    const auto answer = segment(4000, syn | ack);
    ASSERT_TRUE(answer);
    EXPECT_EQ(get32(*answer, 42), 1001U);
    const u32 theirs = get32(*answer, 38) + 1;
    guest->send(tcp(4000, server.port, 1001, theirs, ack));
    guest->send(tcp(4000, server.port, 1001, theirs, ack | push, "question"));
    const base::Fd connection(::accept(server.fd.get(), nullptr, nullptr));
    ASSERT_TRUE(connection);
    char text[16] = {};
    ASSERT_EQ(::recv(connection.get(), text, 8, MSG_WAITALL), 8);
    EXPECT_STREQ(text, "question");
    ASSERT_EQ(::send(connection.get(), "answer", 6, 0), 6);
    const auto data = segment(4000, ack | push);
    ASSERT_TRUE(data);
    EXPECT_EQ(std::string(data->end() - 6, data->end()), "answer");
    // The guest hangs up.
    guest->send(tcp(4000, server.port, 1009, theirs + 6, fin | ack));
    EXPECT_EQ(::recv(connection.get(), text, 8, 0), 0);
}

TEST_F(SlirpNetTest, LargeSegmentsArriveWhole) {
    Socket server(SOCK_STREAM);
    start();
    guest->send(tcp(4002, server.port, 0, 0, syn));
    const auto answer = segment(4002, syn | ack);
    ASSERT_TRUE(answer);
    const u32 theirs = get32(*answer, 38) + 1;
    guest->send(tcp(4002, server.port, 1, theirs, ack));
    std::string text(50'000, 0);
    for (size_t i = 0; i < text.size(); i++) text[i] = static_cast<char>(i * 7 >> 3);
    ASSERT_TRUE(net->takes_large_segments());
    guest->send(tcp(4002, server.port, 1, theirs, ack | push, text));
    const base::Fd connection(::accept(server.fd.get(), nullptr, nullptr));
    std::string got(text.size(), 0);
    ASSERT_EQ(::recv(connection.get(), got.data(), got.size(), MSG_WAITALL),
              static_cast<ssize_t>(got.size()));
    EXPECT_TRUE(got == text);
}

TEST_F(SlirpNetTest, RefusedConnectionIsReset) {
    u16 port = 0;
    {
        const Socket gone(SOCK_STREAM);
        port = gone.port;
    }
    start();
    guest->send(tcp(4001, port, 1, 0, syn));
    EXPECT_TRUE(segment(4001, 4)) << "RST";
}

TEST_F(SlirpNetTest, ForwardsReachTheGuest) {
    u16 port = 0;
    {
        const Socket probe(SOCK_STREAM);
        port = probe.port;
    }
    start({{.host_port = port, .guest_port = 22}, {.udp = true, .host_port = port, .guest_port = 53}});
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.sin_port = htons(port);
    const base::Fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
    EXPECT_TRUE(segment(22, syn));

    const base::Fd sender(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::sendto(sender.get(), "hi", 2, 0, reinterpret_cast<sockaddr*>(&a), sizeof a), 2);
    const auto datagram = guest->expect(
        [](const Frame& f) { return get16(f, 12) == 0x0800 && f[23] == 17 && get16(f, 36) == 53; });
    ASSERT_TRUE(datagram);
    EXPECT_EQ((*datagram)[42], 'h');
}

TEST_F(SlirpNetTest, ForwardErrors) {
    const Socket taken(SOCK_STREAM);
    const auto error = [&](const PortForward& f) {
        const auto n = make_slirp_net(*loop, {f});
        return n ? std::string() : n.error().message;
    };
    EXPECT_NE(error({.host_port = taken.port, .guest_port = 22}).find("already taken"), std::string::npos);
    EXPECT_NE(
        error({.host_address = "localhost", .host_port = 1, .guest_port = 22}).find("not an IPv4 address"),
        std::string::npos);
    EXPECT_NE(error({.host_port = 1, .guest_address = "192.168.1.1", .guest_port = 22}).find("10.0.2.0/24"),
              std::string::npos);
    EXPECT_NE(error({.host_port = 1}).find("guest's port"), std::string::npos);
}

TEST_F(SlirpNetTest, SlowGuestLosesNothing) {
    Socket server(SOCK_DGRAM);
    ASSERT_TRUE(server.ok);
    start();
    guest->send(udp(guest_ip, gateway_ip, 5000, server.port, {1}));
    sockaddr_in from{};
    socklen_t n = sizeof from;
    char byte = 0;
    ASSERT_EQ(::recvfrom(server.fd.get(), &byte, 1, 0, reinterpret_cast<sockaddr*>(&from), &n), 1);
    guest->set_open(false);
    // More than the backlog takes; the socket's own buffer holds the rest until the guest is ready.
    for (u32 i = 0; i < 200; i++) {
        const u32 v = htonl(i);
        ASSERT_EQ(::sendto(server.fd.get(), &v, 4, 0, reinterpret_cast<sockaddr*>(&from), n), 4);
    }
    for (int i = 0; i < 1000 && guest->refused() == 0; i++)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_GT(guest->refused(), 0);
    guest->set_open(true);
    for (u32 i = 0; i < 200; i++) {
        const auto f =
            guest->expect([](const Frame& x) { return get16(x, 12) == 0x0800 && get16(x, 36) == 5000; });
        ASSERT_TRUE(f) << i;
        ASSERT_EQ(get32(*f, 42), i);
    }
}

TEST_F(SlirpNetTest, HostileFramesAreSurvived) {
    start();
    const Socket sink(SOCK_DGRAM);
    std::mt19937 random(12345);
    for (int i = 0; i < 3000; i++) {
        Frame f;
        switch (i % 4) {
            case 0: f = udp(guest_ip, gateway_ip, 1, sink.port, Frame(random() % 100)); break;
            case 1:
                f = tcp(static_cast<u16>(random() % 8), 1, random(), random(), static_cast<u8>(random()));
                break;
            case 2: f = arp(static_cast<u16>(random() % 3), gateway_ip); break;
            default: f.resize(random() % 2000);
        }
        for (unsigned k = random() % 4; k > 0 && !f.empty(); k--)
            f[random() % f.size()] = static_cast<u8>(random());
        if (f.size() > 34 && random() % 2) f.resize(random() % f.size());
        guest->send(std::move(f));
    }
    guest->send(Frame(70'000));
    guest->send(arp(1, 0x0a000203));
    EXPECT_TRUE(
        guest->expect([](const Frame& f) { return get16(f, 12) == 0x0806 && get32(f, 28) == 0x0a000203; }));
}

}  // namespace
}  // namespace triune::backend
