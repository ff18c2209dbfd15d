// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <Zydis/Zydis.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>

#include "base/bits.h"
#include "x86/decode_tables.h"
#include "x86/insn.h"
#include "x86/vcpu_state.h"

namespace triune::x86 {
namespace {

constexpr size_t max_length = 15;

/// Zydis' decoder is plain data. MPX, CET, CLDEMOTE and WBNOINVD are not part of what we offer: their
/// encodings are the NOPs (or WBINVD) that they were before. `variant`: InsnSet::decoder().
constexpr ZydisDecoder make_decoder(ZydisMachineMode mode, ZydisStackWidth stack, unsigned variant) {
    ZydisDecoder d{};
    d.machine_mode = mode;
    d.stack_width = stack;
    d.decoder_mode[ZYDIS_DECODER_MODE_LZCNT] = variant & 1 ? ZYAN_TRUE : ZYAN_FALSE;
    d.decoder_mode[ZYDIS_DECODER_MODE_TZCNT] = variant & 2 ? ZYAN_TRUE : ZYAN_FALSE;
    return d;
}

// 16-bit code is decoded as protected-mode code: what real mode refuses (VEX, LLDT…) is for the
// engines to check, because CodeSize does not tell real mode from 16-bit protected mode.
constexpr std::array<ZydisDecoder, 3> make_decoders(unsigned variant) {
    return {make_decoder(ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16, variant),
            make_decoder(ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32, variant),
            make_decoder(ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64, variant)};
}
constexpr std::array<std::array<ZydisDecoder, 3>, 4> decoders = {make_decoders(0), make_decoders(1),
                                                                 make_decoders(2), make_decoders(3)};

void set_register(Operand& o, ZydisRegister reg) {
    const RegisterName& r = register_names[reg];
    o.kind = r.kind;
    o.reg = r.number;
    o.high8 = r.high8;
}

/// Number of the base or index register of an address, -1 for none.
i8 address_register(ZydisRegister reg) {
    if (reg == ZYDIS_REGISTER_NONE) return -1;
    if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP) return base_rip;
    return static_cast<i8>(register_names[reg].number);
}

void set_memory(Operand& o, const ZydisDecodedOperandMem& m) {
    o.kind = OperandKind::mem;
    o.agen = m.type == ZYDIS_MEMOP_TYPE_AGEN;
    o.vsib = m.type == ZYDIS_MEMOP_TYPE_VSIB;
    o.base = address_register(m.base);
    o.index = address_register(m.index);
    o.scale = m.scale;
    o.segment = m.segment == ZYDIS_REGISTER_NONE ? u8{ds} : register_names[m.segment].number;
    o.disp = m.disp.value;
}

OperandField field_of(ZydisOperandEncoding encoding) {
    switch (encoding) {
        case ZYDIS_OPERAND_ENCODING_NONE: return OperandField::none;
        case ZYDIS_OPERAND_ENCODING_MODRM_REG: return OperandField::modrm_reg;
        case ZYDIS_OPERAND_ENCODING_MODRM_RM: return OperandField::modrm_rm;
        case ZYDIS_OPERAND_ENCODING_NDSNDD: return OperandField::vvvv;
        case ZYDIS_OPERAND_ENCODING_OPCODE: return OperandField::opcode;
        default: return OperandField::other;
    }
}

void set_operand(Operand& o, const ZydisDecodedOperand& z) {
    o.field = field_of(z.encoding);
    o.read = z.actions & ZYDIS_OPERAND_ACTION_MASK_READ;
    o.written = z.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
    o.conditional_write = z.actions & ZYDIS_OPERAND_ACTION_CONDWRITE;
    o.is_explicit = z.visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT;
    o.bits = z.size;
    switch (z.type) {
        case ZYDIS_OPERAND_TYPE_REGISTER: set_register(o, z.reg.value); break;
        case ZYDIS_OPERAND_TYPE_MEMORY: set_memory(o, z.mem); break;
        case ZYDIS_OPERAND_TYPE_IMMEDIATE:
            o.kind = OperandKind::imm;
            o.immediate_is_relative = z.imm.is_relative;
            o.disp = z.imm.value.s;
            break;
        case ZYDIS_OPERAND_TYPE_POINTER:
            o.kind = OperandKind::far_ptr;
            o.disp = static_cast<i64>(u64{z.ptr.offset});
            o.far_selector = z.ptr.segment;
            break;
        default: o.kind = OperandKind::other; break;
    }
}

/// Shifts and rotates write flags only when the masked count is not 0 (Intel SDM 2B, SAL/SAR/SHL/
/// SHR, RCL/RCR/ROL/ROR; 2B SHLD). OF is defined for a count of 1 only.
void settle_shift_flags(Insn& i) {
    const bool three_operands = i.mnemonic == ZYDIS_MNEMONIC_SHLD || i.mnemonic == ZYDIS_MNEMONIC_SHRD;
    const Operand& count = i.op[three_operands ? 2 : 1];
    const u32 written = i.flags_written;
    i.flags_undefined = (i.flags_undefined | flag::of) & written;
    if (count.kind != OperandKind::imm) {
        i.flags_maybe_written = written;
        return;
    }
    const unsigned bits = i.op[0].bits;
    const unsigned n = static_cast<unsigned>(count.disp) & (bits == 64 ? 63 : 31);
    if (n == 0) {
        i.flags_written = i.flags_undefined = 0;
        return;
    }
    if (n == 1) i.flags_undefined &= ~static_cast<u32>(flag::of);
    // Rotation through carry by a whole turn (8- and 16-bit operands) leaves CF as it is.
    const bool through_carry = i.mnemonic == ZYDIS_MNEMONIC_RCL || i.mnemonic == ZYDIS_MNEMONIC_RCR;
    if (through_carry && n % (bits + 1) == 0) i.flags_maybe_written = written;
}

constexpr u32 status = flag::arithmetic | flag::df;

void settle_flags(Insn& i, const ZydisAccessedFlags* f) {
    if (f) {
        i.flags_read = f->tested & status;
        i.flags_written = (f->modified | f->set_0 | f->set_1 | f->undefined) & status;
        i.flags_undefined = f->undefined & status;
    }
    switch (i.mnemonic) {
        case ZYDIS_MNEMONIC_SHL:
        case ZYDIS_MNEMONIC_SHR:
        case ZYDIS_MNEMONIC_SAR:
        case ZYDIS_MNEMONIC_ROL:
        case ZYDIS_MNEMONIC_ROR:
        case ZYDIS_MNEMONIC_RCL:
        case ZYDIS_MNEMONIC_RCR:
        case ZYDIS_MNEMONIC_SHLD:
        case ZYDIS_MNEMONIC_SHRD: settle_shift_flags(i); break;
        // Events and SYSCALL save the flags.
        case ZYDIS_MNEMONIC_INT:
        case ZYDIS_MNEMONIC_INT1:
        case ZYDIS_MNEMONIC_INT3:
        case ZYDIS_MNEMONIC_INTO:
        case ZYDIS_MNEMONIC_SYSCALL: i.flags_read = status; break;
        // As hypercalls they leave the flags alone.
        case ZYDIS_MNEMONIC_VMCALL:
        case ZYDIS_MNEMONIC_VMMCALL: i.flags_written = i.flags_undefined = 0; break;
        default:
            // REP CMPS/SCAS with a count of 0 compares nothing.
            if (i.rep || i.repne) i.flags_maybe_written = i.flags_written;
            break;
    }
}

/// What Zydis' tables leave out of string instructions: RSI and RDI are read and written, and F2 is
/// as good as F3 where no comparison follows.
void settle_string(Insn& i) {
    const bool repeated = i.rep || i.repne;
    const u8 given = i.operand_count;
    for (u8 n = 0; n < given; ++n) {
        const Operand& m = i.op[n];
        if (m.kind != OperandKind::mem) continue;
        Operand* pointer = nullptr;
        for (u8 k = 0; k < given; ++k)
            if (i.op[k].kind == OperandKind::gpr && i.op[k].reg == m.base && i.op[k].bits == i.address_bits)
                pointer = &i.op[k];
        if (!pointer) {
            pointer = &i.op[i.operand_count++];
            pointer->kind = OperandKind::gpr;
            pointer->reg = static_cast<u8>(m.base);
            pointer->bits = i.address_bits;
        }
        pointer->read = pointer->written = true;
        pointer->conditional_write = repeated;
    }
}

/// Corrections to Zydis' operand tables, where ours promise more (insn.h).
void settle_operands(Insn& i, const ZydisDecodedInstruction& z) {
    switch (i.mnemonic) {
        // An address, but no access.
        case ZYDIS_MNEMONIC_NOP:
        case ZYDIS_MNEMONIC_INVLPG:
        case ZYDIS_MNEMONIC_PREFETCH:
        case ZYDIS_MNEMONIC_PREFETCHNTA:
        case ZYDIS_MNEMONIC_PREFETCHT0:
        case ZYDIS_MNEMONIC_PREFETCHT1:
        case ZYDIS_MNEMONIC_PREFETCHT2:
        case ZYDIS_MNEMONIC_PREFETCHW:
        case ZYDIS_MNEMONIC_PREFETCHWT1:
            for (u8 n = 0; n < i.operand_count; ++n) {
                i.op[n].agen = i.op[n].kind == OperandKind::mem;
                i.op[n].read = i.op[n].written = i.op[n].conditional_write = false;
            }
            break;
        case ZYDIS_MNEMONIC_XLAT:  // [rBX + AL]
            for (u8 n = 0; n < i.operand_count; ++n)
                if (i.op[n].kind == OperandKind::gpr) i.op[n].read = true;
            break;
        case ZYDIS_MNEMONIC_BSF:  // a source of 0 leaves the destination as it is (AMD APM 3 BSF)
        case ZYDIS_MNEMONIC_BSR: i.op[0].read = i.op[0].conditional_write = true; break;
        case ZYDIS_MNEMONIC_MASKMOVQ:
        case ZYDIS_MNEMONIC_MASKMOVDQU:
        case ZYDIS_MNEMONIC_VMASKMOVDQU:
            for (u8 n = 0; n < i.operand_count; ++n)
                if (i.op[n].kind == OperandKind::mem) i.op[n].conditional_write = true;
            break;
        default:
            if (z.meta.category == ZYDIS_CATEGORY_STRINGOP || z.meta.category == ZYDIS_CATEGORY_IOSTRINGOP)
                settle_string(i);
            break;
    }
}

/// ModRM.mod 0 with a SIB whose base is 101b is a displacement without base, whatever REX.B or VEX.B say
/// (Intel SDM 2A table 2-5). Zydis takes it for R13 under an address-size prefix.
void settle_base(Insn& i) {
    if (!i.has_modrm || i.address_bits == 16 || (i.modrm & 0xc7) != 4) return;
    const u8* const sib = &i.bytes[i.modrm_offset + 1u];
    if ((*sib & 7) != 5) return;
    i32 disp;
    std::memcpy(&disp, sib + 1, sizeof disp);
    for (u8 n = 0; n < i.operand_count; ++n) {
        Operand& o = i.op[n];
        if (o.kind != OperandKind::mem || !o.is_explicit || o.base < 0) continue;
        o.base = -1;
        o.disp = disp;
        i.disp_offset = static_cast<u8>(i.modrm_offset + 2);
        i.disp_bits = 32;
    }
}

bool is_privileged(const ZydisDecodedInstruction& z) {
    switch (z.mnemonic) {
        case ZYDIS_MNEMONIC_LGDT:
        case ZYDIS_MNEMONIC_LIDT:
        case ZYDIS_MNEMONIC_LLDT:
        case ZYDIS_MNEMONIC_LTR:
        case ZYDIS_MNEMONIC_LMSW:
        case ZYDIS_MNEMONIC_CLTS:
        case ZYDIS_MNEMONIC_HLT:
        case ZYDIS_MNEMONIC_INVD:
        case ZYDIS_MNEMONIC_WBINVD:
        case ZYDIS_MNEMONIC_INVLPG:
        case ZYDIS_MNEMONIC_INVPCID:
        case ZYDIS_MNEMONIC_RDMSR:
        case ZYDIS_MNEMONIC_WRMSR:
        case ZYDIS_MNEMONIC_SWAPGS:
        case ZYDIS_MNEMONIC_SYSRET:
        case ZYDIS_MNEMONIC_SYSEXIT:
        case ZYDIS_MNEMONIC_XSETBV: return true;
        default: return z.attributes & ZYDIS_ATTRIB_IS_PRIVILEGED;
    }
}

/// Offsets and bytes of the encoding.
void settle_layout(Insn& i, const ZydisDecodedInstruction& z, const u8* code) {
    std::copy_n(code, z.length, i.bytes.begin());
    i.opcode_map = static_cast<u8>(z.opcode_map);
    i.opcode = z.opcode;
    i.prefix_bytes = z.raw.prefix_count;
    if (z.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX) {
        i.vex = true;
        i.prefix_bytes = static_cast<u8>(z.raw.vex.offset + z.raw.vex.size);
    } else if (z.attributes & ZYDIS_ATTRIB_HAS_REX) {
        i.rex = code[z.raw.rex.offset];
    }
    if (z.attributes & ZYDIS_ATTRIB_HAS_MODRM) {
        i.has_modrm = true;
        i.modrm_offset = z.raw.modrm.offset;
        i.modrm = code[i.modrm_offset];
    }
    if (z.raw.disp.size) {
        i.disp_offset = z.raw.disp.offset;
        i.disp_bits = z.raw.disp.size;
    }
    if (z.raw.imm[0].size) {
        i.imm_offset = z.raw.imm[0].offset;
        i.imm_bits = z.raw.imm[0].size;
    }
}

/// Transfers that Zydis does not class as branches.
bool is_system_transfer(ZydisMnemonic m) {
    switch (m) {
        case ZYDIS_MNEMONIC_INT:
        case ZYDIS_MNEMONIC_INT1:
        case ZYDIS_MNEMONIC_INT3:
        case ZYDIS_MNEMONIC_INTO:
        case ZYDIS_MNEMONIC_IRET:
        case ZYDIS_MNEMONIC_IRETD:
        case ZYDIS_MNEMONIC_IRETQ:
        case ZYDIS_MNEMONIC_SYSCALL:
        case ZYDIS_MNEMONIC_SYSRET:
        case ZYDIS_MNEMONIC_SYSENTER:
        case ZYDIS_MNEMONIC_SYSEXIT:
        case ZYDIS_MNEMONIC_RSM: return true;
        default: return false;
    }
}

/// out = Insn{}, without what g++ makes of it: "rep stos" and "rep movs", whose start-up took half of
/// decode()'s time (the length, being volatile, leaves the copy to the C library).
void clear(Insn& out) {
    static_assert(std::is_trivially_copyable_v<Insn>);
    static constexpr Insn blank{};
    static const volatile size_t bytes = sizeof blank;
    std::memcpy(&out, &blank, bytes);
}

/// BSF and BSR where F3 does not make them TZCNT and LZCNT: the host may have those, so that the prefix
/// must not reach it. DS has no meaning for what is re-encoded from `bytes`.
void drop_repeat_prefix(Insn& i) {
    if (i.mnemonic != ZYDIS_MNEMONIC_BSF && i.mnemonic != ZYDIS_MNEMONIC_BSR) return;
    for (u8 n = 0; n < i.prefix_bytes; ++n)
        if (i.bytes[n] == 0xf3) i.bytes[n] = 0x3e;
}

DecodeStatus failure(ZyanStatus status, size_t bytes) {
    if (status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG) return DecodeStatus::too_long;
    if (status == ZYDIS_STATUS_NO_MORE_DATA)
        return bytes >= max_length ? DecodeStatus::too_long : DecodeStatus::need_more;
    return DecodeStatus::invalid;
}

}  // namespace

