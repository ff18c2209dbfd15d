// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0

// What decode() says an instruction reads and writes, held against the host's processor: an
// instruction must leave alone what is not listed as written, and what is not listed as read must not
// show in its results. The translator's liveness analysis stands on this.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <random>
#include <set>

#include "x86/host_cpuid.h"
#include "x86/insn.h"
#include "x86/vcpu_state.h"

namespace triune::x86 {
namespace {

constexpr u32 status = flag::arithmetic | flag::df;
constexpr u8 memory_base = rbx;

struct Machine {
    std::array<u64, 16> gpr{};
    u64 flags = 0;
    alignas(64) std::array<u64, 16> memory{};
    bool operator==(const Machine&) const = default;
};

/// Runs one instruction of 64-bit code on a Machine's registers (all but RSP) and status flags.
class Stub {
public:
    Stub()
        : code_(static_cast<u8*>(
              mmap(nullptr, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {}
    ~Stub() { munmap(code_, page_size); }
    Stub(const Stub&) = delete;
    Stub& operator=(const Stub&) = delete;

    void build(const Insn& i) {
        ASSERT_EQ(mprotect(code_, page_size, PROT_READ | PROT_WRITE), 0);
        at_ = code_;
        emit({0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57});  // push rbx, rbp, r12-r15
        emit({0x57});                                                        // push rdi
        emit({0xff, 0xb7, 0x80, 0, 0, 0, 0x9d});                             // push [rdi+128]; popfq
        for (u8 r = 0; r < 16; ++r)
            if (r != rsp && r != rdi) move(0x8b, r);
        move(0x8b, rdi);
        for (u8 n = 0; n < i.length; ++n) *at_++ = i.bytes[n];
        emit({0x9c, 0x57, 0x48, 0x8b, 0x7c, 0x24, 0x10});  // pushfq; push rdi; mov rdi, [rsp+16]
        for (u8 r = 0; r < 16; ++r)
            if (r != rsp && r != rdi) move(0x89, r);
        emit({0x8f, 0x47, 56, 0x8f, 0x87, 0x80, 0, 0, 0});  // pop [rdi+56]; pop [rdi+128]
        emit({0x5f, 0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xfc, 0xc3});
        ASSERT_EQ(mprotect(code_, page_size, PROT_READ | PROT_EXEC), 0);
    }

    // Generated code has no type for UBSan to look at in front of it.
#ifdef __clang__
    __attribute__((no_sanitize("function")))
#endif
    void
    run(Machine& m) const {
        static_assert(offsetof(Machine, flags) == 128);
        // SAFETY: code_ holds the function that build() wrote, with the C calling convention.
        reinterpret_cast<void (*)(Machine*)>(code_)(&m);
        m.flags &= status;
    }

private:
    void emit(std::initializer_list<u8> bytes) {
        for (u8 b : bytes) *at_++ = b;
    }
    /// mov r, [rdi+8r] (8b) or mov [rdi+8r], r (89).
    void move(u8 opcode, u8 r) {
        emit({static_cast<u8>(0x48 | (r >= 8 ? 4 : 0)), opcode, static_cast<u8>(0x47 | (r & 7) << 3),
              static_cast<u8>(8 * r)});
    }
    u8* code_;
    u8* at_ = nullptr;
};

/// Only registers, flags and memory at [rbx]; no fault possible; no answer from outside.
bool testable(const Insn& i) {
    if (i.is_branch || i.privileged || i.uses_vector_state || i.lock || i.address_bits != 64) return false;
    switch (i.mnemonic) {
        case ZYDIS_MNEMONIC_CPUID:
        case ZYDIS_MNEMONIC_RDTSC:
        case ZYDIS_MNEMONIC_RDTSCP:
        case ZYDIS_MNEMONIC_RDPID:
        case ZYDIS_MNEMONIC_RDPMC:
        case ZYDIS_MNEMONIC_RDRAND:
        case ZYDIS_MNEMONIC_RDSEED:
        case ZYDIS_MNEMONIC_XGETBV:
        case ZYDIS_MNEMONIC_IN:
        case ZYDIS_MNEMONIC_OUT:
        case ZYDIS_MNEMONIC_INSB:
        case ZYDIS_MNEMONIC_INSW:
        case ZYDIS_MNEMONIC_INSD:
        case ZYDIS_MNEMONIC_OUTSB:
        case ZYDIS_MNEMONIC_OUTSW:
        case ZYDIS_MNEMONIC_OUTSD:
        case ZYDIS_MNEMONIC_CLI:
        case ZYDIS_MNEMONIC_STI:
        case ZYDIS_MNEMONIC_VMCALL:
        case ZYDIS_MNEMONIC_VMMCALL:
        case ZYDIS_MNEMONIC_SGDT:
        case ZYDIS_MNEMONIC_SIDT:
        case ZYDIS_MNEMONIC_SLDT:
        case ZYDIS_MNEMONIC_STR:
        case ZYDIS_MNEMONIC_SMSW:
        case ZYDIS_MNEMONIC_LAR:
        case ZYDIS_MNEMONIC_LSL:
        case ZYDIS_MNEMONIC_VERR:
        case ZYDIS_MNEMONIC_VERW:
        case ZYDIS_MNEMONIC_RDFSBASE:
        case ZYDIS_MNEMONIC_RDGSBASE:
        case ZYDIS_MNEMONIC_WRFSBASE:
        case ZYDIS_MNEMONIC_WRGSBASE:
        case ZYDIS_MNEMONIC_DIV:
        case ZYDIS_MNEMONIC_IDIV: return false;
        default: break;
    }
    // 0F 0D with a register is a NOP to Intel, #UD to AMD.
    if (i.mnemonic == ZYDIS_MNEMONIC_NOP && i.opcode == 0x0d) return false;
    bool bit_string = false;
    for (u8 n = 0; n < i.operand_count; ++n) {
        const Operand& o = i.op[n];
        if (o.kind == OperandKind::segment) return false;
        if (o.kind == OperandKind::gpr && o.reg == rsp && !o.high8) return false;
        if (o.kind == OperandKind::mem) {
            const bool string =
                (!o.is_explicit && (o.base == rsi || o.base == rdi)) || i.mnemonic == ZYDIS_MNEMONIC_XLAT;
            if (i.has_modrm ? o.base != memory_base || o.index >= 0 || o.disp != 0 || o.segment != ds
                            : !string)
                return false;
            for (u8 k = 0; k < i.operand_count; ++k)
                if (i.op[k].kind == OperandKind::gpr && i.op[k].reg == memory_base && i.op[k].written)
                    return false;
            bit_string = i.mnemonic == ZYDIS_MNEMONIC_BT || i.mnemonic == ZYDIS_MNEMONIC_BTS ||
                         i.mnemonic == ZYDIS_MNEMONIC_BTR || i.mnemonic == ZYDIS_MNEMONIC_BTC;
        }
    }
    return !(bit_string && i.op[1].kind == OperandKind::gpr);
}

/// The bits of register `r` that operand `o` covers, when it writes (a 32-bit write clears the rest).
u64 covered(const Operand& o, bool as_written) {
    if (o.high8) return 0xff00;
    if (o.bits >= 64 || (as_written && o.bits == 32)) return ~u64{0};
    return (u64{1} << o.bits) - 1;
}

struct Access {
    std::array<u64, 16> read{}, written{};
    bool memory_written = false, memory_read = false;
};

Access access_of(const Insn& i) {
    Access a;
    for (u8 n = 0; n < i.operand_count; ++n) {
        const Operand& o = i.op[n];
        if (o.kind == OperandKind::gpr) {
            // A write that may not happen, or not to all of the register, keeps the old value alive.
            if (o.read || o.conditional_write) a.read[o.reg] |= covered(o, o.conditional_write);
            if (o.written) a.written[o.reg] |= covered(o, true);
            if (o.written) a.read[o.reg] |= ~covered(o, true);
        } else if (o.kind == OperandKind::mem) {
            a.read[static_cast<u8>(o.base)] = ~u64{0};
            if (!o.agen) {
                a.memory_read |= o.read;
                a.memory_written |= o.written;
            }
        }
    }
    return a;
}

class Silicon : public testing::Test {
protected:
    u64 pick() {
        static constexpr std::array<u64, 8> edges{0, 1, 2, 0x7f, 0x80, ~u64{0}, u64{1} << 31, u64{1} << 63};
        return random_() % 3 ? random_() : edges[random_() % edges.size()];
    }

    Machine random_machine() {
        Machine m;
        for (u64& r : m.gpr) r = pick();
        for (u64& w : m.memory) w = pick();
        m.flags = random_() & status;
        return m;
    }

    /// Pointers for memory operands: string instructions start in the middle and move little.
    void place(Machine& m, const Insn& i) {
        for (u8 n = 0; n < i.operand_count; ++n)
            if (i.op[n].kind == OperandKind::mem)
                m.gpr[static_cast<u8>(i.op[n].base)] =
                    reinterpret_cast<u64>(&arena_.memory[i.has_modrm ? 0 : 8]);
        if (i.mnemonic == ZYDIS_MNEMONIC_XLAT) m.gpr[rax] &= ~u64{0xc0};
        if (i.rep || i.repne) m.gpr[rcx] &= 3;
    }

    /// Always at the same place, since pointers are values.
    Machine run(const Machine& m) {
        arena_ = m;
        stub_.run(arena_);
        return arena_;
    }

    void check(const Insn& i) {
        const std::string name = disassemble({i.bytes.data(), i.length}, CodeSize::bits64, 0);
        stub_.build(i);
        const Access a = access_of(i);
        for (int trial = 0; trial < 12; ++trial) {
            Machine in = random_machine();
            place(in, i);
            // Everything that is not read gets another value.
            Machine other = in;
            for (u8 r = 0; r < 16; ++r) other.gpr[r] ^= random_() & ~a.read[r];
            other.flags ^= random_() & status & ~(i.flags_read | i.flags_maybe_written);
            if (!a.memory_read && !a.memory_written)
                for (u64& w : other.memory) w = random_();
            const Machine out = run(in), other_out = run(other);
            for (u8 r = 0; r < 16; ++r) {
                if (r == rsp) continue;
                ASSERT_EQ((out.gpr[r] ^ in.gpr[r]) & ~a.written[r], 0u)
                    << name << ": changes bits of register " << int{r} << " that it is not said to write";
                ASSERT_EQ((out.gpr[r] ^ other_out.gpr[r]) & a.written[r], 0u)
                    << name << ": register " << int{r} << " depends on something not listed as read";
            }
            ASSERT_EQ((out.flags ^ in.flags) & ~i.flags_written, 0u) << name << ": changes flags not listed";
            ASSERT_EQ((out.flags ^ other_out.flags) & i.flags_written & ~i.flags_undefined, 0u)
                << name << ": flags depend on something not listed as read";
            ASSERT_TRUE(a.memory_written ? out.memory == other_out.memory : out.memory == in.memory) << name;
        }
        ++checked_;
    }

    void consider(std::initializer_list<u8> prefixes, std::initializer_list<u8> opcode, u8 modrm) {
        std::array<u8, 15> bytes;
        auto* p = std::copy(prefixes.begin(), prefixes.end(), bytes.begin());
        p = std::copy(opcode.begin(), opcode.end(), p);
        *p++ = modrm;
        while (p != bytes.end()) *p++ = static_cast<u8>(random_());
        Insn i;
        if (decode(bytes, CodeSize::bits64, i) != DecodeStatus::ok || !testable(i)) return;
        if (!seen_.insert(std::string(i.bytes.begin(), i.bytes.begin() + i.length)).second) return;
        check(i);
    }

    std::mt19937_64 random_{20261122};
    Machine arena_;
    Stub stub_;
    std::set<std::string> seen_;
    unsigned checked_ = 0;
};

/// Register forms that avoid RSP, and [rbx].
constexpr std::array<u8, 20> modrms{0xc1, 0xca, 0xd3, 0xd8, 0xea, 0xf1, 0xf8, 0xc7, 0xce, 0xd1,
                                    0x03, 0x0b, 0x13, 0x1b, 0x23, 0x2b, 0x33, 0x3b, 0xe7, 0xe9};

bool host_is_v3() {
    return __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("lzcnt") &&
           (host_cpuid(7).ebx & 1u << 19) && (host_cpuid(1).ecx & 1u << 22);
}

TEST_F(Silicon, LegacyInstructions) {
    if (!host_is_v3()) GTEST_SKIP() << "the host lacks BMI2, LZCNT, ADX or MOVBE";
    for (unsigned opcode = 0; opcode < 256; ++opcode) {
        const u8 o = static_cast<u8>(opcode);
        if (o == 0x0f || (o >= 0x40 && o < 0x50)) continue;
        for (u8 m : modrms) {
            for (auto prefixes : {std::initializer_list<u8>{},
                                  {0x66},
                                  {0x48},
                                  {0xf3},
                                  {0xf2},
                                  {0x4d},
                                  {0xf3, 0x48},
                                  {0x40}}) {
                consider(prefixes, {o}, m);
                consider(prefixes, {0x0f, o}, m);
                consider(prefixes, {0x0f, 0x38, o}, m);
                if (HasFatalFailure()) return;
            }
            consider({0xf2, 0x48}, {0x0f, 0x38, o}, m);
            consider({0x66, 0x48}, {0x0f, 0x38, o}, m);
            if (HasFatalFailure()) return;
        }
    }
    EXPECT_GT(checked_, 4000u);
}

TEST_F(Silicon, ShiftsByEveryCount) {
    for (u8 prefix : {0x40, 0x48, 0x66})
        for (unsigned count = 0; count < 256; ++count)
            for (u8 op = 0; op < 8; ++op)
                for (u8 opcode : {0xc0, 0xc1}) {
                    std::array<u8, 4> bytes{prefix, opcode, static_cast<u8>(0xc1 | op << 3),
                                            static_cast<u8>(count)};
                    Insn i;
                    ASSERT_EQ(decode(bytes, CodeSize::bits64, i), DecodeStatus::ok);
                    check(i);
                    if (HasFatalFailure()) return;
                }
}

TEST_F(Silicon, VexInstructions) {
    if (!host_is_v3()) GTEST_SKIP() << "the host lacks BMI2";
    for (unsigned opcode = 0xf0; opcode < 0x100; ++opcode)
        for (u8 map : {0xe2, 0xe3, 0x62, 0xc2})
            for (unsigned third = 0; third < 256; ++third)
                for (u8 m : modrms) {
                    consider({0xc4, map, static_cast<u8>(third)}, {static_cast<u8>(opcode)}, m);
                    if (HasFatalFailure()) return;
                }
    EXPECT_GT(checked_, 1000u);
}

}  // namespace
}  // namespace triune::x86
