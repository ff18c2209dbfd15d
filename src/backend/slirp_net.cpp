// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "backend/slirp_net.h"

#include <arpa/inet.h>
#include <libslirp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <unordered_map>

#include "base/fd.h"
#include "base/mutex.h"

namespace triune::backend {
namespace {

/// Frames that wait for the guest. Above `slow_at` sockets are no longer read, so that the senders'
/// own flow control holds; what libslirp makes of its own accord is bounded by `drop_at`.
constexpr size_t slow_at = 128, drop_at = 1024;
constexpr u32 ethernet_frame = 1514;

in_addr ip(const char* s) {
    in_addr a{};
    inet_pton(AF_INET, s, &a);
    return a;
}

u32 to_epoll(int events) {
    return (events & SLIRP_POLL_IN ? EPOLLIN : 0U) | (events & SLIRP_POLL_OUT ? EPOLLOUT : 0U) |
           (events & SLIRP_POLL_PRI ? EPOLLPRI : 0U);
}
int from_epoll(u32 events) {
    return (events & EPOLLIN ? SLIRP_POLL_IN : 0) | (events & EPOLLOUT ? SLIRP_POLL_OUT : 0) |
           (events & EPOLLPRI ? SLIRP_POLL_PRI : 0) | (events & EPOLLERR ? SLIRP_POLL_ERR : 0) |
           (events & EPOLLHUP ? SLIRP_POLL_HUP : 0);
}

/// libslirp wants to be asked before each sleep which sockets matter (poll style). They are kept in
/// an epoll set of their own, which the event loop watches as one descriptor: one wake-up serves
/// all sockets that are ready, and only changes of interest cost a system call.
class SlirpNet final : public NetBackend {
public:
    explicit SlirpNet(base::EventLoop& loop) : loop_(loop) {}
    ~SlirpNet() override {
        if (set_) loop_.unwatch(set_.get());
        timer_.reset();
        if (slirp_) slirp_cleanup(slirp_);
    }

    Result<void> start(const std::vector<PortForward>& forwards);

    void attach(NetClient* client) override {
        const base::MutexLock lock(mutex_);
        client_ = client;
        backlog_.clear();  // that was for the former client
    }
    void kick() override {
        if (kicked_.exchange(true)) return;
        const u64 one = 1;
        // Fails only when the counter is full, and then the loop wakes anyway.
        [[maybe_unused]] const ssize_t n = write(kick_fd_.get(), &one, sizeof one);
    }
    void send(std::span<const u8> frame) override {
        slirp_input(slirp_, frame.data(), static_cast<int>(frame.size()));
    }
    u32 max_frame() const override { return ethernet_frame; }
    bool checksums_hold() const override {
        return true;
    }  // libslirp ends connections; it forwards no packets
    bool takes_large_segments() const override { return true; }  // they end in a socket's buffer anyhow

private:
    struct Timer {
        std::unique_ptr<base::EventLoop::Timer> timer;
    };
    /// One socket that libslirp asked to be polled; it knows it by its index.
    struct Poll {
        int fd;
        u32 wanted;
    };
    struct Watched {
        u32 events = 0;
        u64 round = 0;  ///< when it was last asked for
        int ready = 0;  ///< in SLIRP_POLL_ bits
    };

    static SlirpNet& self(void* opaque) { return *static_cast<SlirpNet*>(opaque); }
    // libslirp calls back with the lock held, as it was entered with it held.
    static ssize_t on_packet(const void* data, size_t size, void* opaque) NO_THREAD_SAFETY_ANALYSIS {
        self(opaque).packet({static_cast<const u8*>(data), size});
        return static_cast<ssize_t>(size);
    }
    static int on_add_poll(int fd, int events, void* opaque) NO_THREAD_SAFETY_ANALYSIS {
        return self(opaque).add_poll(fd, events);
    }
    static int on_get_events(int index, void* opaque) NO_THREAD_SAFETY_ANALYSIS {
        return self(opaque).ready_events(index);
    }
    void* new_timer(std::function<void()> expired);

    Result<void> forward(const PortForward& f);
    void wake();
    void timer_expired();
    void finish_round() REQUIRES(mutex_);
    void packet(std::span<const u8> frame) REQUIRES(mutex_);
    bool offer(std::span<const u8> frame) REQUIRES(mutex_);
    void drain_backlog() REQUIRES(mutex_);
    int add_poll(int fd, int events) REQUIRES(mutex_);
    int ready_events(int index) REQUIRES(mutex_);
    void poll_sockets() REQUIRES(mutex_);
    void update_interest() REQUIRES(mutex_);
    void forget(int fd) {
        if (watched_.erase(fd)) epoll_ctl(set_.get(), EPOLL_CTL_DEL, fd, nullptr);
    }

    base::EventLoop& loop_;
    base::Fd set_, kick_fd_;
    std::atomic<bool> kicked_{false};

