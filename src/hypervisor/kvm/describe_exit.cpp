// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/kvm/describe_exit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace triune::hypervisor::kvm {
namespace {

std::string registers(const x86::VcpuState& s) {
    std::string text = fmt::format("rip {:016x} rflags {:08x} cpl {}\n", s.rip, s.rflags, s.cpl());
    static constexpr std::array<const char*, 16> names = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
                                                          "rsi", "rdi", "r8",  "r9",  "r10", "r11",
                                                          "r12", "r13", "r14", "r15"};
    for (size_t i = 0; i < names.size(); ++i)
        text += fmt::format("{:>3} {:016x}{}", names[i], s.gpr[i], i % 4 == 3 ? '\n' : ' ');
    static constexpr std::array<const char*, 6> segments = {"es", "cs", "ss", "ds", "fs", "gs"};
    for (size_t i = 0; i < segments.size(); ++i)
        text += fmt::format("{} {:04x} base {:x} limit {:x} attr {:05x}\n", segments[i], s.seg[i].selector,
                            s.seg[i].base, s.seg[i].limit, s.seg[i].attr);
    text +=
        fmt::format("gdt {:x}+{:x} idt {:x}+{:x} cr0 {:x} cr2 {:x} cr3 {:x} cr4 {:x} efer {:x}", s.gdtr.base,
                    s.gdtr.limit, s.idtr.base, s.idtr.limit, s.cr0, s.cr2, s.cr3, s.cr4, s.efer);
    return text;
}

std::string instruction_bytes(const kvm_run& run) {
    const auto& e = run.emulation_failure;
    if (run.internal.ndata < 4 || !(e.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)) return {};
    std::string text = ": instruction";
    for (unsigned i = 0; i < std::min<unsigned>(e.insn_size, sizeof e.insn_bytes); ++i)
        text += fmt::format(" {:02x}", e.insn_bytes[i]);
    return text;
}

std::string internal_error(const kvm_run& run) {
    switch (run.internal.suberror) {
        case KVM_INTERNAL_ERROR_EMULATION:
            return "KVM cannot emulate an instruction of the guest" + instruction_bytes(run) +
                   " (a host whose KVM emulates kernel code in software cannot run this guest: --engine bt "
                   "can)";
        case KVM_INTERNAL_ERROR_SIMUL_EX: return "KVM: an exception came while another was being delivered";
        case KVM_INTERNAL_ERROR_DELIVERY_EV:
            return "KVM: an unexpected exit while an event was being delivered";
        case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON: return "KVM: an exit that it does not know";
        default: break;
    }
    std::string text = fmt::format("KVM: internal error {}", run.internal.suberror);
    for (u32 i = 0; i < std::min<u32>(run.internal.ndata, 16); ++i)
        text += fmt::format(" {:x}", run.internal.data[i]);
    return text;
}

std::string first_line(const kvm_run& run) {
    switch (run.exit_reason) {
        case KVM_EXIT_INTERNAL_ERROR: return internal_error(run);
        case KVM_EXIT_FAIL_ENTRY:
            return fmt::format("KVM: the processor refuses to enter the guest, hardware reason {:#x}",
                               run.fail_entry.hardware_entry_failure_reason);
        case KVM_EXIT_UNKNOWN:
            return fmt::format("KVM: an unknown hardware exit, reason {:#x}", run.hw.hardware_exit_reason);
        case KVM_EXIT_SYSTEM_EVENT: return fmt::format("KVM: system event {}", run.system_event.type);
        default: return fmt::format("KVM: exit reason {}, which nothing here asked for", run.exit_reason);
    }
}

}  // namespace

std::string describe_exit(const kvm_run& run, const x86::VcpuState& state) {
    return first_line(run) + "\n" + registers(state);
}

std::string describe_failure(int code, const kvm_run& run) {
    if (code == EFAULT)
        return fmt::format(
            "KVM_RUN: {} (exit reason {}): guest memory cannot be reached; is the host out of memory?",
            std::strerror(code), run.exit_reason);
    return fmt::format("KVM_RUN: {}", std::strerror(code));
}

std::string describe_shutdown(const x86::VcpuState& state) {
    return "KVM does not tell which exceptions led there, and AMD-V resets the vCPU; its state now:\n" +
           registers(state);
}

}  // namespace triune::hypervisor::kvm
