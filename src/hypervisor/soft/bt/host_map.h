// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>

#include "hypervisor/soft/bt/block.h"

namespace triune::hypervisor::soft::bt {

/// A block's HostMapEntries in two bytes each, most of the time: the distance in host code; the distance in
/// guest code and what is said of the flags.
///
///     host  guest:6 flags:2                 host < 255, guest < 64
///     255   flags:8  host:16  guest:16      anything else
class HostMapWriter {
public:
    static constexpr u32 longest = 6;
    explicit HostMapWriter(u8* to) : to_(to) {}
    void add(const HostMapEntry& e) {
        const u32 host = e.host - last_.host, guest = static_cast<u32>(e.guest - last_.guest);
        const u8 flags = static_cast<u8>(static_cast<u8>(e.flags) | (e.flags_valid ? 2 : 0));
        if (host < escape && guest < 64) {
            *to_++ = static_cast<u8>(host);
            *to_++ = static_cast<u8>(guest << 2 | flags);
        } else {
            const u16 wide[2] = {static_cast<u16>(host), static_cast<u16>(guest)};
            *to_++ = escape;
            *to_++ = flags;
            std::memcpy(to_, wide, sizeof wide);
            to_ += sizeof wide;
        }
        last_ = e;
    }
    [[nodiscard]] u8* end() const { return to_; }

private:
    friend class HostMapReader;
    static constexpr u8 escape = 255;
    u8* to_;
    HostMapEntry last_{};
};

/// Safe in signal context.
class HostMapReader {
public:
    explicit HostMapReader(const u8* from) : from_(from) {}
    HostMapEntry next() {
        u16 distance[2] = {from_[0], static_cast<u16>(from_[1] >> 2)};
        const u8 flags = from_[1] & 3;
        const bool wide = from_[0] == HostMapWriter::escape;
        from_ += 2;
        if (wide) {
            std::memcpy(distance, from_, sizeof distance);
            from_ += sizeof distance;
        }
        entry_.host += distance[0];
        entry_.guest = static_cast<u16>(entry_.guest + distance[1]);
        entry_.flags = static_cast<FlagsAt>(flags & 1);
        entry_.flags_valid = flags & 2;
        return entry_;
    }

private:
    const u8* from_;
    HostMapEntry entry_{};
};

}  // namespace triune::hypervisor::soft::bt
