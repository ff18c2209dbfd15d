// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

namespace triune::hypervisor::kvm {

/// The signal that gets a thread out of KVM_RUN. It does nothing by itself.
int kick_signal();
/// Installs the handler (once a process) and lets this thread take the signal.
void accept_kicks();
/// Sends it to a thread of this process.
void send_kick(pid_t thread);

}  // namespace triune::hypervisor::kvm
