// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "base/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <queue>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/fd.h"
#include "base/mutex.h"

namespace triune::base {

u64 monotonic_ns() {
    timespec t{};
    ::clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<u64>(t.tv_sec) * 1'000'000'000 + static_cast<u64>(t.tv_nsec);
}

namespace {

constexpr u64 never = ~u64{0};
/// epoll data of the loop's own descriptors; watches count up from first_watch.
constexpr u64 wake_id = 0, timer_id = 1, first_watch = 2;

struct Watch {
    int fd;
    EventLoop::FdHandler handler;
};

/// A timer may have several heap entries; only the one whose time equals `queued` counts. It is
/// never later than `deadline`, so an expired entry re-queues itself when the timer moved later.
struct TimerState {
    std::function<void()> expired;
    u64 deadline = never;
    u64 queued = never;
    bool dead = false;
};

struct HeapEntry {
    u64 when;
    std::shared_ptr<TimerState> timer;
    bool operator>(const HeapEntry& o) const { return when > o.when; }
};

}  // namespace

/// One mutex guards everything; handlers run without it. The timerfd is set from the arming
/// thread, so the loop's thread need not wake to learn of an earlier deadline.
struct EventLoop::Impl {
    Fd epoll, wake, timer;
    Mutex mutex;
    ConditionVariable idle;  ///< signalled whenever `current` becomes null
    std::unordered_map<u64, std::shared_ptr<Watch>> watches GUARDED_BY(mutex);
    std::unordered_map<int, u64> id_of_fd GUARDED_BY(mutex);
    u64 next_id GUARDED_BY(mutex) = first_watch;
    std::vector<std::function<void()>> posted GUARDED_BY(mutex);
    std::priority_queue<HeapEntry, std::vector<HeapEntry>, std::greater<>> heap GUARDED_BY(mutex);
    u64 host_armed GUARDED_BY(mutex) = never;         ///< what the timerfd is set to
    const void* current GUARDED_BY(mutex) = nullptr;  ///< Watch or TimerState whose handler is running
    std::thread::id thread GUARDED_BY(mutex);
    bool stopping GUARDED_BY(mutex) = false;

    [[nodiscard]] bool on_loop_thread() const REQUIRES(mutex) { return thread == std::this_thread::get_id(); }

    void wake_up() const {
        const u64 one = 1;
        // Fails only when the counter is full, and then the loop wakes anyway.
        [[maybe_unused]] const ssize_t n = ::write(wake.get(), &one, sizeof one);
    }

