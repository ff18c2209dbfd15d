// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0

// Any bytes, in each code size: what decode() says must stay within what insn.h promises, because
// engines index their tables with it.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "x86/describe_insn.h"
#include "x86/insn.h"
#include "x86/vcpu_state.h"

namespace {

using namespace triune;
using namespace triune::x86;

void require(bool ok, const char* what, const Insn& i) {
    if (ok) return;
    std::fprintf(stderr, "%s: %s\n", what, describe(i).c_str());
    std::abort();
}

void check_operand(const Insn& i, const Operand& o) {
    switch (o.kind) {
        case OperandKind::gpr: require(o.reg < 16 && (!o.high8 || o.reg < 4), "gpr number", i); break;
        case OperandKind::vector: require(o.reg < 16, "vector number", i); break;
        case OperandKind::segment: require(o.reg < 6, "segment number", i); break;
        case OperandKind::control:
        case OperandKind::debug: require(o.reg < 16, "control or debug number", i); break;
        case OperandKind::mmx:
        case OperandKind::x87: require(o.reg < 8, "mmx or x87 number", i); break;
        case OperandKind::mem:
            require(o.base >= -1 && o.base <= base_rip, "base", i);
            require(o.index >= -1 && o.index < 16, "index", i);
            require(o.scale == 0 || o.scale == 1 || o.scale == 2 || o.scale == 4 || o.scale == 8, "scale", i);
            require(o.index < 0 || o.scale > 0, "scale of an index", i);
            require(o.segment < 6, "segment", i);
            require(!o.agen || (!o.read && !o.written), "agen without access", i);
            break;
        default: break;
    }
    require(!o.conditional_write || o.written, "conditional write is a write", i);
}

void check(const Insn& i, size_t available, CodeSize size) {
    require(i.length >= 1 && i.length <= 15 && i.length <= available, "length", i);
    require(i.code == size, "code size", i);
    require(i.operand_count <= i.op.size(), "operand count", i);
    require(i.prefix_bytes < i.length, "prefixes before an opcode", i);
    require(i.modrm_offset < i.length, "modrm offset", i);
    require(i.disp_offset + i.disp_bits / 8 <= i.length, "displacement within", i);
    require(i.imm_offset + i.imm_bits / 8 <= i.length, "immediate within", i);
    require(!i.has_modrm || i.bytes[i.modrm_offset] == i.modrm, "modrm byte", i);
    require(i.address_bits == 16 || i.address_bits == 32 || i.address_bits == 64, "address size", i);
    require(i.operand_bits == 8 || i.operand_bits == 16 || i.operand_bits == 32 || i.operand_bits == 64,
            "operand size", i);
    require(size == CodeSize::bits64 || (i.rex == 0 && i.address_bits != 64),
            "64-bit things in 64-bit code only", i);
    constexpr u32 status = flag::arithmetic | flag::df;
    require(((i.flags_read | i.flags_written) & ~status) == 0, "status flags only", i);
    require((i.flags_maybe_written & ~i.flags_written) == 0, "maybe is listed", i);
    require((i.flags_undefined & ~i.flags_written) == 0, "undefined is written", i);
    for (size_t n = 0; n < i.op.size(); ++n) {
        if (n >= i.operand_count) require(i.op[n].kind == OperandKind::none, "operands beyond the count", i);
        check_operand(i, i.op[n]);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
    const std::span<const u8> code(data, bytes);
    for (const CodeSize size : {CodeSize::bits16, CodeSize::bits32, CodeSize::bits64}) {
        Insn i;
        const DecodeStatus status = decode(code, size, i);
        (void)disassemble(code, size, 0x1000);
        if (status == DecodeStatus::ok) {
            check(i, bytes, size);
            Insn exact;
            if (decode(code.first(i.length), size, exact) != DecodeStatus::ok ||
                describe(exact) != describe(i))
                std::abort();
        } else if (status == DecodeStatus::need_more && bytes >= 15) {
            std::abort();
        }
    }
    return 0;
}
