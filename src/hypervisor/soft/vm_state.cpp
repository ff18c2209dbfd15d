// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/vm_state.h"

#include <sched.h>

#include <algorithm>

namespace triune::hypervisor::soft {
namespace {

/// Queued ranges beyond this become one that covers them all.
constexpr size_t max_ranges = 64;

/// The kernel hands out 1 GiB below 2 GiB (MAP_32BIT, mmap(2)); what all vCPUs' code may take of it.
constexpr u64 low_memory_for_code = u64{800} << 20;

/// Marks without waking: who sleeps takes it before it enters its engine again.
void mark(cpu::VcpuContext& c, cpu::Signal s) {
    c.signals.pending.fetch_or(static_cast<u32>(s), std::memory_order_seq_cst);
}

}  // namespace

Result<std::shared_ptr<VmState>> VmState::create(const VmConfig& config) {
    if (config.engine != "bt" && config.engine != "interp")
        return fail("engine \"" + config.engine + "\": unknown; choose \"bt\" or \"interp\"");
    if (config.verify && config.engine != "bt")
        return fail("only engine \"bt\" can be verified: there is nothing to hold \"interp\" against");
    if (config.cpus < 1 || config.cpus > 254)
        return fail(std::to_string(config.cpus) + " vCPUs: choose 1 to 254");
    std::shared_ptr<VmState> vm(new VmState(config));
    const u64 tsc_start = __builtin_ia32_rdtsc();
    const u64 time_start = base::monotonic_ns();
    const u64 code_bytes = std::min(config.code_cache_bytes, low_memory_for_code / config.cpus);
    std::vector<cpu::VcpuContext*> contexts;
    for (unsigned i = 0; i < config.cpus; ++i) {
        auto arena = mmu::VcpuArena::create(config.engine == "bt" ? code_bytes : 0);
        if (!arena) return std::unexpected(arena.error());
        auto slot = std::make_unique<VcpuSlot>();
        slot->arena = std::move(*arena);
        cpu::VcpuContext& c = slot->context();
        c.index = i;
        c.model = &vm->config_.cpu;
        c.memory = config.memory;
        c.kvmclock_system_time_base = time_start;
        c.peers = config.cpus > 1 ? vm.get() : nullptr;
        x86::reset_state(c.state, false);
        // All time-stamp counters start at 0 together.
        c.state.tsc_offset = 0 - tsc_start;
        c.state.waiting_for_sipi = i != 0;
        contexts.push_back(&c);
        vm->slots_.push_back(std::move(slot));
    }
    vm->chip_ = std::make_unique<irqchip::IrqChip>(contexts, *config.loop);
    for (unsigned i = 0; i < config.cpus; ++i) contexts[i]->apic = &vm->chip_->apic(i);
    vm->irq_events_ = std::make_unique<irqchip::IrqEvents>(*vm->chip_, *config.loop);
    config.memory->add_code_watcher(vm.get());
    return vm;
}

VmState::~VmState() { config_.memory->remove_code_watcher(this); }

VmState::Turn::Turn(VmState& vm) : vm_(vm.config_.verify ? &vm : nullptr) {
    if (!vm_) return;
    const base::MutexLock lock(vm.turn_mutex_);
    const u64 ticket = vm.next_ticket_++;
    while (vm.now_serving_ != ticket) vm.turn_ended_.wait(vm.turn_mutex_);
}

void VmState::Turn::end() {
    if (!vm_) return;
    {
        const base::MutexLock lock(vm_->turn_mutex_);
        ++vm_->now_serving_;
    }
    vm_->turn_ended_.notify_all();
    vm_ = nullptr;
}

// The page's code flag is set already, so a vCPU that has dropped its write permissions since then
// finds the flag when it fills its TLB anew. It takes the signal between two guest instructions and
// flushes before the next, so "taken" is enough to go on. Each side writes its own word before it
// reads the other's (in_guest here, `pending` there), so none slips into its engine unseen. Two
// vCPUs in here at once are both outside, so neither waits for the other.
void VmState::drop_write_permissions(unsigned self) {
    slots_[self]->in_guest.store(0, std::memory_order_seq_cst);
    drop_permissions_but(self);
    slots_[self]->in_guest.store(1, std::memory_order_seq_cst);
}

void VmState::drop_permissions_but(size_t self) {
    for (size_t i = 0; i < slots_.size(); ++i)
        if (i != self) mark(slots_[i]->context(), cpu::Signal::tlb_write_flush);
    for (size_t i = 0; i < slots_.size(); ++i) {
        if (i == self) continue;
        const auto& pending = slots_[i]->context().signals.pending;
        unsigned spins = 0;
        while (slots_[i]->in_guest.load(std::memory_order_seq_cst) &&
               (pending.load(std::memory_order_seq_cst) & static_cast<u32>(cpu::Signal::tlb_write_flush))) {
            // Usually a block's length away; longer when the host has taken its thread off the core.
            if (++spins < 500)
                __builtin_ia32_pause();
            else
                ::sched_yield();
        }
    }
}

// A page is clean before the permissions go, so whoever fills its TLB anew makes it dirty first; what was
// written before with an old permission is in the bitmap, because the page was dirty then.
Result<void> VmState::set_dirty_log(unsigned slot, bool on) {
    auto done = dirty_log_.set(slot, on);
    if (done && on) drop_permissions_but(slots_.size());
    return done;
}

Result<memory::PageBitmap> VmState::take_dirty_log(unsigned slot) {
    auto written = dirty_log_.take(slot);
    if (written) drop_permissions_but(slots_.size());
    return written;
}

void VmState::code_written(Gpa gpa, u64 size) {
    for (const auto& slot : slots_) {
        {
            const base::MutexLock lock(slot->code_mutex);
            auto& queue = slot->code_written;
            const bool known = !queue.empty() && gpa >= queue.back().gpa &&
                               gpa + size <= queue.back().gpa + queue.back().size;
            if (queue.size() >= max_ranges) {
                Gpa low = gpa, high = gpa + size;
                for (const auto& r : queue) {
                    low = std::min(low, r.gpa);
                    high = std::max(high, r.gpa + r.size);
                }
                queue.assign(1, {low, high - low});
            } else if (!known) {
                queue.push_back({gpa, size});
            }
        }
        mark(slot->context(), cpu::Signal::code_written);
    }
}

}  // namespace triune::hypervisor::soft
