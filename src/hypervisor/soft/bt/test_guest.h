// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <xbyak/xbyak.h>

#include "hypervisor/soft/bt/bt.h"

namespace triune::hypervisor::soft::bt {

/// A vCPU in 64-bit mode at CPL 0 with 16 MiB of RAM identity-mapped by
/// 4 KB pages, and a translator. Guest code is written with an assembler and ends in HLT,
/// which the translator declines.
class TestGuest {
public:
    static constexpr Gpa code = 0x100000, data = 0x200000, stack_top = 0x300000;
    static constexpr u64 bytes = u64{16} << 20;

    explicit TestGuest(Options options = {})
        : memory_(std::move(*memory::GuestMemory::create(bytes))),
          arena_(std::move(*mmu::VcpuArena::create(u64{8} << 20))) {
        EXPECT_TRUE(memory_->add_slot(0, bytes, 0));
        cpu::VcpuContext& c = arena_->context();
        c.memory = memory_.get();
        static const x86::CpuModel host = *x86::make_cpu_model("host", 1);
        c.model = &host;
        mmu_ = std::make_unique<mmu::Mmu>(c, arena_->tlb());
        system_ = std::make_unique<system::System>(c, *mmu_);
        translator_ = std::make_unique<Translator>(*system_, *arena_, options);
        build_page_tables();
        x86::VcpuState& s = c.state;
        s.cr0 = x86::cr0::pe | x86::cr0::pg | x86::cr0::wp | x86::cr0::et | x86::cr0::ne;
        s.cr3 = 0x1000;
        s.cr4 = x86::cr4::pae | x86::cr4::osfxsr | x86::cr4::osxmmexcpt | x86::cr4::osxsave;
        s.efer = x86::efer::lme | x86::efer::lma | x86::efer::nxe;
        s.xcr0 = 7;
        s.seg[x86::cs] = {8, 0, 0xa09b, 0, 0xffffffff, 0};
        s.seg[x86::ss] = {16, 0, 0xc093, 0, 0xffffffff, 0};
        s.rip = code;
        s.gpr[x86::rsp] = stack_top;
        s.xsave[0] = 0x7f, s.xsave[1] = 3, s.xsave[24] = 0x80, s.xsave[25] = 0x1f;
    }

    x86::VcpuState& state() { return arena_->context().state; }
    cpu::VcpuContext& context() { return arena_->context(); }
    mmu::Mmu& mmu() { return *mmu_; }
    system::System& system() { return *system_; }
    memory::GuestMemory& memory() { return *memory_; }
    Translator& translator() { return *translator_; }
    /// The code cache, as it is written.
    std::span<u8> translated() { return {arena_->writable(arena_->code()), arena_->code_bytes()}; }
    template <class T>
    T& at(Gpa gpa) {
        return *reinterpret_cast<T*>(memory_->host(gpa, sizeof(T)));
    }

    void load(Gpa gpa, const Xbyak::CodeGenerator& g) {
        ASSERT_TRUE(memory_->write(gpa, g.getCode(), g.getSize()));
    }

    /// Runs from `rip` until the translator declines; true if that is at a HLT.
    bool run(u64 rip = code) {
        state().rip = rip;
        const auto exit = translator_->run();
        if (exit != cpu::EngineExit::declined) return false;
        const u8* host = memory_->host(state().rip & 0xffffff, 1);
        return host && *host == 0xf4;
    }

private:
    void build_page_tables() {
        at<u64>(0x1000) = 0x2003;
        at<u64>(0x2000) = 0x3003;
        for (u64 i = 0; i < bytes >> 21; ++i) {
            at<u64>(0x3000 + i * 8) = (0x4000 + i * 0x1000) | 3;
            for (u64 k = 0; k < 512; ++k)
                at<u64>(0x4000 + i * 0x1000 + k * 8) = ((i << 21) + (k << 12)) | 0x63;
        }
    }

    std::unique_ptr<memory::GuestMemory> memory_;
    std::unique_ptr<mmu::VcpuArena> arena_;
    std::unique_ptr<mmu::Mmu> mmu_;
    std::unique_ptr<system::System> system_;
    std::unique_ptr<Translator> translator_;
};

}  // namespace triune::hypervisor::soft::bt