    /// Held while libslirp or the client runs. kick() and send() do not take it.
    base::Mutex mutex_;
    NetClient* client_ GUARDED_BY(mutex_) = nullptr;
    Slirp* slirp_ = nullptr;
    std::unique_ptr<base::EventLoop::Timer> timer_;
    std::vector<Poll> polls_ GUARDED_BY(mutex_);
    std::unordered_map<int, Watched> watched_;
    u64 round_ = 0;
    std::deque<std::vector<u8>> backlog_ GUARDED_BY(mutex_);
    bool delivered_ = false;
    static const SlirpCb callbacks_;
};

// What the guest does wrong is its own affair, hence no message: it could fill the host's disk with them.
const SlirpCb SlirpNet::callbacks_ = {
    .send_packet = on_packet,
    .guest_error = [](const char*, void*) {},
    .clock_get_ns = [](void*) { return static_cast<int64_t>(base::monotonic_ns()); },
    .timer_new = [](SlirpTimerCb cb, void* cb_opaque,
                    void* opaque) { return self(opaque).new_timer([cb, cb_opaque] { cb(cb_opaque); }); },
    .timer_free = [](void* timer, void*) { delete static_cast<Timer*>(timer); },
    .timer_mod =
        [](void* timer, int64_t expire_ms, void*) {
            static_cast<Timer*>(timer)->timer->arm(static_cast<u64>(std::max<int64_t>(expire_ms, 0)) *
                                                   1'000'000);
        },
    .register_poll_fd = [](int fd, void* opaque) { self(opaque).forget(fd); },
    .unregister_poll_fd = [](int fd, void* opaque) { self(opaque).forget(fd); },
    .notify = [](void* opaque) { self(opaque).kick(); },
    .init_completed = nullptr,
    .timer_new_opaque =
        [](SlirpTimerId id, void* cb_opaque, void* opaque) {
            SlirpNet& net = self(opaque);
            return net.new_timer([&net, id, cb_opaque] { slirp_handle_timer(net.slirp_, id, cb_opaque); });
        },
};

Result<void> SlirpNet::start(const std::vector<PortForward>& forwards) {
    set_ = base::Fd(epoll_create1(EPOLL_CLOEXEC));
    kick_fd_ = base::Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!set_ || !kick_fd_) return fail_errno("user network");
    epoll_event e{.events = EPOLLIN, .data = {.fd = kick_fd_.get()}};
    if (epoll_ctl(set_.get(), EPOLL_CTL_ADD, kick_fd_.get(), &e) < 0) return fail_errno("user network");

    SlirpConfig c{};
    c.version = 4;
    c.in_enabled = true;
    c.vnetwork = ip("10.0.2.0");
    c.vnetmask = ip("255.255.255.0");
    c.vhost = ip("10.0.2.2");
    c.vdhcp_start = ip("10.0.2.15");
    c.vnameserver = ip("10.0.2.3");
    slirp_ = slirp_new(&c, &callbacks_, this);
    if (!slirp_) return fail("user network: libslirp cannot be started");
    for (const PortForward& f : forwards)
        if (auto r = forward(f); !r) return r;