    /// Makes the timerfd fire at `when` or earlier.
    void set_host_timer(u64 when) REQUIRES(mutex) {
        if (when >= host_armed) return;
        host_armed = when;
        itimerspec spec{};
        spec.it_value.tv_sec = static_cast<time_t>(std::min<u64>(when / 1'000'000'000, 0x7fff'ffff'ffff));
        spec.it_value.tv_nsec = static_cast<long>(when % 1'000'000'000);
        if (when == 0) spec.it_value.tv_nsec = 1;  // zero would disarm
        ::timerfd_settime(timer.get(), TFD_TIMER_ABSTIME, &spec, nullptr);
    }

    void arm(const std::shared_ptr<TimerState>& t, u64 deadline) {
        const MutexLock lock(mutex);
        t->deadline = deadline;
        if (deadline == never || t->queued <= deadline) return;
        t->queued = deadline;
        heap.push({deadline, t});
        set_host_timer(deadline);
    }

    void disarm(const std::shared_ptr<TimerState>& t) {
        const MutexLock lock(mutex);
        t->deadline = never;
    }

    /// Waits until the handler of `object` is not running, unless this is it.
    void wait_for(const void* object) REQUIRES(mutex) {
        if (on_loop_thread()) return;
        while (current == object) idle.wait(mutex);
    }

    /// Calls `f` without the lock, `object` being what wait_for() may wait for.
    template <class F>
    void call(const void* object, F&& f) REQUIRES(mutex) {
        current = object;
        mutex.unlock();
        f();
        mutex.lock();
        current = nullptr;
        idle.notify_all();
    }

    void run_timers() REQUIRES(mutex) {
        // Timers that handlers arm for "now" wait for the next turn, so descriptors get theirs.
        const u64 now = monotonic_ns();
        while (!heap.empty() && heap.top().when <= now && !stopping) {
            const std::shared_ptr<TimerState> t = heap.top().timer;
            const u64 when = heap.top().when;
            heap.pop();
            if (t->dead || when != t->queued) continue;
            t->queued = never;
            if (t->deadline > now) {
                if (t->deadline != never) {
                    t->queued = t->deadline;
                    heap.push({t->deadline, t});
                }
                continue;
            }
            t->deadline = never;
            call(t.get(), [&] { t->expired(); });
        }
        // An entry of a timer that was disarmed or moved later may be what wakes us next; one idle
        // wake-up there is cheaper than a host call at every disarm.
        if (!heap.empty()) set_host_timer(heap.top().when);
    }

    void run_posted() REQUIRES(mutex) {
        std::vector<std::function<void()>> batch;
        batch.swap(posted);
        for (auto& f : batch) call(&batch, f);
    }

    void dispatch(u64 id, u32 events) REQUIRES(mutex) {
        if (id == wake_id || id == timer_id) {
            u64 count = 0;
            [[maybe_unused]] const ssize_t n =
                ::read(id == wake_id ? wake.get() : timer.get(), &count, sizeof count);
            // A concurrent arm() may have set the timerfd anew: then nothing was read and it stays set.
            if (id == timer_id && n == sizeof count) host_armed = never;
            return;
        }
        const auto it = watches.find(id);
        if (it == watches.end()) return;  // removed by an earlier handler of this turn
        const std::shared_ptr<Watch> w = it->second;
        call(w.get(), [&] { w->handler(events); });
    }
};

EventLoop::EventLoop() : impl_(std::make_unique<Impl>()) {}
EventLoop::~EventLoop() = default;

Result<std::unique_ptr<EventLoop>> EventLoop::create() {
    std::unique_ptr<EventLoop> loop(new EventLoop);
    Impl& i = *loop->impl_;
    i.epoll = Fd(::epoll_create1(EPOLL_CLOEXEC));
    if (!i.epoll) return fail_errno("event loop: epoll_create1");
    i.wake = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!i.wake) return fail_errno("event loop: eventfd");
    i.timer = Fd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    if (!i.timer) return fail_errno("event loop: timerfd_create");
    for (const auto& [fd, id] : {std::pair{i.wake.get(), wake_id}, std::pair{i.timer.get(), timer_id}}) {
        epoll_event e{};
        e.events = EPOLLIN;
        e.data.u64 = id;
        if (::epoll_ctl(i.epoll.get(), EPOLL_CTL_ADD, fd, &e) != 0)
            return fail_errno("event loop: epoll_ctl");
    }
    return loop;
}

void EventLoop::watch(int fd, u32 epoll_events, FdHandler handler) {
    const MutexLock lock(impl_->mutex);
    auto w = std::make_shared<Watch>(Watch{fd, std::move(handler)});
    const u64 id = impl_->next_id++;
    epoll_event e{};
    e.events = epoll_events;
    e.data.u64 = id;
    const auto old = impl_->id_of_fd.find(fd);
    const bool known = old != impl_->id_of_fd.end();
    int rc = ::epoll_ctl(impl_->epoll.get(), known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e);
    // Closed and reopened without unwatch(): the kernel has forgotten it, we have not.
    if (rc != 0 && known && errno == ENOENT) rc = ::epoll_ctl(impl_->epoll.get(), EPOLL_CTL_ADD, fd, &e);
    if (rc != 0) {
        // Not pollable (a regular file) or closed: the owner learns it the way it learns of errors.
        impl_->posted.push_back([w] { w->handler(EPOLLERR); });
        impl_->wake_up();
        return;
    }
    if (known) impl_->watches.erase(old->second);
    impl_->watches.emplace(id, std::move(w));
    impl_->id_of_fd[fd] = id;
}

void EventLoop::unwatch(int fd) {
    const MutexLock lock(impl_->mutex);
    const auto it = impl_->id_of_fd.find(fd);
    if (it == impl_->id_of_fd.end()) return;
    ::epoll_ctl(impl_->epoll.get(), EPOLL_CTL_DEL, fd, nullptr);
    const auto node = impl_->watches.extract(it->second);
    impl_->id_of_fd.erase(it);
    if (node) impl_->wait_for(node.mapped().get());
}

void EventLoop::post(std::function<void()> f) {
    const MutexLock lock(impl_->mutex);
    impl_->posted.push_back(std::move(f));
    if (impl_->posted.size() == 1 && !impl_->on_loop_thread()) impl_->wake_up();
}

namespace {

/// Forwards to the loop; `Loop` is EventLoop::Impl, which has no name out here.
template <class Loop>
class LoopTimer final : public EventLoop::Timer {
public:
    LoopTimer(Loop& loop, std::function<void()> expired)
        : loop_(loop), state_(std::make_shared<TimerState>()) {
        state_->expired = std::move(expired);
    }
    ~LoopTimer() override {
        const MutexLock lock(loop_.mutex);
        state_->dead = true;
        state_->deadline = never;
        loop_.wait_for(state_.get());
    }
    void arm(u64 deadline_ns) override { loop_.arm(state_, deadline_ns); }
    void disarm() override { loop_.disarm(state_); }

private:
    Loop& loop_;
    std::shared_ptr<TimerState> state_;
};

}  // namespace

std::unique_ptr<EventLoop::Timer> EventLoop::make_timer(std::function<void()> expired) {
    return std::make_unique<LoopTimer<Impl>>(*impl_, std::move(expired));
}

void EventLoop::run() {
    MutexLock lock(impl_->mutex);
    impl_->thread = std::this_thread::get_id();
    std::array<epoll_event, 32> events{};
    while (!impl_->stopping) {
        const int timeout = impl_->posted.empty() ? -1 : 0;
        lock.unlock();
        const int n =
            ::epoll_wait(impl_->epoll.get(), events.data(), static_cast<int>(events.size()), timeout);
        lock.lock();
        for (int k = 0; k < n && !impl_->stopping; ++k)
            impl_->dispatch(events[static_cast<size_t>(k)].data.u64, events[static_cast<size_t>(k)].events);
        impl_->run_timers();
        impl_->run_posted();
    }
    impl_->stopping = false;
    impl_->thread = {};
}

void EventLoop::stop() {
    const MutexLock lock(impl_->mutex);
    impl_->stopping = true;
    impl_->wake_up();
}

}  // namespace triune::base
