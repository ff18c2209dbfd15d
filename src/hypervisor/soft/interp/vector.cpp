// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/interp/dispatch.h"

namespace triune::hypervisor::soft::interp {

Handler vector_handler(const Insn&, const cpu::VcpuContext&) {
    return [](Exec& e, const Insn&) { return e.ud(); };
}

}  // namespace triune::hypervisor::soft::interp
