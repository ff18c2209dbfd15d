// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
//
// Any instructions with any registers, control registers and MSRs, in every mode, on the reference engine and
// soft/system below it: the guest may get any exception, the monitor none. This is the surface that system
// instructions, MSRs, CPUID and hypercalls make up.
#include <cstdlib>
#include <cstring>

#include "hypervisor/soft/interp/test_machine.h"

namespace {

using namespace triune;
using namespace triune::hypervisor::soft::interp;
using test::Machine;

/// Instructions that reach soft/system, so that the fuzzer need not find their opcodes.
constexpr u8 system_code[][3] = {
    {0x0f, 0x32, 0x90}, {0x0f, 0x30, 0x90}, {0x0f, 0xa2, 0x90}, {0x0f, 0x01, 0xc1}, {0x0f, 0x01, 0xd9},
    {0x0f, 0x01, 0xd0}, {0x0f, 0x01, 0xd1}, {0x0f, 0x05, 0x90}, {0x0f, 0x07, 0x90}, {0x0f, 0x34, 0x90},
    {0x0f, 0x35, 0x90}, {0x0f, 0x22, 0xc0}, {0x0f, 0x22, 0xd8}, {0x0f, 0x22, 0xe0}, {0x0f, 0x23, 0xf8},
    {0x0f, 0x00, 0xd0}, {0x0f, 0x00, 0xd8}, {0x8e, 0xd0, 0x90}, {0x8e, 0xd8, 0x90}, {0x0f, 0x01, 0xf8},
    {0x9d, 0x90, 0x90}, {0xcf, 0x90, 0x90}, {0xcb, 0x90, 0x90}, {0x0f, 0x33, 0x90}, {0xcd, 0x80, 0x90},
    {0xf4, 0x90, 0x90}, {0xee, 0x90, 0x90}, {0xed, 0x90, 0x90}, {0x0f, 0x02, 0xc0}, {0x0f, 0x03, 0xc0},
};

/// What MSR numbers cluster around.
constexpr u32 msr_bases[] = {0x0,   0x10,       0x1b,       0x174,      0x1d9, 0x200,      0x277,      0x2ff,
                             0x800, 0xc0000080, 0xc0000100, 0xc0010000, 0xd90, 0x4b564d00, 0x40000000, 0x6e0};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, size_t size) {
    static Machine m;
    const u8* const end = data + size;
    const auto byte = [&] { return data == end ? u8{0} : *data++; };
    const auto number = [&](unsigned bytes) {
        u64 v = 0;
        for (unsigned i = 0; i < bytes; ++i) v |= u64{byte()} << 8 * i;
        return v;
    };
    x86::reset_state(m.state(), false);
    m.enter_long_mode();
    m.mmu.flush_all();
    m.io.writes.clear();
    const u8 shape = byte();
    for (unsigned g = 0; g < 16; ++g) m.state().gpr[g] = test::data_base + number(2);
    m.state().gpr[x86::rsp] = test::stack_top;
    m.state().rflags = (number(3) & 0x24'fcd5) | 2;
    switch (shape & 3) {
        case 0: break;
        case 1: m.user(); break;
        case 2: m.protected32(); break;
        case 3: m.real_mode(); break;
    }
    if (shape & 4) m.state().gpr[x86::rcx] = msr_bases[byte() % std::size(msr_bases)] + (byte() & 0x1f);
    if (shape & 8) m.state().gpr[x86::rax] = number(8);
    if (shape & 16) m.state().cr4 ^= number(3) & 0x37'0fff & ~u64{x86::cr4::pae};
    while (data != end) {
        // Stack contents, descriptors and page tables are guest memory like any other.
        if (const u8 poke = byte(); poke & 1) {
            constexpr Gpa places[] = {test::stack_top, test::gdt, test::idt,
                                      test::data_base, test::tss, test::tables};
            const Gpa at = places[(poke >> 1) % std::size(places)] + (number(1) << 3);
            m.poke<u64>(at, number(8));
        }
        u8 code[16];
        std::memset(code, 0x90, sizeof code);
        if (const u8 kind = byte(); kind < 128)
            std::memcpy(code, system_code[kind % std::size(system_code)], 3);
        else
            for (u8& b : code) b = byte();
        m.load(code);
        m.state().halted = 0;
        const auto done = m.step(2);
        if (!(m.state().rflags & 2)) std::abort();
        if (done == Interpreter::Step::shutdown) break;
    }
    return 0;
}
