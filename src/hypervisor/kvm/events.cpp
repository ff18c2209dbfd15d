// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/kvm/events.h"

#include <linux/kvm.h>

#include "base/bits.h"
#include "hypervisor/check_event.h"
#include "hypervisor/kvm/device.h"

namespace triune::hypervisor::kvm {

Result<void> set_io_event(int vm, const IoEvent& event, bool add) {
    if (add)
        if (auto r = check_event(event); !r) return r;
    kvm_ioeventfd e{};
    e.addr = event.address;
    e.len = event.size;
    e.fd = event.fd;
    if (event.space == IoEvent::Space::port) e.flags |= KVM_IOEVENTFD_FLAG_PIO;
    if (event.value) {
        e.flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
        e.datamatch = *event.value & base::low_mask(event.size * 8);
    }
    if (!add) e.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
    if (call(vm, KVM_IOEVENTFD, &e) < 0) return fail_errno("KVM: KVM_IOEVENTFD");
    return {};
}

Result<void> set_irq_event(int vm, const IrqEvent& event, bool add) {
    if (add)
        if (auto r = check_event(event); !r) return r;
    kvm_irqfd e{};
    e.fd = static_cast<u32>(event.fd);
    e.gsi = event.gsi;
    if (!add) {
        e.flags |= KVM_IRQFD_FLAG_DEASSIGN;
    } else if (event.resample_fd >= 0) {
        e.flags |= KVM_IRQFD_FLAG_RESAMPLE;
        e.resamplefd = static_cast<u32>(event.resample_fd);
    }
    if (call(vm, KVM_IRQFD, &e) < 0) return fail_errno("KVM: KVM_IRQFD");
    return {};
}

}  // namespace triune::hypervisor::kvm
