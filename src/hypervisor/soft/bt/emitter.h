// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <xbyak/xbyak.h>

#include <cstring>

#include "hypervisor/soft/bt/registers.h"
#include "x86/insn.h"

namespace triune::hypervisor::soft::bt {

/// Emits host code into the writable view of the code cache. Code refers to itself by relative
/// displacements, which are the same in both views, and to data by absolute addresses below 2 GiB.
class Emitter : public Xbyak::CodeGenerator {
public:
    Emitter(u8* writable_code, size_t size) : CodeGenerator(size, writable_code) {}

    [[nodiscard]] u32 offset() const { return static_cast<u32>(getSize()); }
    void set_offset(u32 o) { setSize(o); }

    /// A field below 2 GiB as a memory operand.
    template <class T>
    Xbyak::Address at(const T& field) {
        return ptr[reinterpret_cast<const void*>(&field)];
    }
    template <class T>
    Xbyak::Address dword_at(const T& field) {
        return dword[reinterpret_cast<const void*>(&field)];
    }
    template <class T>
    Xbyak::Address qword_at(const T& field) {
        return qword[reinterpret_cast<const void*>(&field)];
    }

    /// jmp/call/jcc with a 32-bit displacement that is filled in later. Returns where it lies.
    u32 jump_forward() { return db(0xe9), rel32(); }
    u32 call_forward() { return db(0xe8), rel32(); }
    /// `condition`: the low four bits of Jcc's opcode.
    u32 jump_forward_if(u8 condition) { return db(0x0f), db(0x80 | condition), rel32(); }
    void jump_to(u32 target) { set_target(jump_forward(), target); }
    void call_to(u32 target) { set_target(call_forward(), target); }
    void jump_to_if(u8 condition, u32 target) { set_target(jump_forward_if(condition), target); }
    /// Points the displacement at `where` to the code at `target`.
    void set_target(u32 where, u32 target) {
        const i32 displacement = static_cast<i32>(target) - static_cast<i32>(where + 4);
        std::memcpy(const_cast<u8*>(getCode()) + where, &displacement, 4);
    }
    void patch_byte(u32 where, u8 value) { const_cast<u8*>(getCode())[where] = value; }
    void set_target_here(u32 where) { set_target(where, offset()); }

    /// mov reg, value in the shortest form.
    void load_constant(const Xbyak::Reg64& reg, u64 value) { mov(reg, value); }
    /// mov qword [field], value; flags unchanged; `through` is used where it takes a register.
    template <class T>
    void store_constant(const T& field, u64 value) {
        if (static_cast<i64>(value) == static_cast<i32>(value)) {
            mov(qword_at(field), value);
        } else {
            const u8* p = reinterpret_cast<const u8*>(&field);
            mov(dword_at(*p), static_cast<u32>(value));
            mov(dword_at(*(p + 4)), static_cast<u32>(value >> 32));
        }
    }

private:
    u32 rel32() {
        const u32 where = offset();
        dd(0);
        return where;
    }
};

/// Condition codes of Jcc, SETcc, CMOVcc.
namespace cc {
inline constexpr u8 o = 0, no = 1, b = 2, ae = 3, e = 4, ne = 5, be = 6, a = 7, s = 8, ns = 9;
}

/// What encode() puts in place of an instruction's operands. -1: as it was.
struct Renaming {
    int reg = -1;     ///< host register for ModRM.reg
    int rm = -1;      ///< host register for ModRM.rm (register form)
    int vvvv = -1;    ///< host register for VEX.vvvv
    int opcode = -1;  ///< host register in the opcode's low three bits
    int base = -1;    ///< memory operand becomes [base + disp]: 10, 11, 6 or 7
    int disp = 0;
    int index = -1;  ///< …[base + index], without a displacement
    u32 home = 0;    ///< not 0: ModRM.rm's register becomes [home], an address below 2 GiB
};

/// Emits `insn` with renamed registers and its memory operand as [base + disp]. Segment and address-size
/// prefixes go. What 16- and 32-bit code encodes otherwise is encoded as 64-bit code has it.
void encode(Emitter& e, const x86::Insn& insn, const Renaming& renaming);

}  // namespace triune::hypervisor::soft::bt
