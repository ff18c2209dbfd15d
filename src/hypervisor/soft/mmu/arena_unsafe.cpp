// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <sys/mman.h>

#include <new>

#include "base/bits.h"
#include "hypervisor/soft/mmu/arena.h"

namespace triune::hypervisor::soft::mmu {

// SAFETY: the same pages are mapped twice. The run view holds data (read-write) and code (read-execute)
// below 2 GiB; the write view holds the same bytes read-write, never executable. All pointers
// handed out lie inside these mappings, which live as long as the arena.
Result<std::unique_ptr<VcpuArena>> VcpuArena::create(u64 code_bytes) {
    std::unique_ptr<VcpuArena> arena(new VcpuArena);
    const u64 context_at = 0;
    const u64 tlb_at = base::align_up(sizeof(cpu::VcpuContext), page_size);
    const u64 engine_at = base::align_up(tlb_at + sizeof(Tlb), page_size);
    const u64 code_at = engine_at + engine_data_bytes;
    code_bytes = base::align_up(code_bytes, page_size);
    const u64 total = code_at + code_bytes;

    // Shared anonymous memory, which profilers take for generated code; MREMAP with an old size of 0
    // maps the same pages once more (mremap(2)).
    void* run = mmap(nullptr, total, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS | MAP_32BIT | MAP_NORESERVE, -1, 0);
    if (run == MAP_FAILED)
        return fail_errno(
            "no room below 2 GiB of host address space for a vCPU's code cache (make it smaller)");
    arena->run_base_ = static_cast<u8*>(run);
    arena->total_ = total;
    void* write = mremap(run, 0, total, MREMAP_MAYMOVE);
    if (write == MAP_FAILED) return fail_errno("mapping a vCPU's code cache for writing");
    arena->write_base_ = static_cast<u8*>(write);
    if (code_bytes && mprotect(arena->run_base_ + code_at, code_bytes, PROT_READ | PROT_EXEC) != 0)
        return fail_errno(
            "making a vCPU's code cache executable (is this process denied executable memory?)");

    arena->write_delta_ = arena->write_base_ - arena->run_base_;
    arena->context_ = new (arena->run_base_ + context_at) cpu::VcpuContext;
    arena->tlb_ = new (arena->run_base_ + tlb_at) Tlb;
    arena->tlb_->clear();
    arena->engine_data_ = arena->run_base_ + engine_at;
    arena->code_ = arena->run_base_ + code_at;
    arena->code_bytes_ = code_bytes;
    arena->code_write_ = {arena->writable(arena->code_), code_bytes, memory::Populator::For::writing};
    arena->code_run_ = {arena->code_, code_bytes, memory::Populator::For::running};
    return arena;
}

VcpuArena::~VcpuArena() {
    if (context_) context_->~VcpuContext();
    if (run_base_) munmap(run_base_, total_);
    if (write_base_) munmap(write_base_, total_);
}

}  // namespace triune::hypervisor::soft::mmu
