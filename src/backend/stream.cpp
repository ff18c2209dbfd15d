// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "backend/stream.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace triune::backend {

namespace {

/// True when epoll can tell readiness of `fd`.
bool epoll_takes(int fd) {
    const base::Fd probe(::epoll_create1(EPOLL_CLOEXEC));
    epoll_event e{};
    return ::epoll_ctl(probe.get(), EPOLL_CTL_ADD, fd, &e) == 0 || errno != EPERM;
}

}  // namespace

void set_nonblocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK); }

std::shared_ptr<Stream> Stream::create(base::EventLoop& loop, Options options) {
    std::shared_ptr<Stream> s(new Stream(loop, std::move(options)));
    s->pollable_ = epoll_takes(s->o_.fd);
    s->post_pump();
    return s;
}

Stream::~Stream() = default;

void Stream::set_receiver(CharBackend::Input receiver) {
    {
        const base::RecursiveMutexLock lock(input_mutex_);
        receiver_ = std::move(receiver);
    }
    post_pump();
}

void Stream::resume() { post_pump(); }

void Stream::post_pump() {
    // The stream may be gone when the loop gets there.
    if (!pump_posted_.exchange(true))
        loop_.post([weak = weak_from_this()] {
            if (const auto s = weak.lock()) {
                s->pump_posted_ = false;
                s->pump(0);
            }
        });
}

void Stream::pump(u32 events) {
    const auto self = shared_from_this();  // `ended` may drop the owner's reference
    flush_output();
    const base::RecursiveMutexLock lock(input_mutex_);
    if (closed_) return;
    deliver_locked();
    const bool reading = o_.reads && receiver_ && !input_done_;
    const bool hung_up = events & (EPOLLHUP | EPOLLERR);
    if (reading && pending_.empty() && !ended_ && ((events & EPOLLIN) || hung_up || !pollable_))
        read_locked();
    else if (hung_up && !reading && !ended_)
        end_locked();
    if (!closed_) update_watch_locked();
}

void Stream::deliver_locked() {
    while (receiver_ && !closed_ && pending_at_ < pending_.size()) {
        const size_t n = receiver_(std::span(pending_).subspan(pending_at_));
        if (n == 0) return;
        pending_at_ += std::min(n, pending_.size() - pending_at_);
    }
    if (pending_at_ == pending_.size()) {
        pending_.clear();
        pending_at_ = 0;
    }
}

void Stream::read_locked() {
    std::array<u8, 1024> buffer;
    const ssize_t n = ::read(o_.fd, buffer.data(), buffer.size());
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        input_done_ = true;
        pollfd p{.fd = o_.fd, .events = 0, .revents = 0};
        if (n < 0 || ::poll(&p, 1, 0) != 0) end_locked();
        return;
    }
    const std::span<const u8> bytes(buffer.data(), static_cast<size_t>(n));
    pending_ = o_.filter ? o_.filter(bytes) : std::vector<u8>(bytes.begin(), bytes.end());
    pending_at_ = 0;
    deliver_locked();
    if (!pollable_ && pending_.empty()) post_pump();
}

void Stream::end_locked() {
    ended_ = true;
    if (o_.ended) o_.ended();
}

void Stream::update_watch_locked() {
    // Without interest the descriptor is not watched at all, since epoll would report a hang-up
    // for ever; after the end of input that hang-up is what we wait for.
    std::optional<u32> wanted;
    if (pollable_ && !ended_) {
        if (input_done_)
            wanted = 0;
        else if (o_.reads && receiver_ && pending_.empty())
            wanted = EPOLLIN;
        const base::MutexLock lock(output_mutex_);
        if (!output_.empty()) wanted = wanted.value_or(0) | EPOLLOUT;
    }
    if (wanted == watched_) return;
    watched_ = wanted;
    if (!wanted) {
        loop_.unwatch(o_.fd);
        return;
    }
    loop_.watch(o_.fd, *wanted, [weak = weak_from_this()](u32 e) {
        if (const auto s = weak.lock()) s->pump(e);
    });
}

void Stream::write(std::span<const u8> bytes) {
    {
        const base::MutexLock lock(output_mutex_);
        const size_t room = o_.output_limit - std::min(o_.output_limit, output_.size());
        const auto fits = bytes.first(std::min(bytes.size(), room));
        output_.insert(output_.end(), fits.begin(), fits.end());
    }
    flush_output();
    const base::MutexLock lock(output_mutex_);
    if (!output_.empty()) post_pump();  // to ask for EPOLLOUT
}

void Stream::flush_output() {
    const base::MutexLock lock(output_mutex_);
    while (!output_.empty() && !output_closed_) {
        std::array<u8, 4096> chunk;
        const size_t size = std::min(chunk.size(), output_.size());
        std::copy_n(output_.begin(), size, chunk.begin());
        ssize_t n = ::send(o_.fd, chunk.data(), size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == ENOTSOCK) n = ::write(o_.fd, chunk.data(), size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) {  // nobody is there; reading will notice the end
            output_.clear();
            return;
        }
        output_.erase(output_.begin(), output_.begin() + n);
    }
}

void Stream::close() {
    {
        const base::RecursiveMutexLock lock(input_mutex_);
        closed_ = true;
        receiver_ = {};
        const base::MutexLock output_lock(output_mutex_);
        output_closed_ = true;  // the descriptor's number may soon mean something else
    }
    // Without the lock: a handler under way, which unwatch() waits for, takes it.
    loop_.unwatch(o_.fd);
}

}  // namespace triune::backend
