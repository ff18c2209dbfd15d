// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "boot/bios_state.h"

#include <array>

#include "bus/pc_ports.h"

namespace triune::boot {

namespace {

namespace pc = bus::pc;

constexpr u16 bios_segment = 0xf000;
constexpr u64 segment_base = u64{bios_segment} << 4;
// Entry points of the PC's BIOS that programs know: the timer's interrupt and the IRET.
constexpr u16 timer_entry = 0xfea5, dummy_entry = 0xff53;
constexpr u16 master_entry = 0xff23, slave_entry = 0xff2b, setup_entry = 0xf000;
static_assert(segment_base + setup_entry == bios_gpa);
constexpr unsigned timer_vector = 0x08, slave_vector = 0x70, vectors = 256, lines = 8;

// 16-bit code.
constexpr std::array<u8, 26> timer_handler = {
    0x50, 0x1e,                    // push ax; push ds
    0xb8, 0x40, 0x00, 0x8e, 0xd8,  // ds = BIOS data area
    0xff, 0x06, 0x6c, 0x00,        // inc word [ticks]
    0x75, 0x04,                    // jnz
    0xff, 0x06, 0x6e, 0x00,        // inc word [ticks + 2]
    0xcd, 0x1c,                    // int 0x1c: the user's timer tick
    0xb0, 0x20, 0xe6, 0x20,        // end of interrupt
    0x1f, 0x58, 0xcf,              // pop ds; pop ax; iret
};
constexpr std::array<u8, 7> master_handler = {0x50, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0xcf};
constexpr std::array<u8, 9> slave_handler = {0x50, 0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x58, 0xcf};
constexpr u8 dummy_handler = 0xcf;

// 32-bit code. Initialization of the 8259A (datasheet, "Programming the 8259A"): ICW1 to ICW4, then masks.
// clang-format off
constexpr std::array<u8, 58> setup = {
    0x89, 0xc6,                                                      // mov esi, eax
    0xb0, 0x11, 0xe6, 0x20, 0xe6, 0xa0,                              // ICW1: edges, cascade, ICW4 follows
    0xb0, timer_vector, 0xe6, 0x21, 0xb0, slave_vector, 0xe6, 0xa1,  // ICW2
    0xb0, 0x04, 0xe6, 0x21, 0xb0, 0x02, 0xe6, 0xa1,                  // ICW3: the slave at input 2
    0xb0, 0x01, 0xe6, 0x21, 0xe6, 0xa1,                              // ICW4: 8086 mode
    0xb0, 0xfa, 0xe6, 0x21, 0xb0, 0xff, 0xe6, 0xa1,                  // masks: open are the timer and the cascade
    0x66, 0xba, 0xd1, 0x04, 0xb0, 0x0c, 0xee,                        // ELCR: IRQ 10 and 11 are levels
    0xb0, 0x34, 0xe6, 0x43, 0x31, 0xc0, 0xe6, 0x40, 0xe6, 0x40,      // counter 0: mode 2, 65536
    0x89, 0xf0,                                                      // mov eax, esi
    0xb9,                                                            // mov ecx, entry
};
// clang-format on
static_assert(pc::pirq_irqs == std::array<u8, 4>{10, 10, 11, 11}, "ELCR says so");
constexpr std::array<u8, 2> jump_ecx = {0xff, 0xe1};

template <class T>
bool put(memory::GuestMemory& memory, u16 entry, const T& code) {
    return memory.write_value(segment_base + entry, code);
}

}  // namespace

bool install_bios_state(memory::GuestMemory& memory) {
    constexpr Gpa data_area = 0x400;
    std::array<u32, vectors> table;
    table.fill(u32{bios_segment} << 16 | dummy_entry);
    for (unsigned i = 0; i < lines; ++i) {
        table[timer_vector + i] = u32{bios_segment} << 16 | (i == 0 ? timer_entry : master_entry);
        table[slave_vector + i] = u32{bios_segment} << 16 | slave_entry;
    }
    std::array<u16, 0x80> data{};
    data[0] = pc::com1_ports;        // 40:00
    data[0x0e / 2] = ebda_gpa >> 4;  // 40:0e
    data[0x10 / 2] = 1 << 9;         // 40:10: one serial port
    const u16 conventional_kb = ebda_gpa >> 10;
    return memory.write_value(0, table) && memory.write_value(data_area, data) &&
           memory.write_value(data_area + 0x13, conventional_kb) && put(memory, timer_entry, timer_handler) &&
           put(memory, master_entry, master_handler) && put(memory, slave_entry, slave_handler) &&
           put(memory, dummy_entry, dummy_handler);
}

bool enter_after_bios(memory::GuestMemory& memory, x86::VcpuState& state) {
    const u32 entry = static_cast<u32>(state.rip);
    state.rip = bios_gpa;
    constexpr u16 entry_at = setup_entry + setup.size(), jump_at = entry_at + sizeof entry;
    return put(memory, setup_entry, setup) && put(memory, entry_at, entry) && put(memory, jump_at, jump_ecx);
}

}  // namespace triune::boot
