// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Handlers that dispatch.cpp chooses by more than the mnemonic.
#include "hypervisor/soft/interp/exec.h"

namespace triune::hypervisor::soft::interp {

bool mov_segment(Exec& e, const Insn& i);
bool mov_control(Exec& e, const Insn& i);
bool mov_debug(Exec& e, const Insn& i);

/// For instructions that touch x87, MMX, SSE or AVX state.
Handler vector_handler(const Insn& i);

}  // namespace triune::hypervisor::soft::interp
