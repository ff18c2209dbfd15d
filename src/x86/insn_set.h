// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Which instructions a processor has. One table (insn_set.cpp) says to which features each
/// instruction belongs; decode() asks it on behalf of every engine, so that none of them can run
/// what CPUID does not show.
#include <Zydis/DecoderTypes.h>

#include <array>
#include <string_view>

#include "base/types.h"

namespace triune::x86 {

struct CpuModel;

class InsnSet {
public:
    /// Every instruction that the engines know.
    constexpr InsnSet() { words_.fill(~u64{0}); }
    /// What a processor of this model has.
    static InsnSet of(const CpuModel& model);

    [[nodiscard]] bool has(const ZydisDecodedInstruction& z) const;
    /// Indexes the decoders: bit 0: F3 0F BD is LZCNT (else BSR), bit 1: F3 0F BC is TZCNT (else BSF).
    [[nodiscard]] unsigned decoder() const { return decoder_; }

private:
    [[nodiscard]] bool feature(size_t n) const { return words_[n / 64] >> (n % 64) & 1; }
    std::array<u64, 4> words_{};
    unsigned decoder_ = 3;
};

inline constexpr InsnSet every_insn{};

/// The features that all must be there; empty names where there are fewer. No result: no processor
/// of ours has it.
struct InsnFeatures {
    bool known = false;
    std::array<std::string_view, 2> names{};
};
InsnFeatures features_of(const ZydisDecodedInstruction& z);

}  // namespace triune::x86
