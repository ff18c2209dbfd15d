// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "machine/engine_switch.h"

namespace triune::machine {

Result<void> EngineSwitch::move_to(std::unique_ptr<hypervisor::Vm> next, Processors& processors) {
    const base::MutexLock lock(mutex_);
    const auto chip = vm_->chip_state();
    if (!chip) return std::unexpected(chip.error());
    if (auto moved = processors.move_to(*next); !moved) return moved;
    auto taken = next->set_chip_state(*chip);
    if (!taken)
        processors.end({{VmEnd::host_error,
                         "the engine did not take the interrupt chip's state: " + taken.error().message}});
    vm_ = std::move(next);
    return taken;
}

}  // namespace triune::machine
