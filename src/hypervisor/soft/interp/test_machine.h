// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// For tests: one processor with a few MB of RAM, its own small Io and local APIC, and the
/// reference engine. Long mode has an identity mapping of the low 8 MB in 4 KB pages.
///
///     0x01000  page tables        0x20000  GDT, IDT, TSS
///     0x30000  code               0x40000  interrupt handlers (one byte apart, each HLT)
///     0x50000  stack top          0x60000  data
#include <initializer_list>
#include <memory>
#include <span>
#include <vector>

#include "hypervisor/soft/interp/interp.h"

namespace triune::hypervisor::soft::interp::test {

inline constexpr Gpa tables = 0x1000, gdt = 0x20000, idt = 0x21000, tss = 0x23000, code_base = 0x30000,
                     handlers = 0x40000, stack_top = 0x50000, data_base = 0x60000, ram_bytes = 8 << 20;
inline constexpr u16 kernel_cs = 0x08, kernel_ss = 0x10, user_cs = 0x1b, user_ss = 0x23, code32 = 0x28;

struct FakeIo final : Io {
    struct Write {
        u64 address;
        u64 value;
        unsigned size;
    };
    std::vector<Write> writes;
    u64 next_value = 0x1122334455667788;
    u32 port_read(u16, unsigned size) override {
        return static_cast<u32>(next_value & ((u64{1} << (8 * size)) - 1));
    }
    void port_write(u16 port, u32 v, unsigned size) override { writes.push_back({port, v, size}); }
    u64 mmio_read(Gpa, unsigned size) override {
        return size == 8 ? next_value : next_value & ((u64{1} << (8 * size)) - 1);
    }
    void mmio_write(Gpa gpa, u64 v, unsigned size) override { writes.push_back({gpa, v, size}); }
};

struct FakeApic final : cpu::LocalApic {
    u64 task_priority = 0;
    u64 apic_base() const override { return 0xfee00900; }
    bool set_apic_base(u64) override { return true; }
    std::optional<u64> read_x2apic(u32) override { return std::nullopt; }
    bool write_x2apic(u32, u64) override { return false; }
    u32 read_mmio(u32) override { return 0; }
    void write_mmio(u32, u32) override {}
    u64 cr8() const override { return task_priority; }
    void set_cr8(u64 v) override { task_priority = v; }
    u64 tsc_deadline() const override { return 0; }
    void set_tsc_deadline(u64) override {}
    bool has_interrupt() override { return false; }
    int acknowledge() override { return -1; }
    void reset(bool) override {}
};

class Machine {
public:
    explicit Machine(const std::string& cpu = "host")
        : model(*x86::make_cpu_model(cpu, 1)), memory(std::move(*memory::GuestMemory::create(ram_bytes))) {
        (void)memory->add_slot(0, ram_bytes, 0);
        vcpu->memory = memory.get();
        vcpu->model = &model;
        vcpu->io = &io;
        vcpu->apic = &apic;
        x86::reset_state(vcpu->state, false);
        enter_long_mode();
    }

    template <class T>
    void poke(Gpa gpa, T v) {
        (void)memory->write_value(gpa, v);
    }
    void poke(Gpa gpa, std::initializer_list<int> bytes) {
        for (const int b : bytes) poke<u8>(gpa++, static_cast<u8>(b));
    }
    template <class T>
    T peek(Gpa gpa) const {
        T v{};
        (void)memory->read_value(gpa, v);
        return v;
    }
    /// Page table entry of a 4 KB page of the identity mapping.
    static Gpa pte(Gva gva) { return tables + 0x3000 + (gva >> 12) * 8; }

