// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "machine/engine_switch.h"

namespace triune::machine {

Result<void> EngineSwitch::move_to(std::unique_ptr<hypervisor::Vm> next, Processors& processors) {
    const base::MutexLock lock(mutex_);
    const auto chip = vm_->chip_state();
    if (!chip) return std::unexpected(chip.error());
    if (auto moved = processors.move_to(*next); !moved) return moved;
    auto taken = next->set_chip_state(*chip);
    if (!taken)
        processors.end({{VmEnd::host_error,
                         "the engine did not take the interrupt chip's state: " + taken.error().message}});
    if (taken)
        if (taken = move_events(*next); !taken)
            processors.end(
                {{VmEnd::host_error, "the engine did not take an event: " + taken.error().message}});
    vm_ = std::move(next);
    saves_exits_ = vm_->io_events_save_exits();
    direct_irqs_ = vm_->irq_events_are_direct();
    return taken;
}

// -- events ---------------------------------------------------------------------------------------

namespace {

constexpr unsigned lines = 24;

}  // namespace

hypervisor::IrqEvent EngineSwitch::inner(hypervisor::IrqEvent event) const {
    if (const auto at = messages_.find(event.gsi); at != messages_.end()) event.gsi = at->second.gsi;
    return event;
}

// A signal that came before is not lost: the eventfd still holds it.
Result<void> EngineSwitch::move_events(hypervisor::Vm& next) {
    for (const auto& e : io_events_) {
        (void)vm_->remove_io_event(e);
        if (auto r = next.add_io_event(e); !r) return r;
    }
    for (const auto& e : irq_events_) (void)vm_->remove_irq_event(inner(e));
    for (auto& [gsi, m] : messages_) {
        const auto moved = next.add_msi_gsi(m.address, m.data);
        if (!moved) return std::unexpected(moved.error());
        m.gsi = *moved;
    }
    for (const auto& e : irq_events_)
        if (auto r = next.add_irq_event(inner(e)); !r) return r;
    for (const unsigned slot : logged_) {
        (void)vm_->set_dirty_log(slot, false);
        if (auto r = next.set_dirty_log(slot, true); !r) return r;
        memory_.written(memory_.slots()[slot].gpa, memory_.slots()[slot].size);
    }
    return {};
}

Result<void> EngineSwitch::add_io_event(const hypervisor::IoEvent& event) {
    const base::MutexLock lock(mutex_);
    auto r = vm_->add_io_event(event);
    if (r) io_events_.push_back(event);
    return r;
}

Result<void> EngineSwitch::remove_io_event(const hypervisor::IoEvent& event) {
    const base::MutexLock lock(mutex_);
    std::erase(io_events_, event);
    return vm_->remove_io_event(event);
}

Result<void> EngineSwitch::add_irq_event(const hypervisor::IrqEvent& event) {
    const base::MutexLock lock(mutex_);
    if (event.gsi >= lines && !messages_.contains(event.gsi)) return fail("there is no such message", EINVAL);
    auto r = vm_->add_irq_event(inner(event));
    if (r) irq_events_.push_back(event);
    return r;
}

Result<void> EngineSwitch::remove_irq_event(const hypervisor::IrqEvent& event) {
    const base::MutexLock lock(mutex_);
    std::erase(irq_events_, event);
    return vm_->remove_irq_event(inner(event));
}

Result<unsigned> EngineSwitch::add_msi_gsi(u64 address, u32 data) {
    const base::MutexLock lock(mutex_);
    const auto gsi = vm_->add_msi_gsi(address, data);
    if (!gsi) return gsi;
    unsigned number = lines;
    while (messages_.contains(number)) ++number;
    messages_[number] = {address, data, *gsi};
    return number;
}

void EngineSwitch::remove_msi_gsi(unsigned gsi) {
    const base::MutexLock lock(mutex_);
    const auto at = messages_.find(gsi);
    if (at == messages_.end()) return;
    vm_->remove_msi_gsi(at->second.gsi);
    messages_.erase(at);
}

// -- the dirty log --------------------------------------------------------------------------------

// Without the lock: processors are waited for, and they may wait for the lock with an interrupt.
Result<void> EngineSwitch::set_dirty_log(unsigned slot, bool on) {
    auto r = vm()->set_dirty_log(slot, on);
    if (!r) return r;
    const base::MutexLock lock(mutex_);
    if (on)
        logged_.insert(slot);
    else
        logged_.erase(slot);
    return r;
}

Result<memory::PageBitmap> EngineSwitch::take_dirty_log(unsigned slot) { return vm()->take_dirty_log(slot); }

}  // namespace triune::machine
