// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <thread>

#include "base/mutex.h"

namespace triune::device {

/// A thread that runs `body` whenever it was kicked while enabled. Kicks during a run cause one more.
class VirtioWorker {
public:
    explicit VirtioWorker(std::function<void()> body) : body_(std::move(body)), thread_([this] { loop(); }) {}
    ~VirtioWorker() {
        {
            const base::MutexLock lock(mutex_);
            quit_ = true;
        }
        changed_.notify_all();
        thread_.join();
    }
    VirtioWorker(const VirtioWorker&) = delete;
    VirtioWorker& operator=(const VirtioWorker&) = delete;

    void enable() {
        const base::MutexLock lock(mutex_);
        enabled_ = true;
        kicked_ = false;
    }
    /// Waits for a run under way; none begins afterwards. Not from `body`.
    void disable() {
        const base::MutexLock lock(mutex_);
        enabled_ = false;
        while (busy_) changed_.wait(mutex_);
    }
    /// For long runs of `body`: false when somebody waits in disable() or for the end.
    [[nodiscard]] bool go_on() {
        const base::MutexLock lock(mutex_);
        return enabled_ && !quit_;
    }
    void kick() {
        {
            const base::MutexLock lock(mutex_);
            if (!enabled_ || kicked_) return;
            kicked_ = true;
            if (busy_) return;
        }
        changed_.notify_all();
    }

private:
    void loop() {
        base::MutexLock lock(mutex_);
        while (!quit_) {
            if (!enabled_ || !kicked_) {
                changed_.wait(mutex_);
                continue;
            }
            kicked_ = false;
            busy_ = true;
            lock.unlock();
            body_();
            lock.lock();
            busy_ = false;
            if (!enabled_) changed_.notify_all();
        }
    }

    std::function<void()> body_;
    base::Mutex mutex_;
    base::ConditionVariable changed_;
    bool enabled_ GUARDED_BY(mutex_) = false, kicked_ GUARDED_BY(mutex_) = false;
    bool busy_ GUARDED_BY(mutex_) = false, quit_ GUARDED_BY(mutex_) = false;
    std::thread thread_;  // last: it uses the others
};

}  // namespace triune::device
