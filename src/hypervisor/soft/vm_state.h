// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// soft: the soft hypervisor: puts processors, memory virtualization, engines and interrupt chip
/// together behind the hypervisor contract.
///
/// Threads: one per vCPU; lines, messages and written code come from any thread. Lock order: a
/// slot's code queue lock is a leaf.
#include <atomic>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "hypervisor/hypervisor.h"
#include "hypervisor/soft/io_events.h"
#include "hypervisor/soft/irqchip/irq_events.h"
#include "hypervisor/soft/mmu/arena.h"

namespace triune::hypervisor::soft {

/// What other threads may touch of one vCPU.
struct VcpuSlot {
    std::unique_ptr<mmu::VcpuArena> arena;
    bool created = false;

    /// The vCPU may use its TLB. Set before it looks at its signals, clear while it sleeps or waits.
    alignas(64) std::atomic<u32> in_guest{0};

    struct Range {
        Gpa gpa;
        u64 size;
    };
    base::Mutex code_mutex;
    std::vector<Range> code_written GUARDED_BY(code_mutex);

    cpu::VcpuContext& context() { return arena->context(); }
};

/// What Vm and its Vcpus share; lives as long as any of them.
class VmState final : public cpu::Peers, public memory::CodeWatcher {
public:
    static Result<std::shared_ptr<VmState>> create(const VmConfig& config);
    ~VmState() override;

    const VmConfig& config() const { return config_; }
    VcpuSlot& slot(unsigned index) { return *slots_[index]; }
    irqchip::IrqChip& chip() { return *chip_; }
    IoEvents& io_events() { return io_events_; }
    irqchip::IrqEvents& irq_events() { return *irq_events_; }

    Result<void> set_dirty_log(unsigned slot, bool on);
    Result<memory::PageBitmap> take_dirty_log(unsigned slot);

    /// A vCPU's turn: while VmConfig::verify is set, only one vCPU runs at a time, first come, first served.
    class Turn {
    public:
        explicit Turn(VmState& vm);
        ~Turn() { end(); }
        Turn(const Turn&) = delete;
        Turn& operator=(const Turn&) = delete;
        void end();

    private:
        VmState* vm_;
    };

    void drop_write_permissions(unsigned self) override;
    void code_written(Gpa gpa, u64 size) override;

private:
    explicit VmState(const VmConfig& config) : config_(config), dirty_log_(*config.memory) {}
    /// When this returns, no vCPU but `self` (none: slots_.size()) holds a write permission that it had.
    void drop_permissions_but(size_t self);

    VmConfig config_;
    std::vector<std::unique_ptr<VcpuSlot>> slots_;
    std::unique_ptr<irqchip::IrqChip> chip_;
    std::unique_ptr<irqchip::IrqEvents> irq_events_;
    IoEvents io_events_;
    memory::DirtyLog dirty_log_;
    base::Mutex turn_mutex_;  ///< leaf
    base::ConditionVariable turn_ended_;
    u64 next_ticket_ GUARDED_BY(turn_mutex_) = 0, now_serving_ GUARDED_BY(turn_mutex_) = 0;
};

}  // namespace triune::hypervisor::soft
