// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Arithmetic with exact flags: the host's own instruction on the guest's values. Undefined flags
/// are what the host makes of them.
///
/// SAFETY: every asm here works on registers only, leaves the stack alone and declares all that it
/// changes. LAHF and SETO pick the six status flags up without touching the stack.
#include <type_traits>

#include "base/types.h"

namespace triune::hypervisor::soft::interp::alu {

/// AX after "lahf; seto al" as RFLAGS bits.
inline u32 from_ax(u32 ax) { return ((ax >> 8) & 0xd5) | ((ax & 1) << 11); }

#define TRIUNE_ALU_BINARY(name, insn)                                                               \
    template <class T>                                                                              \
    inline T name(T a, T b, u32& flags) {                                                           \
        u32 ax;                                                                                     \
        asm(insn " %[b], %[a]\n\tlahf\n\tseto %%al" : [a] "+&q"(a), "=&a"(ax) : [b] "q"(b) : "cc"); \
        flags = from_ax(ax);                                                                        \
        return a;                                                                                   \
    }
TRIUNE_ALU_BINARY(add, "add")
TRIUNE_ALU_BINARY(sub, "sub")
TRIUNE_ALU_BINARY(and_, "and")
TRIUNE_ALU_BINARY(or_, "or")
TRIUNE_ALU_BINARY(xor_, "xor")
#undef TRIUNE_ALU_BINARY

#define TRIUNE_ALU_CARRY(name, insn)                                  \
    template <class T>                                                \
    inline T name(T a, T b, u32& flags, u32 carry) {                  \
        u32 ax;                                                       \
        asm("bt $0, %[c]\n\t" insn " %[b], %[a]\n\tlahf\n\tseto %%al" \
            : [a] "+&q"(a), "=&a"(ax)                                 \
            : [b] "q"(b), [c] "r"(carry)                              \
            : "cc");                                                  \
        flags = from_ax(ax);                                          \
        return a;                                                     \
    }
TRIUNE_ALU_CARRY(adc, "adc")
TRIUNE_ALU_CARRY(sbb, "sbb")
#undef TRIUNE_ALU_CARRY

#define TRIUNE_ALU_UNARY(name, insn)                                               \
    template <class T>                                                             \
    inline T name(T a, u32& flags) {                                               \
        u32 ax;                                                                    \
        asm(insn " %[a]\n\tlahf\n\tseto %%al" : [a] "+&q"(a), "=&a"(ax) : : "cc"); \
        flags = from_ax(ax);                                                       \
        return a;                                                                  \
    }
TRIUNE_ALU_UNARY(neg, "neg")
TRIUNE_ALU_UNARY(inc, "inc")
TRIUNE_ALU_UNARY(dec, "dec")
#undef TRIUNE_ALU_UNARY

// Shifts and rotates by CL; `count` as the guest gave it, not 0 after masking. CF goes in for RCL
// and RCR, and so that flags which a shift leaves alone are the guest's.
#define TRIUNE_ALU_SHIFT(name, insn)                                  \
    template <class T>                                                \
    inline T name(T a, u8 count, u32& flags, u32 carry) {             \
        u32 ax;                                                       \
        asm("bt $0, %[c]\n\t" insn " %%cl, %[a]\n\tlahf\n\tseto %%al" \
            : [a] "+&q"(a), "=&a"(ax)                                 \
            : "c"(count), [c] "r"(carry)                              \
            : "cc");                                                  \
        flags = from_ax(ax);                                          \
        return a;                                                     \
    }
TRIUNE_ALU_SHIFT(shl, "shl")
TRIUNE_ALU_SHIFT(shr, "shr")
TRIUNE_ALU_SHIFT(sar, "sar")
TRIUNE_ALU_SHIFT(rol, "rol")
TRIUNE_ALU_SHIFT(ror, "ror")
TRIUNE_ALU_SHIFT(rcl, "rcl")
TRIUNE_ALU_SHIFT(rcr, "rcr")
#undef TRIUNE_ALU_SHIFT

#define TRIUNE_ALU_DOUBLE_SHIFT(name, insn)               \
    template <class T>                                    \
    inline T name(T a, T b, u8 count, u32& flags) {       \
        u32 ax;                                           \
        asm(insn " %%cl, %[b], %[a]\n\tlahf\n\tseto %%al" \
            : [a] "+&r"(a), "=&a"(ax)                     \
            : [b] "r"(b), "c"(count)                      \
            : "cc");                                      \
        flags = from_ax(ax);                              \
        return a;                                         \
    }
TRIUNE_ALU_DOUBLE_SHIFT(shld, "shld")
TRIUNE_ALU_DOUBLE_SHIFT(shrd, "shrd")
#undef TRIUNE_ALU_DOUBLE_SHIFT

/// BSF and BSR: `dest` is the whole old register, which a zero source leaves as it is.
#define TRIUNE_ALU_SCAN(name, insn)                       \
    template <class T>                                    \
    inline u64 name(u64 dest, T source, u32& flags) {     \
        u32 ax;                                           \
        if constexpr (sizeof(T) == 8)                     \
            asm(insn " %[b], %[a]\n\tlahf\n\tseto %%al"   \
                : [a] "+&r"(dest), "=&a"(ax)              \
                : [b] "r"(source)                         \
                : "cc");                                  \
        else if constexpr (sizeof(T) == 4)                \
            asm(insn " %k[b], %k[a]\n\tlahf\n\tseto %%al" \
                : [a] "+&r"(dest), "=&a"(ax)              \
                : [b] "r"(source)                         \
                : "cc");                                  \
        else                                              \
            asm(insn " %w[b], %w[a]\n\tlahf\n\tseto %%al" \
                : [a] "+&r"(dest), "=&a"(ax)              \
                : [b] "r"(static_cast<u16>(source))       \
                : "cc");                                  \
        flags = from_ax(ax);                              \
        return dest;                                      \
    }
TRIUNE_ALU_SCAN(bsf, "bsf")
TRIUNE_ALU_SCAN(bsr, "bsr")
TRIUNE_ALU_SCAN(popcnt, "popcnt")
TRIUNE_ALU_SCAN(lzcnt, "lzcnt")
TRIUNE_ALU_SCAN(tzcnt, "tzcnt")
#undef TRIUNE_ALU_SCAN

/// These instructions have no 8- and 16-bit forms.
template <class T>
using AtLeast32 = std::conditional_t<(sizeof(T) < 4), u32, T>;

// BMI1/BMI2 with three register operands in Intel's order: result = a op b.
#define TRIUNE_ALU_BMI(name, insn)                               \
    template <class T>                                           \
    inline T name(T a, T b, u32& flags) {                        \
        u32 ax;                                                  \
        AtLeast32<T> r;                                          \
        asm(insn " %[b], %[a], %[r]\n\tlahf\n\tseto %%al"        \
            : [r] "=&r"(r), "=&a"(ax)                            \
            : [a] "r"(AtLeast32<T>{a}), [b] "r"(AtLeast32<T>{b}) \
            : "cc");                                             \
        flags = from_ax(ax);                                     \
        return static_cast<T>(r);                                \
    }
TRIUNE_ALU_BMI(andn, "andn")    // ~a & b
TRIUNE_ALU_BMI(bextr, "bextr")  // a by b; operands reversed in AT&T order as in the others
TRIUNE_ALU_BMI(bzhi, "bzhi")
TRIUNE_ALU_BMI(pdep, "pdep")
TRIUNE_ALU_BMI(pext, "pext")
#undef TRIUNE_ALU_BMI

#define TRIUNE_ALU_BLS(name, insn)                  \
    template <class T>                              \
    inline T name(T a, u32& flags) {                \
        u32 ax;                                     \
        AtLeast32<T> r;                             \
        asm(insn " %[a], %[r]\n\tlahf\n\tseto %%al" \
            : [r] "=&r"(r), "=&a"(ax)               \
            : [a] "r"(AtLeast32<T>{a})              \
            : "cc");                                \
        flags = from_ax(ax);                        \
        return static_cast<T>(r);                   \
    }
TRIUNE_ALU_BLS(blsi, "blsi")
TRIUNE_ALU_BLS(blsr, "blsr")
TRIUNE_ALU_BLS(blsmsk, "blsmsk")
#undef TRIUNE_ALU_BLS

/// Two-operand signed multiply.
template <class T>
inline T imul(T a, T b, u32& flags) {
    u32 ax;
    asm("imul %[b], %[a]\n\tlahf\n\tseto %%al" : [a] "+&r"(a), "=&a"(ax) : [b] "r"(b) : "cc");
    flags = from_ax(ax);
    return a;
}

// One-operand multiplies: a * b into high:low.
#define TRIUNE_ALU_WIDE(name, insn)                                   \
    template <class T>                                                \
    inline void name(T a, T b, T& low, T& high, u32& flags) {         \
        u64 ax = a;                                                   \
        if constexpr (sizeof(T) == 1) {                               \
            u64 product;                                              \
            asm(insn " %b[b]\n\tmov %%rax, %[p]\n\tlahf\n\tseto %%al" \
                : "+&a"(ax), [p] "=&r"(product)                       \
                : [b] "q"(b)                                          \
                : "cc");                                              \
            low = static_cast<T>(product);                            \
            high = static_cast<T>(product >> 8);                      \
        } else {                                                      \
            u64 l, d;                                                 \
            asm(insn " %[b]\n\tmov %%rax, %[l]\n\tlahf\n\tseto %%al"  \
                : "+&a"(ax), "=&d"(d), [l] "=&r"(l)                   \
                : [b] "r"(b)                                          \
                : "cc");                                              \
            low = static_cast<T>(l);                                  \
            high = static_cast<T>(d);                                 \
        }                                                             \
        flags = from_ax(static_cast<u32>(ax));                        \
    }
TRIUNE_ALU_WIDE(mul_wide, "mul")
TRIUNE_ALU_WIDE(imul_wide, "imul")
#undef TRIUNE_ALU_WIDE

/// SSE4.2 CRC32 (Castagnoli) of `v` added to `crc`.
template <class T>
inline u32 crc32c(u32 crc, T v) {
    u64 c = crc;
    if constexpr (sizeof(T) == 8)
        asm("crc32q %[v], %[c]" : [c] "+r"(c) : [v] "r"(v));
    else if constexpr (sizeof(T) == 4)
        asm("crc32l %[v], %k[c]" : [c] "+r"(c) : [v] "r"(v));
    else if constexpr (sizeof(T) == 2)
        asm("crc32w %[v], %k[c]" : [c] "+r"(c) : [v] "r"(v));
    else
        asm("crc32b %[v], %k[c]" : [c] "+r"(c) : [v] "q"(v));
    return static_cast<u32>(c);
}

/// RDRAND and RDSEED; false when the host had no value.
inline bool rdrand(u64& v) {
    bool ok;
    asm volatile("rdrand %0" : "=r"(v), "=@ccc"(ok));
    return ok;
}
inline bool rdseed(u64& v) {
    bool ok;
    asm volatile("rdseed %0" : "=r"(v), "=@ccc"(ok));
    return ok;
}

}  // namespace triune::hypervisor::soft::interp::alu
