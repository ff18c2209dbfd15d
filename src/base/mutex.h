// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Locks whose use clang checks (-Wthread-safety, in the build of `./dev sanitize`): what a lock guards says
/// so with GUARDED_BY, a function that wants it held says REQUIRES. Other compilers see plain locks.
///
///     base::Mutex mutex_;
///     int count_ GUARDED_BY(mutex_) = 0;
///     void grow_locked() REQUIRES(mutex_);
#include <condition_variable>
#include <mutex>

#ifdef __clang__
#define TRIUNE_THREAD_ATTRIBUTE(x) __attribute__((x))
#else
#define TRIUNE_THREAD_ATTRIBUTE(x)
#endif
#define CAPABILITY(name) TRIUNE_THREAD_ATTRIBUTE(capability(name))
#define SCOPED_CAPABILITY TRIUNE_THREAD_ATTRIBUTE(scoped_lockable)
#define GUARDED_BY(m) TRIUNE_THREAD_ATTRIBUTE(guarded_by(m))
#define REQUIRES(...) TRIUNE_THREAD_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define ACQUIRE(...) TRIUNE_THREAD_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define RELEASE(...) TRIUNE_THREAD_ATTRIBUTE(release_capability(__VA_ARGS__))
/// The function takes the lock itself: whoever holds it must not call.
#define EXCLUDES(...) TRIUNE_THREAD_ATTRIBUTE(locks_excluded(__VA_ARGS__))
/// For what the analysis cannot follow; a comment says why it is right.
#define NO_THREAD_SAFETY_ANALYSIS TRIUNE_THREAD_ATTRIBUTE(no_thread_safety_analysis)

namespace triune::base {

class CAPABILITY("mutex") Mutex {
public:
    void lock() ACQUIRE() { mutex_.lock(); }
    void unlock() RELEASE() { mutex_.unlock(); }

private:
    friend class ConditionVariable;
    std::mutex mutex_;
};

/// Holds a Mutex for its lifetime; may let go of it in between.
class SCOPED_CAPABILITY MutexLock {
public:
    explicit MutexLock(Mutex& m) ACQUIRE(m) : mutex_(m) { mutex_.lock(); }
    ~MutexLock() RELEASE() {
        if (held_) mutex_.unlock();
    }
    MutexLock(const MutexLock&) = delete;
    MutexLock& operator=(const MutexLock&) = delete;
    void lock() ACQUIRE() {
        mutex_.lock();
        held_ = true;
    }
    void unlock() RELEASE() {
        held_ = false;
        mutex_.unlock();
    }

private:
    Mutex& mutex_;
    bool held_ = true;
};

/// For what calls back into itself; prefer Mutex.
class CAPABILITY("mutex") RecursiveMutex {
public:
    void lock() ACQUIRE() { mutex_.lock(); }
    void unlock() RELEASE() { mutex_.unlock(); }

private:
    std::recursive_mutex mutex_;
};

/// Holds a RecursiveMutex for its lifetime.
class SCOPED_CAPABILITY RecursiveMutexLock {
public:
    explicit RecursiveMutexLock(RecursiveMutex& m) ACQUIRE(m) : mutex_(m) { mutex_.lock(); }
    ~RecursiveMutexLock() RELEASE() { mutex_.unlock(); }
    RecursiveMutexLock(const RecursiveMutexLock&) = delete;
    RecursiveMutexLock& operator=(const RecursiveMutexLock&) = delete;

private:
    RecursiveMutex& mutex_;
};

/// Waits belong in a loop that looks at the condition: the analysis does not see into a predicate.
class ConditionVariable {
public:
    void wait(Mutex& m) REQUIRES(m) {
        std::unique_lock lock(m.mutex_, std::adopt_lock);
        condition_.wait(lock);
        lock.release();
    }
    void notify_one() { condition_.notify_one(); }
    void notify_all() { condition_.notify_all(); }

private:
    std::condition_variable condition_;
};

}  // namespace triune::base
