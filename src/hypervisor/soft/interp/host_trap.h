// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Catches the SIGFPE that the host sends for a SIMD floating-point exception in code between two
/// addresses on this thread, for as long as the object lives: control then returns from that code.
#include "base/types.h"

namespace triune::hypervisor::soft::interp {

class HostTrap {
public:
    HostTrap(u64 first, u64 past);
    ~HostTrap();
    HostTrap(const HostTrap&) = delete;
    HostTrap& operator=(const HostTrap&) = delete;

    u64 begin, end;
    volatile bool raised = false;  ///< set in signal context

private:
    HostTrap* outer_;
};

}  // namespace triune::hypervisor::soft::interp
