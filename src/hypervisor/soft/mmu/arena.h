// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <memory>

#include "base/result.h"
#include "hypervisor/soft/mmu/mmu.h"
#include "memory/populate.h"

namespace triune::hypervisor::soft::mmu {

/// Memory of one vCPU below 2 GiB of host address space: its context, its TLB, room for an
/// engine's own tables, and code space. Code is written through one view and run through another,
/// so no page is writable and executable at once; data and code keep the same distance in both
/// views, so RIP-relative displacements computed in the writable view hold in the executable one.
class VcpuArena {
public:
    static constexpr u64 engine_data_bytes = u64{4} << 20;

    /// `code_bytes` may be 0 when no engine generates code.
    static Result<std::unique_ptr<VcpuArena>> create(u64 code_bytes);
    ~VcpuArena();
    VcpuArena(const VcpuArena&) = delete;
    VcpuArena& operator=(const VcpuArena&) = delete;

    cpu::VcpuContext& context() { return *context_; }
    Tlb& tlb() { return *tlb_; }
    /// Zeroed, page-aligned, `engine_data_bytes` long.
    u8* engine_data() { return engine_data_; }
    /// Where code runs, and the same byte's address in the writable view.
    u8* code() { return code_; }
    u64 code_bytes() const { return code_bytes_; }
    /// Some code is about to be written at `offset` of the code space, and then to run.
    void touch_code(u64 offset) {
        // Most blocks are smaller than this; what is larger meets a page fault.
        const u64 bytes = std::min<u64>(code_bytes_ - offset, 8 << 10);
        code_write_.touch(offset, bytes);
        code_run_.touch(offset, bytes);
    }
    u8* writable(u8* code) { return code + write_delta_; }
    u8* executable(u8* writable) { return writable - write_delta_; }

private:
    VcpuArena() = default;
    cpu::VcpuContext* context_ = nullptr;
    Tlb* tlb_ = nullptr;
    u8* engine_data_ = nullptr;
    u8* code_ = nullptr;
    u64 code_bytes_ = 0;
    memory::Populator code_write_, code_run_;
    std::ptrdiff_t write_delta_ = 0;
    u8* run_base_ = nullptr;
    u8* write_base_ = nullptr;
    u64 total_ = 0;
};

}  // namespace triune::hypervisor::soft::mmu
