// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "triune/inspect.h"

#include "hypervisor/soft/bt/listing.h"

namespace triune {

std::expected<std::string, VmError> disassemble_block(const std::vector<std::uint8_t>& code,
                                                      std::uint64_t rip, bool user, unsigned bits) {
    const auto size = bits == 16   ? x86::CodeSize::bits16
                      : bits == 32 ? x86::CodeSize::bits32
                                   : x86::CodeSize::bits64;
    auto listing = hypervisor::soft::bt::list_translation(code, rip, user, size);
    if (!listing) return std::unexpected(VmError{.message = listing.error().message, .usage = false});
    return std::move(*listing);
}

}  // namespace triune