    timer_ = loop_.make_timer([this] { timer_expired(); });
    {
        const base::MutexLock lock(mutex_);
        update_interest();
    }
    loop_.watch(set_.get(), EPOLLIN, [this](u32) { wake(); });
    return {};
}

Result<void> SlirpNet::forward(const PortForward& f) {
    const std::string host = f.host_address.empty() ? "127.0.0.1" : f.host_address;
    const std::string guest = f.guest_address.empty() ? "10.0.2.15" : f.guest_address;
    const std::string name = std::string("port forward ") + (f.udp ? "udp " : "tcp ") + host + ":" +
                             std::to_string(f.host_port) + " to " + guest + ":" +
                             std::to_string(f.guest_port);
    in_addr h{}, g{};
    if (inet_pton(AF_INET, host.c_str(), &h) != 1)
        return fail(name + ": \"" + host + "\" is not an IPv4 address", EINVAL);
    if (inet_pton(AF_INET, guest.c_str(), &g) != 1)
        return fail(name + ": \"" + guest + "\" is not an IPv4 address", EINVAL);
    if ((ntohl(g.s_addr) & 0xffff'ff00) != 0x0a00'0200)
        return fail(name + ": the guest's address must be in 10.0.2.0/24", EINVAL);
    if (f.guest_port == 0) return fail(name + ": the guest's port is missing", EINVAL);
    errno = 0;
    if (slirp_add_hostfwd(slirp_, f.udp, h, f.host_port, g, f.guest_port) == 0) return {};
    const int code = errno;
    if (code == EADDRINUSE)
        return fail(name + ": port " + std::to_string(f.host_port) + " of " + host +
                        " is already taken on this host: choose another",
                    code);
    if (code == EACCES)
        return fail(name + ": this user may not listen on port " + std::to_string(f.host_port) +
                        ": choose one above 1023",
                    code);
    return fail(name + ": " + (code ? std::strerror(code) : "refused"), code);
}

void* SlirpNet::new_timer(std::function<void()> expired) {
    auto t = std::make_unique<Timer>();
    t->timer = loop_.make_timer([this, expired = std::move(expired)] {
        const base::MutexLock lock(mutex_);
        expired();
        finish_round();
    });
    return t.release();
}

// The loop's thread ------------------------------------------------------------------------------------

void SlirpNet::wake() {
    const base::MutexLock lock(mutex_);
    bool kicked = false, sockets = false;
    std::array<epoll_event, 64> events;
    const int n = epoll_wait(set_.get(), events.data(), static_cast<int>(events.size()), 0);
    for (int i = 0; i < n; i++) {
        const epoll_event& e = events[static_cast<size_t>(i)];
        if (e.data.fd == kick_fd_.get()) {
            kicked = true;
        } else if (auto w = watched_.find(e.data.fd); w != watched_.end()) {
            w->second.ready = from_epoll(e.events);
            sockets = true;
        }
    }
    if (sockets) poll_sockets();
    if (kicked) {
        u64 count = 0;
        [[maybe_unused]] const ssize_t r = read(kick_fd_.get(), &count, sizeof count);
        kicked_ = false;  // before the client looks: a kick from here on counts again
        if (client_) client_->network_ready();
        drain_backlog();
    }
    finish_round();
}

void SlirpNet::timer_expired() {
    const base::MutexLock lock(mutex_);
    poll_sockets();
    finish_round();
}

void SlirpNet::finish_round() {
    if (delivered_ && client_) client_->receive_done();
    delivered_ = false;
    update_interest();
}

void SlirpNet::poll_sockets() {
    slirp_pollfds_poll(slirp_, 0, on_get_events, this);
    for (auto& [fd, w] : watched_) w.ready = 0;
}

int SlirpNet::ready_events(int index) {
    if (index < 0 || static_cast<size_t>(index) >= polls_.size()) return 0;
    const auto w = watched_.find(polls_[static_cast<size_t>(index)].fd);
    return w == watched_.end() ? 0 : w->second.ready;
}

int SlirpNet::add_poll(int fd, int events) {
    if (backlog_.size() >= slow_at) events &= ~SLIRP_POLL_IN;
    polls_.push_back({fd, to_epoll(events)});
    return static_cast<int>(polls_.size() - 1);
}

/// Asks libslirp what to wait for until the next round.
void SlirpNet::update_interest() {
    polls_.clear();
    u32 timeout_ms = ~u32{0};
    slirp_pollfds_fill(slirp_, &timeout_ms, on_add_poll, this);
    round_++;
    for (const Poll& p : polls_) {
        if (p.wanted == 0) continue;
        Watched& w = watched_[p.fd];
        w.round = round_;
        if (w.events == p.wanted) continue;
        epoll_event e{.events = p.wanted, .data = {.fd = p.fd}};
        if (epoll_ctl(set_.get(), EPOLL_CTL_MOD, p.fd, &e) < 0)
            epoll_ctl(set_.get(), EPOLL_CTL_ADD, p.fd, &e);
        w.events = p.wanted;
    }
    // Not merely without events: a socket that hung up would wake us for ever.
    for (auto w = watched_.begin(); w != watched_.end();) {
        if (w->second.round == round_) {
            ++w;
            continue;
        }
        epoll_ctl(set_.get(), EPOLL_CTL_DEL, w->first, nullptr);
        w = watched_.erase(w);
    }
    if (timeout_ms == ~u32{0})
        timer_->disarm();
    else
        timer_->arm(base::monotonic_ns() + u64{timeout_ms} * 1'000'000);
}

// Frames for the guest -----------------------------------------------------------------------------------

bool SlirpNet::offer(std::span<const u8> frame) {
    if (!client_) return true;  // nobody there: lost
    if (!client_->receive(frame)) return false;
    delivered_ = true;
    return true;
}

void SlirpNet::packet(std::span<const u8> frame) {
    if (backlog_.empty() && offer(frame)) return;
    if (backlog_.size() < drop_at) backlog_.emplace_back(frame.begin(), frame.end());
}

void SlirpNet::drain_backlog() {
    while (!backlog_.empty() && offer(backlog_.front())) backlog_.pop_front();
}

}  // namespace

Result<std::unique_ptr<NetBackend>> make_slirp_net(base::EventLoop& loop,
                                                   const std::vector<PortForward>& forwards) {
    auto net = std::make_unique<SlirpNet>(loop);
    if (auto r = net->start(forwards); !r) return std::unexpected(r.error());
    return net;
}

}  // namespace triune::backend
