// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/kvm/stats.h"

#include <linux/kvm.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <string_view>

#include "hypervisor/kvm/abi.h"
#include "hypervisor/kvm/device.h"

namespace triune::hypervisor::kvm {
namespace {

using observe::Counter;

struct Name {
    std::string_view kernel;
    Counter counter;
};
// Linux arch/x86/kvm/x86.c, kvm_vcpu_stats_desc.
constexpr auto names = std::to_array<Name>({
    {"exits", Counter::kvm_exits},
    {"insn_emulation", Counter::kvm_emulated},
    {"pf_taken", Counter::kvm_page_faults},
    {"halt_exits", Counter::halts},
    {"irq_injections", Counter::interrupts},
    {"tlb_flush", Counter::tlb_flushes},
});

constexpr u32 max_name = 256, max_descriptors = 1024;

bool read_at(int fd, void* to, size_t bytes, off_t at) {
    return ::pread(fd, to, bytes, at) == static_cast<ssize_t>(bytes);
}

}  // namespace

KernelStats::KernelStats(int vcpu) : fd_(call(vcpu, KVM_GET_STATS_FD)) {
    kvm_stats_header header{};
    if (!fd_ || !read_at(fd_.get(), &header, sizeof header, 0)) return;
    if (header.name_size > max_name || header.num_desc > max_descriptors) return;
    std::vector<char> descriptor(sizeof(abi::StatsDescriptor) + header.name_size);
    for (u32 i = 0; i < header.num_desc; ++i) {
        const auto at = static_cast<off_t>(header.desc_offset + i * descriptor.size());
        if (!read_at(fd_.get(), descriptor.data(), descriptor.size(), at)) return;
        abi::StatsDescriptor d;
        std::memcpy(&d, descriptor.data(), sizeof d);
        const char* const text = descriptor.data() + sizeof d;
        const std::string_view name(text, ::strnlen(text, header.name_size));
        for (const Name& n : names)
            if (n.kernel == name && d.size == 1)
                items_.push_back({n.counter, static_cast<off_t>(header.data_offset + d.offset)});
    }
}

void KernelStats::read(observe::Counters& counters) const {
    for (const Item& item : items_) {
        u64 value = 0;
        if (read_at(fd_.get(), &value, sizeof value, item.offset))
            counters.value[static_cast<size_t>(item.counter)] = value;
    }
}

}  // namespace triune::hypervisor::kvm