DecodeStatus decode(std::span<const u8> code, CodeSize size, Insn& out, const InsnSet& set) {
    const size_t bytes = std::min(code.size(), max_length);
    if (bytes == 0) return DecodeStatus::need_more;
    const ZydisDecoder& decoder = decoders[set.decoder()][static_cast<size_t>(size)];
    ZydisDecoderContext context;
    ZydisDecodedInstruction z;
    ZyanStatus status = ZydisDecoderDecodeInstruction(&decoder, &context, code.data(), bytes, &z);
    if (!ZYAN_SUCCESS(status)) return failure(status, bytes);
    if (!set.has(z)) return DecodeStatus::invalid;

    std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands;
    status = ZydisDecoderDecodeOperands(&decoder, &context, &z, operands.data(), z.operand_count);
    if (!ZYAN_SUCCESS(status)) return failure(status, bytes);

    clear(out);
    out.mnemonic = z.mnemonic;
    out.length = z.length;
    out.code = size;
    out.operand_bits = z.operand_width;
    out.address_bits = z.address_width;
    out.lock = z.attributes & ZYDIS_ATTRIB_HAS_LOCK;
    out.rep = z.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE);
    out.repne = z.attributes & ZYDIS_ATTRIB_HAS_REPNE;
    if (out.repne && !(z.attributes & ZYDIS_ATTRIB_ACCEPTS_REPE)) {
        out.rep = true;  // F2 before MOVS, STOS, LODS, INS, OUTS repeats as F3 does
        out.repne = false;
    }
    out.privileged = is_privileged(z);
    out.isa_ext = z.meta.isa_ext;
    out.isa_set = z.meta.isa_set;
    out.is_branch = z.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE || is_system_transfer(z.mnemonic);
    out.uses_vector_state = touches_vector_state(z);
    settle_layout(out, z, code.data());
    drop_repeat_prefix(out);

    static_assert(std::tuple_size_v<decltype(out.op)> >= ZYDIS_MAX_OPERAND_COUNT);
    out.operand_count = z.operand_count;
    for (u8 n = 0; n < z.operand_count; ++n) {
        Operand& o = out.op[n];
        set_operand(o, operands[n]);
        out.uses_vector_state |=
            o.kind == OperandKind::vector || o.kind == OperandKind::mmx || o.kind == OperandKind::x87;
    }
    settle_operands(out, z);
    settle_base(out);
    settle_flags(out, z.cpu_flags);
    return DecodeStatus::ok;
}

std::string disassemble(std::span<const u8> code, CodeSize size, u64 rip) {
    static const ZydisFormatter formatter = [] {
        ZydisFormatter f;
        ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL);
        return f;
    }();
    ZydisDecodedInstruction z;
    std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands;
    const ZyanStatus status = ZydisDecoderDecodeFull(&decoders[3][static_cast<size_t>(size)], code.data(),
                                                     std::min(code.size(), max_length), &z, operands.data());
    if (!ZYAN_SUCCESS(status)) return "(bad)";
    std::array<char, 256> text;
    if (!ZYAN_SUCCESS(ZydisFormatterFormatInstruction(&formatter, &z, operands.data(),
                                                      z.operand_count_visible, text.data(), text.size(), rip,
                                                      ZYAN_NULL)))
        return "(bad)";
    return text.data();
}

}  // namespace triune::x86
