// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "differential/generator.h"

#include <cstring>

namespace triune::differential {

using x86::Insn;
using x86::Operand;
using x86::OperandKind;

bool excluded(const Insn& i) {
    if (i.is_branch || i.privileged) return true;
    switch (i.mnemonic) {
        case ZYDIS_MNEMONIC_CPUID:
        case ZYDIS_MNEMONIC_RDTSC:
        case ZYDIS_MNEMONIC_RDTSCP:
        case ZYDIS_MNEMONIC_RDPID:
        case ZYDIS_MNEMONIC_RDPMC:
        case ZYDIS_MNEMONIC_RDRAND:
        case ZYDIS_MNEMONIC_RDSEED:
        case ZYDIS_MNEMONIC_XGETBV:
        case ZYDIS_MNEMONIC_RDFSBASE:
        case ZYDIS_MNEMONIC_RDGSBASE:
        case ZYDIS_MNEMONIC_WRFSBASE:
        case ZYDIS_MNEMONIC_WRGSBASE:
        case ZYDIS_MNEMONIC_CLI:
        case ZYDIS_MNEMONIC_STI:
        case ZYDIS_MNEMONIC_IN:
        case ZYDIS_MNEMONIC_OUT:
        case ZYDIS_MNEMONIC_LAR:
        case ZYDIS_MNEMONIC_LSL:
        case ZYDIS_MNEMONIC_VERR:
        case ZYDIS_MNEMONIC_VERW:
        case ZYDIS_MNEMONIC_STR:
        case ZYDIS_MNEMONIC_SLDT:
        case ZYDIS_MNEMONIC_SGDT:
        case ZYDIS_MNEMONIC_SIDT:
        case ZYDIS_MNEMONIC_SMSW:
        case ZYDIS_MNEMONIC_STAC:
        case ZYDIS_MNEMONIC_CLAC:
        case ZYDIS_MNEMONIC_VMCALL:
        case ZYDIS_MNEMONIC_VMMCALL:
        case ZYDIS_MNEMONIC_ENTER:
        case ZYDIS_MNEMONIC_LEAVE:
        case ZYDIS_MNEMONIC_MASKMOVQ:
        case ZYDIS_MNEMONIC_MASKMOVDQU:
        case ZYDIS_MNEMONIC_VMASKMOVDQU:
        // MXCSR_MASK differs: the guest is not offered AMD's misaligned mode.
        case ZYDIS_MNEMONIC_LDMXCSR:
        case ZYDIS_MNEMONIC_VLDMXCSR:
        // Hold instruction pointers.
        case ZYDIS_MNEMONIC_FNSTENV:
        case ZYDIS_MNEMONIC_FLDENV:
        case ZYDIS_MNEMONIC_FNSAVE:
        case ZYDIS_MNEMONIC_FRSTOR:
        case ZYDIS_MNEMONIC_FXSAVE:
        case ZYDIS_MNEMONIC_FXSAVE64:
        case ZYDIS_MNEMONIC_FXRSTOR:
        case ZYDIS_MNEMONIC_FXRSTOR64:
        case ZYDIS_MNEMONIC_XSAVE:
        case ZYDIS_MNEMONIC_XSAVE64:
        case ZYDIS_MNEMONIC_XRSTOR:
        case ZYDIS_MNEMONIC_XRSTOR64: return true;
        // 0F 0D with a register operand: a NOP on Intel's processors, #UD on AMD's.
        case ZYDIS_MNEMONIC_NOP: return i.opcode_map == 1 && i.opcode == 0x0d;
        // A register bit offset reaches anywhere.
        case ZYDIS_MNEMONIC_BT:
        case ZYDIS_MNEMONIC_BTS:
        case ZYDIS_MNEMONIC_BTR:
        case ZYDIS_MNEMONIC_BTC: return i.memory() && i.op[1].kind == OperandKind::gpr;
        default: return false;
    }
}

namespace {

bool safe_operands(const Insn& i) {
    for (u8 n = 0; n < i.operand_count; ++n) {
        const Operand& o = i.op[n];
        switch (o.kind) {
            case OperandKind::segment:
            case OperandKind::control:
            case OperandKind::debug:
            case OperandKind::far_ptr: return false;
            case OperandKind::gpr:
                if (o.reg == x86::rsp && !o.high8) return false;
                break;
            case OperandKind::mem:
                if (o.agen) {
                    if (o.base == x86::base_rip) return false;
                    break;
                }
                if (!o.is_explicit || o.vsib || o.base != x86::rbx || o.index >= 0 || o.segment >= x86::fs ||
                    i.address_bits != 64 || o.disp < -512 || o.disp > 512)
                    return false;
                break;
            default: break;
        }
    }
    return true;
}

}  // namespace

u64 Generator::value() {
    switch (random_() % 8) {
        case 0: return 0;
        case 1: return ~u64{0};
        case 2: return u64{1} << (random_() % 64);
        case 3: return (u64{1} << (random_() % 64)) - 1;
        case 4: return static_cast<u64>(static_cast<i64>(static_cast<i8>(random_())));
        case 5: {  // two floats
            const float f[2] = {static_cast<float>(static_cast<i32>(random_())) / 1024.0f,
                                static_cast<float>(static_cast<i16>(random_()))};
            u64 v;
            std::memcpy(&v, f, 8);
            return v;
        }
        case 6: {
            const double d = static_cast<double>(static_cast<i64>(random_())) / 65536.0;
            u64 v;
            std::memcpy(&v, &d, 8);
            return v;
        }
        default: return random_();
    }
}

void Generator::fill(std::span<u8> data) {
    for (size_t n = 0; n + 8 <= data.size(); n += 8) {
        const u64 v = value();
        std::memcpy(&data[n], &v, 8);
    }
}

Registers Generator::registers() {
    Registers r;
    for (u64& g : r.gpr) g = value();
    r.gpr[x86::rbx] = data_address + data_bytes / 2 + (random_() % 4 ? 0 : random_() % 64);
    r.flags = random_() & (x86::flag::arithmetic | x86::flag::df);
    fill({r.xsave.data() + 160, 256});
    fill({r.xsave.data() + 576, 256});
    // x87: all registers valid or empty, TOP anywhere; exceptions masked most of the time, overflow
    // and underflow always.
    const u16 fcw =
        static_cast<u16>(0x340 | (random_() % 16 ? 0x3f : (random_() & 0x3f) | 0x18) | (random_() & 0xc00));
    const u16 fsw = static_cast<u16>((random_() & 0x3800) | (random_() & 0x4700));
    const u8 tags = static_cast<u8>(random_() % 4 ? random_() : 0xff);
    std::memcpy(&r.xsave[0], &fcw, 2);
    std::memcpy(&r.xsave[2], &fsw, 2);
    r.xsave[4] = tags;
    for (unsigned n = 0; n < 8; ++n) {
        const u64 mantissa = value() | (random_() % 8 ? u64{1} << 63 : 0);
        const u16 exponent = static_cast<u16>(random_() % 4 ? 0x3fff + random_() % 64 - 32 : random_());
        std::memcpy(&r.xsave[32 + n * 16], &mantissa, 8);
        std::memcpy(&r.xsave[40 + n * 16], &exponent, 2);
    }
    const u32 mxcsr = static_cast<u32>((random_() % 16 ? 0x1f80 : random_() & 0x1f80) | (random_() & 0xe07f));
    const u32 mask = 0xffff;
    std::memcpy(&r.xsave[24], &mxcsr, 4);
    std::memcpy(&r.xsave[28], &mask, 4);
    const u64 components = 7;
    std::memcpy(&r.xsave[512], &components, 8);
    return r;
}

Insn Generator::instruction(Family family) {
    for (;;) {
        std::array<u8, 15> b{};
        size_t n = 0;
        const bool vector = family == Family::vector;
        const bool vex = random_() % 3 == 0;
        if (!vex) {
            if (random_() % 16 == 0 && !vector) b[n++] = 0xf0;
            constexpr std::array<u8, 3> prefixes = {0x66, 0xf2, 0xf3};
            if (random_() % 2) b[n++] = prefixes[random_() % 3];
            if (random_() % 2) b[n++] = static_cast<u8>(0x40 | (random_() & 15));
            switch (random_() % (vector ? 6 : 4)) {
                case 0: break;
                case 1: b[n++] = 0x0f; break;
                case 2:
                    b[n++] = 0x0f;
                    b[n++] = 0x38;
                    break;
                case 3:
                    b[n++] = 0x0f;
                    b[n++] = 0x3a;
                    break;
                default: b[n++] = 0x0f; break;
            }
        } else if (random_() % 2) {
            b[n++] = 0xc4;
            b[n++] = static_cast<u8>((random_() & 0xe0) | (1 + random_() % 3));
            b[n++] = static_cast<u8>(random_());
        } else {
            b[n++] = 0xc5;
            b[n++] = static_cast<u8>(random_());
        }
        b[n++] = static_cast<u8>(random_());
        // mod 3, or [rbx + disp8]
        b[n++] = static_cast<u8>(random_() % 2 ? 0xc0 | (random_() & 0x3f) : 0x43 | (random_() & 0x38));
        while (n < 15) b[n++] = static_cast<u8>(random_());
        if (random_() % 2) {
            // An aligned displacement, where there is one.
            for (size_t k = 1; k + 1 < 8; ++k)
                if ((b[k] & 0xc7) == 0x43) b[k + 1] &= 0xe0;
        }
        Insn i;
        if (x86::decode(b, x86::CodeSize::bits64, i) != x86::DecodeStatus::ok) continue;
        if (i.uses_vector_state != vector || excluded(i) || !safe_operands(i)) continue;
        if (const Operand* m = i.memory(); m && m->bits > 512) continue;
        return i;
    }
}

}  // namespace triune::differential
