// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/narrow.h"

#include <algorithm>

namespace triune::hypervisor::soft::bt {

using x86::Segment;
using x86::VcpuState;

namespace {

/// The last offset that may be accessed; -1: none, or the reference engine is to say which (expand-down
/// segments). Intel SDM 3A 5.3, 5.4.
i64 last_offset(const VcpuState& s, const Segment& seg, bool write) {
    if (s.protected_mode() && !s.v8086()) {
        const bool code = seg.type() & 8, bit1 = seg.type() & 2;
        if (seg.unusable() || (write ? code || !bit1 : code && !bit1)) return -1;
    }
    const bool expands_down = (seg.type() & 12) == 4;
    return expands_down ? -1 : i64{seg.limit};
}

/// What a load in real mode (whatever the limit) or in virtual-8086 mode leaves of a segment's rights.
bool is_plain(const VcpuState& s, const Segment& seg) {
    constexpr u32 kept = 0xd000;  // G, D/B, AVL
    return s.v8086() ? seg.attr == 0xf3 && seg.limit == 0xffff : (seg.attr & ~kept) == 0x93;
}

}  // namespace

NarrowMode narrow_mode(const VcpuState& s) {
    NarrowMode m;
    m.code = s.seg[x86::cs].db() ? x86::CodeSize::bits32 : x86::CodeSize::bits16;
    m.stack_bits = s.seg[x86::ss].db() ? 32 : 16;
    m.cs_base = static_cast<u32>(s.seg[x86::cs].base);
    m.cs_limit = s.seg[x86::cs].limit;
    if (!s.protected_mode() || s.v8086()) {
        m.kind = s.protected_mode() ? NarrowMode::Kind::v8086 : NarrowMode::Kind::real;
        m.plain_loads = is_plain(s, s.seg[x86::es]) && is_plain(s, s.seg[x86::ds]) &&
                        is_plain(s, s.seg[x86::fs]) && is_plain(s, s.seg[x86::gs]);
    } else {
        for (const unsigned n : {x86::es, x86::ss, x86::ds, x86::fs, x86::gs}) {
            const Segment& seg = s.seg[n];
            if (static_cast<u32>(seg.base) == 0 && last_offset(s, seg, true) == 0xffffffff)
                m.flat = static_cast<u8>(m.flat | 1u << n);
        }
    }
    return m;
}

void load_segment_bounds(const VcpuState& s, EngineData& data) {
    for (unsigned n = 0; n < s.seg.size(); ++n) {
        EngineData::SegmentBounds& b = data.segment[n];
        b.base = static_cast<u32>(s.seg[n].base);
        for (const bool write : {false, true}) {
            const i64 last = last_offset(s, s.seg[n], write);
            for (unsigned k = 0; k < b.last[write].size(); ++k) b.last[write][k] = last - ((1 << k) - 1);
            b.last16[write] = std::min<i64>(last, 0xffff);
        }
    }
}

}  // namespace triune::hypervisor::soft::bt
