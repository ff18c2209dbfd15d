// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "gdb/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <semaphore>
#include <vector>

namespace triune::gdb {
namespace {

/// A client that lets this much pile up has stopped to read.
constexpr size_t most_output = 1 << 20;

Result<base::Fd> listen_tcp(const Address& a, const std::string& text) {
    base::Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return fail_errno("--gdb " + text);
    const int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(a.port);
    address.sin_addr.s_addr = htonl(a.ipv4);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(fd.get(), 4) != 0) {
        if (errno == EADDRINUSE)
            return fail("--gdb " + text + ": the port is in use; choose another one", EADDRINUSE);
        return fail_errno("--gdb " + text);
    }
    return fd;
}

Result<base::Fd> listen_unix(const Address& a, const std::string& text) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (a.path.size() >= sizeof address.sun_path)
        return fail("--gdb " + text + ": the path is too long for a socket");
    std::memcpy(address.sun_path, a.path.data(), a.path.size());
    const auto* const raw = reinterpret_cast<const sockaddr*>(&address);
    struct stat st{};
    if (::lstat(a.path.c_str(), &st) == 0) {
        if (!S_ISSOCK(st.st_mode))
            return fail("--gdb " + text + ": exists and is not a socket; choose another name");
        const base::Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        if (::connect(probe.get(), raw, sizeof address) == 0 || errno != ECONNREFUSED)
            return fail("--gdb " + text + ": another program listens on this socket");
        ::unlink(a.path.c_str());  // nobody does any more
    }
    base::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd || ::bind(fd.get(), raw, sizeof address) != 0 || ::listen(fd.get(), 4) != 0)
        return fail_errno("--gdb " + text);
    return fd;
}

}  // namespace

/// All on the loop's thread.
struct Server::Impl : std::enable_shared_from_this<Impl> {
    explicit Impl(base::EventLoop& l) : loop(l) {}

    void watch_listener();
    void accept_client();
    void client_event(u32 events);
    void read_client();
    void feed();
    void flush();
    void watch_client();
    void drop_client();
    void retire_session();
    void set_target(Target* t);
    void target_stopped(Target* t);
    void vm_ended();
    void shut_down();
    /// Runs f on the loop's thread and waits for it.
    void call(const std::function<void()>& f);

    base::EventLoop& loop;
    base::Fd listener, client;
    std::string path;
    Memory memory;
    Target* target = nullptr;
    std::unique_ptr<Session> session;
    std::vector<u8> in;  ///< from the client, not taken yet
    std::string out;
    bool ended = false;
};

Result<std::unique_ptr<Server>> Server::create(base::EventLoop& loop, const std::string& text, bool wait) {
    const auto address = parse_address(text);
    if (!address) return std::unexpected(address.error());
    auto fd = address->path.empty() ? listen_tcp(*address, text) : listen_unix(*address, text);
    if (!fd) return std::unexpected(fd.error());
    auto impl = std::make_shared<Impl>(loop);
    impl->listener = std::move(*fd);
    impl->path = address->path;
    impl->memory.started = !wait;
    impl->call([&] { impl->watch_listener(); });
    return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Server::~Server() {
    impl_->call([this] { impl_->shut_down(); });
}

void Server::set_target(Target* target) {
    impl_->call([this, target] { impl_->set_target(target); });
}

void Server::vm_ended() {
    impl_->call([this] { impl_->vm_ended(); });
}

void Server::Impl::call(const std::function<void()>& f) {
    std::binary_semaphore done{0};
    loop.post([&] {
        f();
        done.release();
    });
    done.acquire();
}

// -- clients --------------------------------------------------------------------------------------

void Server::Impl::watch_listener() {
    loop.watch(listener.get(), EPOLLIN, [weak = weak_from_this()](u32) {
        if (const auto self = weak.lock()) self->accept_client();
    });
}

void Server::Impl::accept_client() {
    if (session || ended) return;
    base::Fd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) return;
    loop.unwatch(listener.get());  // the next client waits in the kernel's queue
    const int on = 1;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    client = std::move(fd);
    in.clear();
    out.clear();
    session = std::make_unique<Session>(memory, [this](std::string_view bytes) { out += bytes; });
    session->set_target(target);
    watch_client();
}

void Server::Impl::watch_client() {
    if (!client) return;
    // Input that the session does not take yet is a reason to leave more in the kernel.
    const u32 events = (in.empty() ? u32{EPOLLIN} : 0) | (out.empty() ? 0 : u32{EPOLLOUT});
    loop.watch(client.get(), events, [weak = weak_from_this()](u32 e) {
        if (const auto self = weak.lock()) self->client_event(e);
    });
}

void Server::Impl::client_event(u32 events) {
    if (!client) return;
    if (events & EPOLLIN)
        read_client();
    else if (events & (EPOLLHUP | EPOLLERR))
        return drop_client();
    feed();
}

void Server::Impl::read_client() {
    std::array<u8, 4096> buffer;
    const ssize_t n = ::recv(client.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (n > 0) {
        in.insert(in.end(), buffer.begin(), buffer.begin() + n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        drop_client();
    }
}

/// Gives the session what has come, and the client what the session says.
void Server::Impl::feed() {
    while (session && client && !in.empty()) {
        const size_t n = session->receive(in);
        in.erase(in.begin(), in.begin() + static_cast<std::ptrdiff_t>(n));
        if (n == 0) break;
    }
    flush();
    if (session && client && session->finished()) drop_client();
    watch_client();
}

void Server::Impl::flush() {
    while (client && !out.empty()) {
        const ssize_t n = ::send(client.get(), out.data(), out.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN && out.size() < most_output) return;
        if (n < 0) return drop_client();
        out.erase(0, static_cast<size_t>(n));
    }
}

void Server::Impl::drop_client() {
    if (!client) return;
    loop.unwatch(client.get());
    client.reset();
    in.clear();
    out.clear();
    session->close();
    retire_session();
}

/// Once the session has let go of the VM, the next client may come.
void Server::Impl::retire_session() {
    if (!session || client || !session->done()) return;
    session.reset();
    if (!ended) watch_listener();
}

// -- the machine ----------------------------------------------------------------------------------

void Server::Impl::set_target(Target* t) {
    target = t;
    if (t)
        t->on_stopped([weak = weak_from_this(), t] {
            if (const auto self = weak.lock()) self->target_stopped(t);
        });
    if (session)
        session->set_target(t);
    else if (t && !memory.started)
        t->stop();
    retire_session();
}

void Server::Impl::target_stopped(Target* t) {
    if (t != target) return;
    if (!session) {
        if (memory.started) t->go();
        return;
    }
    session->stopped();
    retire_session();
    feed();
}

void Server::Impl::vm_ended() {
    target = nullptr;
    ended = true;
    loop.unwatch(listener.get());
    if (session) session->vm_ended();
    feed();
}

void Server::Impl::shut_down() {
    ended = true;
    loop.unwatch(listener.get());
    if (client) {
        loop.unwatch(client.get());
        client.reset();
    }
    session.reset();
    target = nullptr;
    if (!path.empty()) ::unlink(path.c_str());
}

}  // namespace triune::gdb
