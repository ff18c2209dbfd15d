// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "differential/cpu/layout.h"
#include "hypervisor/soft/bt/bt.h"
#include "hypervisor/soft/interp/interp.h"

namespace triune::differential::cpu {

/// A guest that runs programs at CPL 3, on the reference engine alone or behind the translator.
class FuzzGuest {
public:
    FuzzGuest(const x86::CpuModel& model, bool translate, const hypervisor::soft::bt::Options& options);

    void load(const Batch& batch);
    void run(const Program& program, const Image& memory, Outcome& out);

private:
    template <class T>
    T& at(Gpa gpa) {
        return *reinterpret_cast<T*>(memory_->host(gpa, sizeof(T)));
    }
    void build_tables();
    void map(u64 from, u64 size, u64 rights);

    std::unique_ptr<memory::GuestMemory> memory_;
    std::unique_ptr<hypervisor::soft::mmu::VcpuArena> arena_;
    std::unique_ptr<hypervisor::soft::mmu::Mmu> mmu_;
    std::unique_ptr<hypervisor::soft::system::System> system_;
    std::unique_ptr<hypervisor::soft::bt::Translator> translator_;  ///< null: reference engine alone
    std::unique_ptr<hypervisor::soft::interp::Interpreter> interp_;
};

}  // namespace triune::differential::cpu
