// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <iterator>

#include "hypervisor/describe.h"
#include "hypervisor/soft/system/detail.h"

namespace triune::hypervisor::soft::system {
namespace {

constexpr std::array<std::string_view, 20> vector_names = {
    "#DE", "#DB", "NMI", "#BP", "#OF", "#BR",       "#UD", "#NM", "#DF", "vector 9",
    "#TS", "#NP", "#SS", "#GP", "#PF", "vector 15", "#MF", "#AC", "#MC", "#XM"};

std::string name_of(u8 vector) {
    return vector < vector_names.size() ? std::string(vector_names[vector])
                                        : fmt::format("vector {}", vector);
}

}  // namespace

std::string System::report() const {
    const VcpuState& st = vcpu_.state;
    std::string out = fmt::format("vCPU {}: ", vcpu_.index) + describe_registers(st);
    const auto to = std::back_inserter(out);
    if (vcpu_.memory) out += describe_code(st, *vcpu_.memory);
    const unsigned kept =
        recent_count_ < recent_.size() ? recent_count_ : static_cast<unsigned>(recent_.size());
    if (kept) fmt::format_to(to, "last exceptions, oldest first:\n");
    for (unsigned i = recent_count_ - kept; i != recent_count_; ++i) {
        const Recent& r = recent_[i % recent_.size()];
        fmt::format_to(to, "  {:<4} error {:04x} at RIP {:016x}", name_of(r.vector), r.error, r.rip);
        if (r.vector == x86::vec::pf) fmt::format_to(to, ", address {:016x}", r.cr2);
        out += '\n';
    }
    // Where the chain of faults began at a page that is missing, its page tables say why. Else those
    // of the code.
    if (vcpu_.memory && (st.cr0 & x86::cr0::pg)) {
        Gva gva = code_address(st);
        for (unsigned i = recent_count_ - kept; i != recent_count_; ++i)
            if (const Recent& r = recent_[i % recent_.size()]; r.vector == x86::vec::pf) gva = r.cr2;
        out += describe_walk(st, *vcpu_.memory, gva);
    }
    return out;
}

}  // namespace triune::hypervisor::soft::system
