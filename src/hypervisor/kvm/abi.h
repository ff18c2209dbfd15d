// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <cstring>
#include <vector>

#include "base/types.h"

/// Structures of the KVM API that end in an array, and the requests that carry their size. Linux' own
/// headers (6.0 and 6.1 among them) put an empty struct before such an array, which takes no room in C and
/// a byte in C++: size, offset and request number come out wrong. These are the C layouts.
namespace triune::hypervisor::kvm::abi {

/// What kvm_cpuid2, kvm_msrs and kvm_irq_routing begin with.
struct Header {
    u32 count, reserved;
};
static_assert(sizeof(Header) == 8);

inline constexpr unsigned long get_supported_cpuid = _IOWR(KVMIO, 0x05, Header);
inline constexpr unsigned long set_gsi_routing = _IOW(KVMIO, 0x6a, Header);
inline constexpr unsigned long get_msrs = _IOWR(KVMIO, 0x88, Header);
inline constexpr unsigned long set_msrs = _IOW(KVMIO, 0x89, Header);
inline constexpr unsigned long set_cpuid2 = _IOW(KVMIO, 0x90, Header);

struct Xsave {
    u32 region[1024];
};
inline constexpr unsigned long get_xsave = _IOR(KVMIO, 0xa4, Xsave);
inline constexpr unsigned long set_xsave = _IOW(KVMIO, 0xa5, Xsave);

/// kvm_stats_desc; the name follows.
struct StatsDescriptor {
    u32 flags;
    i16 exponent;
    u16 size;
    u32 offset, bucket_size;
};
static_assert(sizeof(StatsDescriptor) == 16);

/// A header and `count` entries behind it, as one of the requests above takes them.
template <class Entry>
class Table {
public:
    explicit Table(u32 count) : bytes_(sizeof(Header) + count * sizeof(Entry)) { header()->count = count; }
    explicit Table(const std::vector<Entry>& entries) : Table(static_cast<u32>(entries.size())) {
        if (!entries.empty())
            std::memcpy(bytes_.data() + sizeof(Header), entries.data(), entries.size() * sizeof(Entry));
    }

    Header* header() { return reinterpret_cast<Header*>(bytes_.data()); }
    /// The entries that the kernel left, at most those there was room for.
    std::vector<Entry> entries() {
        const size_t room = (bytes_.size() - sizeof(Header)) / sizeof(Entry);
        std::vector<Entry> all(header()->count < room ? header()->count : room);
        if (!all.empty()) std::memcpy(all.data(), bytes_.data() + sizeof(Header), all.size() * sizeof(Entry));
        return all;
    }

private:
    std::vector<u8> bytes_;
};

}  // namespace triune::hypervisor::kvm::abi
