// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <functional>
#include <memory>
#include <vector>

#include "backend/block_backend.h"
#include "backend/char_backend.h"
#include "backend/net_backend.h"
#include "base/event_loop.h"
#include "triune/vm.h"

namespace triune::machine {

/// The host's side of a VM. Opened once, and kept when the guest resets.
struct Backends {
    std::vector<std::unique_ptr<backend::BlockBackend>> disks;
    std::unique_ptr<backend::NetBackend> net;  ///< null: no network card
    std::unique_ptr<backend::CharBackend> serial;
    std::unique_ptr<backend::CharBackend> console;                      ///< null: no virtio console
    std::vector<std::unique_ptr<backend::CharBackend>> debug_consoles;  ///< of each debugcon, in their order
};

/// Opens what `definition` names. `commands`: what the user asks for at the console, called on any thread.
std::expected<Backends, VmError> make_backends(const VmDefinition& definition, base::EventLoop& loop,
                                               backend::TerminalCommands commands);

}  // namespace triune::machine