    void enter_long_mode() {
        using namespace x86;
        poke<u64>(tables, (tables + 0x1000) | 7);
        poke<u64>(tables + 0x1000, (tables + 0x2000) | 7);
        for (u64 t = 0; t < ram_bytes >> 21; ++t)
            poke<u64>(tables + 0x2000 + t * 8, (tables + 0x3000 + t * 0x1000) | 7);
        for (u64 p = 0; p < ram_bytes >> 12; ++p) poke<u64>(tables + 0x3000 + p * 8, (p << 12) | 7);
        poke<u64>(gdt + 0x08, 0x00af9b000000ffff);
        poke<u64>(gdt + 0x10, 0x00cf93000000ffff);
        poke<u64>(gdt + 0x18, 0x00affb000000ffff);
        poke<u64>(gdt + 0x20, 0x00cff3000000ffff);
        poke<u64>(gdt + 0x28, 0x00cf9b000000ffff);
        poke<u64>(tss + 4, stack_top + 0x1000);  // RSP0
        for (u64 v = 0; v < 256; ++v) {
            const u64 target = handlers + v;
            poke<u8>(target, 0xf4);
            poke<u64>(idt + v * 16, (target & 0xffff) | u64{kernel_cs} << 16 | u64{0xee00} << 32 |
                                        (target >> 16 & 0xffff) << 48);
            poke<u64>(idt + v * 16 + 8, target >> 32);
        }
        VcpuState& s = vcpu->state;
        s.cr0 = cr0::pe | cr0::mp | cr0::et | cr0::ne | cr0::wp | cr0::am | cr0::pg;
        s.cr3 = tables;
        s.cr4 = cr4::pae | cr4::pge | cr4::osfxsr | cr4::osxmmexcpt | cr4::osxsave | cr4::fsgsbase;
        s.efer = efer::sce | efer::lme | efer::lma | efer::nxe;
        s.xcr0 = 7;
        s.gdtr = {gdt, 0x2f};
        s.idtr = {idt, 0xfff};
        s.tr = {0x30, 0, 0x8b, tss, 0x67, 0};
        s.ldtr.attr = 1u << 16;
        s.gpr[rsp] = stack_top;
        supervisor();
    }
    void supervisor() { segments(kernel_cs, 0xa09b, kernel_ss, 0xc093); }
    void user() { segments(user_cs, 0xa0fb, user_ss, 0xc0f3); }
    /// 32-bit protected mode without paging, flat.
    void protected32() {
        using namespace x86;
        vcpu->state.cr0 &= ~cr0::pg;
        vcpu->state.efer = 0;
        vcpu->state.cr4 &= ~cr4::pae;
        segments(code32, 0xc09b, kernel_ss, 0xc093);
    }
    void real_mode() {
        using namespace x86;
        VcpuState& s = vcpu->state;
        s.cr0 &= ~(cr0::pg | cr0::pe);
        s.efer = 0;
        s.cr4 &= ~cr4::pae;
        for (Segment& seg : s.seg) seg = {0, 0, 0x93, 0, 0xffff, 0};
        s.seg[cs] = {code_base >> 4, 0, 0x9b, code_base, 0xffff, 0};
        s.seg[ss] = {0x4000, 0, 0x93, 0x40000, 0xffff, 0};
        s.idtr = {0, 0x3ff};
        s.rip = 0;
        s.gpr[rsp] = 0xfff0;
    }

    /// Places code at code_base and points RIP at it.
    void load(std::span<const u8> code) {
        (void)memory->write(code_base, code.data(), code.size());
        engine.invalidate(code_base, code.size() + 16);
        vcpu->state.rip = code_base - (vcpu->state.protected_mode() ? 0 : code_base);
    }
    void load(std::initializer_list<int> code) {
        std::vector<u8> v;
        for (const int b : code) v.push_back(static_cast<u8>(b));
        load(v);
    }
    /// Steps `n` times; the last outcome.
    Interpreter::Step step(unsigned n = 1) {
        Interpreter::Step r = Interpreter::Step::ok;
        while (n-- && r == Interpreter::Step::ok) r = engine.step();
        return r;
    }
    /// Runs `code` to a HLT in it or in an exception handler; the vector of the latter, else -1.
    int run(std::initializer_list<int> code, unsigned limit = 100000) {
        load(code);
        return run_on(limit);
    }
    int run_on(unsigned limit = 100000) {
        vcpu->state.halted = 0;
        while (limit-- && engine.step() == Interpreter::Step::ok) {
        }
        const u64 at = vcpu->state.rip - 1;
        return at >= handlers && at < handlers + 256 ? static_cast<int>(at - handlers) : -1;
    }
    u64& gpr(unsigned n) { return vcpu->state.gpr[n]; }
    x86::VcpuState& state() { return vcpu->state; }

    x86::CpuModel model;
    std::unique_ptr<memory::GuestMemory> memory;
    FakeIo io;
    FakeApic apic;
    std::unique_ptr<cpu::VcpuContext> vcpu = std::make_unique<cpu::VcpuContext>();
    std::unique_ptr<mmu::Tlb> tlb = std::make_unique<mmu::Tlb>();
    mmu::Mmu mmu{*vcpu, *tlb};
    system::System system{*vcpu, mmu};
    Interpreter engine{system};

private:
    void segments(u16 cs_selector, u32 cs_attr, u16 ss_selector, u32 ss_attr) {
        x86::VcpuState& s = vcpu->state;
        for (x86::Segment& seg : s.seg) seg = {ss_selector, 0, ss_attr, 0, 0xffffffff, 0};
        s.seg[x86::cs] = {cs_selector, 0, cs_attr, 0, 0xffffffff, 0};
    }
};

}  // namespace triune::hypervisor::soft::interp::test
