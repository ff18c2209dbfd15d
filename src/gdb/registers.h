// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/types.h"
#include "x86/vcpu_state.h"

namespace triune::gdb {

/// One register as GDB knows it.
struct Register {
    enum class Kind : u8 {
        gpr,
        rip,
        rflags,
        selector,
        x87,
        x87_control,
        xmm,
        mxcsr,
        ymm_high,
        segment_base,
        kernel_gs_base,
        cr,
        dr,
        efer,
        xcr0,
        gdtr_base,
        gdtr_limit,
        idtr_base,
        idtr_limit,
        ldtr,
        tr,
        tr_base,
    };
    std::string name;
    Kind kind = Kind::gpr;
    u8 index = 0;  ///< among those of its kind
    u8 bytes = 8;
    std::string type, feature;
    const char* group = nullptr;
};

/// The registers of a target, numbered from 0, and the XML that tells GDB about them (GDB manual,
/// appendix G). The features org.gnu.gdb.i386.* are what GDB demands; org.triune.system adds what
/// people who write kernels look for.
class RegisterFile {
public:
    enum class Arch : u8 { i386, x86_64 };
    /// `avx`: with the upper halves of the YMM registers.
    RegisterFile(Arch arch, bool avx);

    [[nodiscard]] Arch arch() const { return arch_; }
    [[nodiscard]] const std::string& description() const { return description_; }
    [[nodiscard]] size_t count() const { return registers_.size(); }
    [[nodiscard]] const Register& at(size_t n) const { return registers_[n]; }
    [[nodiscard]] size_t bytes() const;  ///< of all

    /// Its value, little-endian.
    [[nodiscard]] std::vector<u8> read(size_t n, const x86::VcpuState& s) const;
    /// False: it cannot have this value, and nothing changed. What would change the processor's mode
    /// or is not GDB's to set (descriptor tables) only takes the value that it has.
    [[nodiscard]] bool write(size_t n, x86::VcpuState& s, std::span<const u8> value) const;

private:
    void add(Register r) { registers_.push_back(std::move(r)); }
    void add_core();
    void add_vectors(bool avx);
    void add_system();

    Arch arch_;
    std::vector<Register> registers_;
    std::string description_;
};

}  // namespace triune::gdb
