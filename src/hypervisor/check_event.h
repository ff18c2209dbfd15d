// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "hypervisor/hypervisor.h"

namespace triune::hypervisor {

/// What every implementation of Vm asks of an event before it adds it: a size and an address that exist, and
/// descriptors that are eventfds.
Result<void> check_event(const IoEvent& event);
Result<void> check_event(const IrqEvent& event);

}  // namespace triune::hypervisor
