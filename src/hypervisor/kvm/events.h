// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "hypervisor/hypervisor.h"

namespace triune::hypervisor::kvm {

/// KVM_IOEVENTFD and KVM_IRQFD on a VM's descriptor: adds an event, or takes it away.
Result<void> set_io_event(int vm, const IoEvent& event, bool add);
Result<void> set_irq_event(int vm, const IrqEvent& event, bool add);

}  // namespace triune::hypervisor::kvm
