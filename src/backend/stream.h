// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "backend/char_backend.h"
#include "base/fd.h"
#include "base/mutex.h"

namespace triune::backend {

/// Both directions of one descriptor on the event loop: input with flow control, output that never
/// blocks. What the terminal, socket and pty backends have in common.
///
/// Threads: write(), resume() from any; the rest of the work is done on the loop's thread. Lock
/// order: `input_mutex_` (held while the receiver runs), then the receiver's locks; `output_mutex_`
/// is a leaf.
class Stream : public std::enable_shared_from_this<Stream> {
public:
    /// Looks at input on its way to the receiver; may shorten or change it.
    using Filter = std::function<std::vector<u8>(std::span<const u8>)>;

    struct Options {
        int fd = -1;  ///< stays the caller's, until close() has returned
        bool reads = true;
        Filter filter;
        CharBackend::Input receiver;  ///< the first one, if it is known already
        /// The other end is gone. On the loop's thread, input_mutex_ held.
        std::function<void()> ended;
        size_t output_limit = 1 << 20;  ///< bytes; the newest are dropped beyond it
    };
    static std::shared_ptr<Stream> create(base::EventLoop& loop, Options options);
    ~Stream();

    void set_receiver(CharBackend::Input receiver);
    void resume();
    void write(std::span<const u8> bytes);
    /// Afterwards no callback is under way or to come, unless called from one.
    void close();

private:
    Stream(base::EventLoop& loop, Options options)
        : loop_(loop), o_(std::move(options)), receiver_(std::move(o_.receiver)) {}
    void post_pump();
    void pump(u32 events);
    void deliver_locked() REQUIRES(input_mutex_);
    void read_locked() REQUIRES(input_mutex_);
    void flush_output();
    void end_locked() REQUIRES(input_mutex_);
    void update_watch_locked() REQUIRES(input_mutex_);

    base::EventLoop& loop_;
    Options o_;
    bool pollable_ = true;  ///< false for regular files and /dev/null: always ready, unknown to epoll
    std::atomic<bool> pump_posted_{false};

    base::RecursiveMutex input_mutex_;
    CharBackend::Input receiver_ GUARDED_BY(input_mutex_);
    std::vector<u8> pending_
        GUARDED_BY(input_mutex_);  ///< read but not taken; reading pauses while there is any
    size_t pending_at_ GUARDED_BY(input_mutex_) = 0;
    bool closed_ GUARDED_BY(input_mutex_) = false;
    bool input_done_ GUARDED_BY(input_mutex_) = false;  ///< the peer sends no more, but may still listen
    bool ended_ GUARDED_BY(input_mutex_) = false;
    std::optional<u32> watched_ GUARDED_BY(input_mutex_);  ///< interest; none: not in the loop's set

    base::Mutex output_mutex_;
    std::deque<u8> output_ GUARDED_BY(output_mutex_);
    bool output_closed_ GUARDED_BY(output_mutex_) = false;
};

/// Makes a descriptor non-blocking. Not for descriptors that other processes share.
void set_nonblocking(int fd);

}  // namespace triune::backend
