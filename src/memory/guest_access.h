// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Accesses to guest RAM through host pointers. Other vCPUs, devices and translated code touch the same bytes
/// at the same time; such races are the guest's own, with the outcomes that the processor's memory ordering
/// allows. So accesses of 1, 2, 4 and 8 bytes are one host access each (single-copy atomic where the guest's
/// are: Intel SDM 3A 9.1.1), and TSan, which looks for races of ours, does not look here.
#include <cstddef>
#include <cstring>

#include "base/types.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TRIUNE_GUEST_ACCESS __attribute__((no_sanitize("thread"), noinline))
#define TRIUNE_THREAD_SANITIZER
#endif
#endif
#ifndef TRIUNE_GUEST_ACCESS
#define TRIUNE_GUEST_ACCESS
#endif

namespace triune::memory {

template <class T>
struct __attribute__((packed, may_alias)) GuestValue {
    T value;
};

/// `p` may be misaligned; all bytes lie in one page.
template <class T>
TRIUNE_GUEST_ACCESS inline T load_guest(const void* p) {
    return static_cast<const volatile GuestValue<T>*>(p)->value;
}
template <class T>
TRIUNE_GUEST_ACCESS inline void store_guest(void* p, T v) {
    static_cast<volatile GuestValue<T>*>(p)->value = v;
}

/// memmove() with guest RAM on one side or both; not for moving up into an overlapping range.
TRIUNE_GUEST_ACCESS inline void copy_guest(void* to, const void* from, size_t size) {
#ifdef TRIUNE_THREAD_SANITIZER
    // SAFETY: as memmove(), which TSan's runtime would look at.
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
#else
    std::memmove(to, from, size);
#endif
}

/// memset() of guest RAM.
TRIUNE_GUEST_ACCESS inline void fill_guest(void* to, u8 value, size_t size) {
#ifdef TRIUNE_THREAD_SANITIZER
    asm volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(value) : "memory");  // SAFETY: as memset().
#else
    std::memset(to, value, size);
#endif
}

}  // namespace triune::memory
