// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "triune/inspect.h"

#include "hypervisor/soft/bt/listing.h"

namespace triune {

std::expected<std::string, VmError> disassemble_block(const std::vector<std::uint8_t>& code,
                                                      std::uint64_t rip, bool user) {
    auto listing = hypervisor::soft::bt::list_translation(code, rip, user);
    if (!listing) return std::unexpected(VmError{.message = listing.error().message, .usage = false});
    return std::move(*listing);
}

}  // namespace triune
