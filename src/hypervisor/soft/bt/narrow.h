// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unordered_set>

#include "hypervisor/soft/bt/engine_data.h"
#include "x86/insn.h"
#include "x86/vcpu_state.h"

namespace triune::hypervisor::soft::bt {

/// What translated 16- and 32-bit code takes for granted of the mode it runs in; part of its block's key.
/// 64-bit code has none.
///
/// A segment is `flat` when its base is 0, its limit 4 GiB - 1 and everything that its kind allows is
/// allowed: an offset is a linear address and nothing is checked. The base and limit of any other come from
/// EngineData::segment at run time, so that code does not depend on them. CS is never flat (it cannot be
/// written), nor is anything in real and virtual-8086 mode, where programs load segments all the time.
struct NarrowMode {
    enum class Kind : u8 { protected_mode, real, v8086 };

    u32 id = 0;  ///< from 1 on
    x86::CodeSize code = x86::CodeSize::bits32;
    u8 stack_bits = 32;
    Kind kind = Kind::protected_mode;
    u8 flat = 0;  ///< a bit for each x86::Seg
    /// Real and virtual-8086 mode: a load of ES, DS, FS or GS changes selector and base alone.
    bool plain_loads = false;
    u32 cs_base = 0, cs_limit = 0xffffffff;

    [[nodiscard]] bool is_flat(unsigned seg) const { return flat >> seg & 1; }
    [[nodiscard]] u64 linear(u64 eip) const { return static_cast<u32>(cs_base + eip); }
    /// EIP in this mode, as the jump cache knows it.
    [[nodiscard]] u64 key(u64 eip) const { return u64{id} << 32 | eip; }
};

/// The mode of a processor that runs 16- or 32-bit code, without an id.
NarrowMode narrow_mode(const x86::VcpuState& state);
/// Bases and bounds of the segments as they are now.
void load_segment_bounds(const x86::VcpuState& state, EngineData& data);

/// The modes seen so far.
class NarrowModes {
public:
    /// `wanted` with its id; stays where it is.
    const NarrowMode& find(const NarrowMode& wanted) {
        if (last_ && Same{}(*last_, wanted)) return *last_;
        NarrowMode m = wanted;
        m.id = static_cast<u32>(modes_.size() + 1);
        return *(last_ = &*modes_.insert(m).first);
    }
    /// A guest makes as many as it likes: then everything begins anew.
    [[nodiscard]] bool full() const { return modes_.size() >= 4096; }
    void clear() { modes_.clear(), last_ = nullptr; }

private:
    struct Hash {
        size_t operator()(const NarrowMode& m) const {
            const u64 rest = static_cast<u64>(m.code) | u64{m.stack_bits} << 2 |
                             static_cast<u64>(m.kind) << 8 | u64{m.flat} << 10 | u64{m.plain_loads} << 18;
            return ((u64{m.cs_base} << 32 | m.cs_limit) * 0x9e3779b97f4a7c15) ^ (rest * 0xc2b2ae3d27d4eb4f);
        }
    };
    struct Same {
        bool operator()(const NarrowMode& a, const NarrowMode& b) const {
            return a.code == b.code && a.stack_bits == b.stack_bits && a.kind == b.kind && a.flat == b.flat &&
                   a.plain_loads == b.plain_loads && a.cs_base == b.cs_base && a.cs_limit == b.cs_limit;
        }
    };
    std::unordered_set<NarrowMode, Hash, Same> modes_;
    const NarrowMode* last_ = nullptr;
};

}  // namespace triune::hypervisor::soft::bt
