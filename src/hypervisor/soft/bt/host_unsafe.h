// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/types.h"

namespace triune::hypervisor::soft::bt {

/// A standard-format XSAVE area with the x87, SSE and AVX state that C++ code expects.
const u8* initial_vector_state();

/// Who is asked when a host signal (SIGSEGV, SIGBUS, SIGFPE, SIGILL) hits translated code on this thread.
class FaultClient {
public:
    virtual ~FaultClient() = default;
    /// Called in signal context with the host PC, RSP, flags and fault address; may change RSP and
    /// returns where to go on, or 0 when the PC is not in translated code.
    virtual u64 host_fault(u64 pc, u64& rsp, u64 eflags, u64 address) = 0;
};
/// Installs the handlers (once a process), gives this thread an alternate signal stack (once a
/// thread), keeps asynchronous signals off it, and makes `client` the one to ask.
void attach_to_thread(FaultClient* client);
/// `client` is about to go away.
void detach_from_thread(FaultClient* client);

}  // namespace triune::hypervisor::soft::bt
