// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>

#include "backend/char_backend.h"
#include "backend/stream.h"
#include "base/mutex.h"

namespace triune::backend {

namespace {

/// Output of the time without a client that the next one gets to see.
constexpr size_t backlog_limit = 64 << 10;

/// Threads: `mutex_` is taken after the stream's input lock, and no call into the stream that takes
/// that lock is made with it held.
class UnixChar final : public CharBackend {
public:
    UnixChar(base::EventLoop& loop, base::Fd listener, std::string path)
        : loop_(loop), listener_(std::move(listener)), path_(std::move(path)) {
        const base::MutexLock lock(mutex_);
        listen_locked();
    }

    ~UnixChar() override {
        std::shared_ptr<Stream> stream;
        {
            const base::MutexLock lock(mutex_);
            closing_ = true;
            stream = stream_;
        }
        loop_.unwatch(listener_.get());
        {
            const base::MutexLock lock(mutex_);
            if (!stream) stream = stream_;  // accepted just before the unwatch
        }
        if (stream) stream->close();
        ::unlink(path_.c_str());
    }

    void write(std::span<const u8> bytes) override {
        const base::MutexLock lock(mutex_);
        if (stream_) {
            stream_->write(bytes);
            return;
        }
        backlog_.insert(backlog_.end(), bytes.begin(), bytes.end());
        if (backlog_.size() > backlog_limit)
            backlog_.erase(backlog_.begin(),
                           backlog_.begin() + static_cast<std::ptrdiff_t>(backlog_.size() - backlog_limit));
    }

    void on_input(Input receiver) override {
        std::shared_ptr<Stream> stream;
        {
            const base::MutexLock lock(mutex_);
            receiver_ = receiver;
            stream = stream_;
        }
        if (stream) stream->set_receiver(std::move(receiver));
    }

    void resume_input() override {
        const base::MutexLock lock(mutex_);
        if (stream_) stream_->resume();
    }

private:
    void listen_locked() REQUIRES(mutex_) {
        if (!closing_) loop_.watch(listener_.get(), EPOLLIN, [this](u32) { accept_client(); });
    }

    void accept_client() {
        base::Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (!fd) return;
        const base::MutexLock lock(mutex_);
        if (closing_ || stream_) return;
        loop_.unwatch(listener_.get());  // the next client waits in the kernel's queue
        client_ = std::move(fd);
        stream_ = Stream::create(
            loop_, {.fd = client_.get(), .receiver = receiver_, .ended = [this] { client_gone(); }});
        const std::vector<u8> backlog(backlog_.begin(), backlog_.end());
        backlog_.clear();
        stream_->write(backlog);
    }

    void client_gone() {
        std::shared_ptr<Stream> stream;
        {
            const base::MutexLock lock(mutex_);
            stream = std::move(stream_);
        }
        if (stream) stream->close();
        const base::MutexLock lock(mutex_);
        client_.reset();
        listen_locked();
    }

    base::EventLoop& loop_;
    base::Fd listener_, client_;
    std::string path_;
    base::Mutex mutex_;
    std::shared_ptr<Stream> stream_ GUARDED_BY(mutex_);
    Input receiver_ GUARDED_BY(mutex_);
    std::deque<u8> backlog_ GUARDED_BY(mutex_);
    bool closing_ GUARDED_BY(mutex_) = false;
};

/// Removes a socket file that nobody listens on any more.
Result<void> clear_path(const std::string& path, const sockaddr_un& address) {
    struct stat st{};
    if (::lstat(path.c_str(), &st) != 0) return {};
    if (!S_ISSOCK(st.st_mode)) return fail(path + ": exists and is not a socket; choose another name");
    const base::Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int rc = ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    if (rc == 0 || errno != ECONNREFUSED) return fail(path + ": another program listens on this socket");
    if (::unlink(path.c_str()) != 0) return fail_errno(path);
    return {};
}

}  // namespace

Result<std::unique_ptr<CharBackend>> make_unix_char(base::EventLoop& loop, const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path)
        return fail(
            fmt::format("{}: a socket's path has 1 to {} characters", path, sizeof address.sun_path - 1));
    std::ranges::copy(path, address.sun_path);
    if (auto r = clear_path(path, address); !r) return std::unexpected(r.error());
    base::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return fail_errno(path);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return fail_errno(path);
    if (::listen(fd.get(), 4) != 0) {
        auto error = fail_errno(path);
        ::unlink(path.c_str());
        return error;
    }
    return std::make_unique<UnixChar>(loop, std::move(fd), path);
}

}  // namespace triune::backend
