// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/kvm/routing.h"

#include <vector>

#include "hypervisor/kvm/abi.h"
#include "hypervisor/kvm/device.h"

namespace triune::hypervisor::kvm {
namespace {

kvm_irq_routing_entry to_chip(u32 gsi, u32 chip, u32 pin) {
    kvm_irq_routing_entry e{};
    e.gsi = gsi;
    e.type = KVM_IRQ_ROUTING_IRQCHIP;
    e.u.irqchip.irqchip = chip;
    e.u.irqchip.pin = pin;
    return e;
}

kvm_irq_routing_entry to_message(u32 gsi, u64 address, u32 data) {
    kvm_irq_routing_entry e{};
    e.gsi = gsi;
    e.type = KVM_IRQ_ROUTING_MSI;
    e.u.msi.address_lo = static_cast<u32>(address);
    e.u.msi.address_hi = static_cast<u32>(address >> 32);
    e.u.msi.data = data;
    return e;
}

}  // namespace

Result<void> Routing::publish() {
    std::vector<kvm_irq_routing_entry> entries;
    for (u32 gsi = 0; gsi < lines; ++gsi) {
        if (gsi == 2) continue;
        if (gsi < 8)
            entries.push_back(to_chip(gsi, KVM_IRQCHIP_PIC_MASTER, gsi));
        else if (gsi < 16)
            entries.push_back(to_chip(gsi, KVM_IRQCHIP_PIC_SLAVE, gsi - 8));
        entries.push_back(to_chip(gsi, KVM_IRQCHIP_IOAPIC, gsi == 0 ? 2 : gsi));
    }
    for (const auto& [gsi, m] : messages_) entries.push_back(to_message(gsi, m.address, m.data));
    abi::Table<kvm_irq_routing_entry> table(entries);
    if (call(vm_, abi::set_gsi_routing, table.header()) < 0) return fail_errno("KVM: KVM_SET_GSI_ROUTING");
    return {};
}

Result<void> Routing::set_lines() {
    const base::MutexLock lock(mutex_);
    return publish();
}

Result<u32> Routing::add_message(u64 address, u32 data) {
    const base::MutexLock lock(mutex_);
    u32 gsi = lines;
    while (messages_.contains(gsi)) ++gsi;
    if (gsi >= max_routes_) return fail("KVM: no free entry in the interrupt routing table", ENOSPC);
    messages_[gsi] = {address, data};
    if (auto r = publish(); !r) {
        messages_.erase(gsi);
        return std::unexpected(r.error());
    }
    return gsi;
}

bool Routing::exists(u32 gsi) {
    const base::MutexLock lock(mutex_);
    return gsi < lines || messages_.contains(gsi);
}

void Routing::remove_message(u32 gsi) {
    const base::MutexLock lock(mutex_);
    if (messages_.erase(gsi)) (void)publish();
}

}  // namespace triune::hypervisor::kvm
