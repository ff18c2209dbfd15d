// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/types.h"

namespace triune::hypervisor::soft::cpu {

/// Stands between a vCPU's MMU and guest RAM, so that a checker can see which pages are written and
/// show a vCPU other bytes than guest memory holds. Called on the vCPU's thread, also while the guest's
/// vector state lives in the host's registers: implementations are built without vector registers.
class PageHook {
public:
    virtual ~PageHook() = default;
    /// The RAM page `gpa` at `host` is about to be read or written: where the vCPU finds it.
    virtual u8* page(Gpa gpa, u8* host, bool write) = 0;
    /// The page walker looks at the page-table entry `gpa`, at `host`: where it finds it.
    virtual u8* entry(Gpa gpa, unsigned bytes, u8* host) = 0;
    /// TLB entry `index` of `set` was filled after page(). It permits writes only after a write.
    virtual void filled(unsigned set, unsigned index) = 0;
};

}  // namespace triune::hypervisor::soft::cpu
