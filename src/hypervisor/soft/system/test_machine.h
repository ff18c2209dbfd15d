// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// For this module's tests: one processor with RAM, page tables, GDT, IDT and TSS in it.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <vector>

#include "base/event_loop.h"
#include "hypervisor/soft/system/detail.h"

namespace triune::hypervisor::soft::system {

inline bool operator==(const Fault& a, const Fault& b) {
    return a.vector == b.vector && a.has_error_code == b.has_error_code && a.error_code == b.error_code;
}
inline void PrintTo(const Fault& f, std::ostream* os) {
    *os << "vector " << int{f.vector} << " error 0x" << std::hex << f.error_code;
}

#define EXPECT_FAULT(expr, fault)                           \
    do {                                                    \
        const auto r_ = (expr);                             \
        ASSERT_FALSE(r_.has_value()) << "no fault: " #expr; \
        EXPECT_EQ(r_.error(), (fault));                     \
    } while (0)
#define EXPECT_OK(expr)                                                                               \
    do {                                                                                              \
        const auto r_ = (expr);                                                                       \
        ASSERT_TRUE(r_.has_value()) << "vector " << int{r_.error().vector} << " error 0x" << std::hex \
                                    << r_.error().error_code << " in " #expr;                         \
    } while (0)

class FakeApic final : public cpu::LocalApic {
public:
    u64 base = 0xfee00900, tpr = 0, deadline = 0;
    unsigned deadline_writes = 0;
    std::map<u32, u64> x2apic;
    u64 apic_base() const override { return base; }
    bool set_apic_base(u64 v) override { return (v & 0xff) ? false : (base = v, true); }
    std::optional<u64> read_x2apic(u32 m) override {
        const auto i = x2apic.find(m);
        return i == x2apic.end() ? std::nullopt : std::optional(i->second);
    }
    bool write_x2apic(u32 m, u64 v) override { return x2apic.contains(m) ? (x2apic[m] = v, true) : false; }
    u32 read_mmio(u32) override { return 0; }
    void write_mmio(u32, u32) override {}
    u64 cr8() const override { return tpr; }
    void set_cr8(u64 v) override { tpr = v; }
    u64 tsc_deadline() const override { return deadline; }
    void set_tsc_deadline(u64 v) override { deadline = v, ++deadline_writes; }
    bool has_interrupt() override { return false; }
    int acknowledge() override { return -1; }
    void reset(bool) override {}
};

class FakeIo final : public Io {
public:
    struct Access {
        u16 port;
        u32 value;
        unsigned size;
    };
    std::vector<Access> writes;
    u32 answer = 0xffffffff;
    u32 port_read(u16, unsigned) override { return answer; }
    void port_write(u16 port, u32 value, unsigned size) override { writes.push_back({port, value, size}); }
    u64 mmio_read(Gpa, unsigned) override { return ~u64{0}; }
    void mmio_write(Gpa, u64, unsigned) override {}
};

/// A model with every feature that this module looks at. `amd` chooses the vendor.
inline x86::CpuModel test_model(bool amd = false) {
    const auto w = [](const char* s) {
        u32 v;
        std::memcpy(&v, s, 4);
        return v;
    };
    x86::CpuModel m;
    m.name = "test";
    m.tsc_hz = 2'500'000'000;
    m.xcr0_mask = 7;
    m.phys_bits = 40;
    const auto leaf = [&m](u32 f, x86::CpuidResult r, u32 index = 0) {
        m.leaves.push_back({f, index, f == 7 || f == 13, r});
    };
    if (amd)
        leaf(0, {0xd, w("Auth"), w("cAMD"), w("enti")});
    else
        leaf(0, {0xd, w("Genu"), w("ntel"), w("ineI")});
    leaf(1, {amd ? 0x00a20f10u : 0x000606a6u, 0, 1u << 17 | 1u << 21 | 1u << 24 | 1u << 26 | 1u << 31,
             0x078bfbff});
    leaf(7, {0, 1u << 0 | 1u << 7 | 1u << 10 | 1u << 20, 1u << 2 | 1u << 22, 1u << 26 | 1u << 29});
    leaf(13, {0, 0, 0, 0}, 1);
    leaf(0x40000000, {0x40000001, w("KVMK"), w("VMKV"), 0x4d});
    leaf(0x40000001, {1u << 3, 0, 0, 0});
    leaf(0x80000000, {0x80000008, 0, 0, 0});
    leaf(0x80000001, {0, 0, 1, 1u << 11 | 1u << 20 | 1u << 27 | 1u << 29});
    leaf(0x80000008, {40, 0, 0, 0});
    return m;
}

/// Where things lie. The first 2 MiB are mapped page by page: supervisor below 0x100000, user above.
/// Then 2 MiB of supervisor pages; nothing else is mapped.
namespace at {
inline constexpr u64 pml4 = 0x1000, pdpt = 0x2000, pd = 0x3000, pt = 0x4000, gdt = 0x6000, idt = 0x7000,
                     tss = 0x8000, ldt = 0x9000, tss2 = 0xa000, kernel_stack = 0x20000, ist1 = 0x22000,
                     kernel_code = 0x30000, user_code = 0x100000, user_stack = 0x120000, unmapped = 0x600000;
}

/// GDT selectors.
namespace sel {
inline constexpr u16 kcode64 = 0x08, kdata = 0x10, kcode32 = 0x18, ucode32 = 0x20, udata = 0x28,
                     ucode64 = 0x30, tss = 0x40 /* 16 bytes */, ldt = 0x50 /* 16 bytes */,
                     conforming64 = 0x60, absent = 0x68, readonly = 0x70, execonly = 0x78,
                     gate = 0x80 /* 16 bytes */, kcode16 = 0x90, kdata16 = 0x98, task_gate = 0xa0,
                     tss2 = 0xa8, conforming32 = 0xb8, udata16 = 0xc0, expand_down = 0xc8;
}

class SystemTest : public testing::Test {
protected:
    explicit SystemTest(bool amd = false) : model(test_model(amd)) {
        memory = memory::GuestMemory::create(16 << 20).value();
        EXPECT_TRUE(memory->add_slot(0, 16 << 20, 0).has_value());
        vcpu->memory = memory.get();
        vcpu->model = &model;
        vcpu->io = &io;
        vcpu->apic = &apic;
        vcpu->kvmclock_system_time_base = base::monotonic_ns();
        st.tr = st.ldtr = null_segment(0);
        poke(at::pml4, at::pdpt | 7);
        poke(at::pdpt, at::pd | 7);
        poke(at::pd, at::pt | 7);
        poke(at::pd + 8, 0x200000 | 0x83);
        for (u64 i = 0; i < 512; ++i) poke(at::pt + i * 8, i * 4096 | (i >= 0x100 ? 7 : 3));
        fill_gdt();
        long_mode();
    }

    // -- guest-physical memory ----------------------------------------------------------------
    template <class T = u64>
    T peek(Gpa gpa) {
        T v{};
        EXPECT_TRUE(memory->read(gpa, &v, sizeof v));
        return v;
    }
    template <class T = u64>
    void poke(Gpa gpa, T v) {
        EXPECT_TRUE(memory->write(gpa, &v, sizeof v));
    }
    static u64 descriptor(u64 base, u32 limit, unsigned access, unsigned flags) {
        return (limit & 0xffff) | (base & 0xffffff) << 16 | u64{access} << 40 | u64{limit >> 16 & 15} << 48 |
               u64{flags} << 52 | (base >> 24 & 0xff) << 56;
    }
    void set_gdt(u16 selector, u64 low, u64 high = 0) {
        poke(at::gdt + selector, low);
        if (high) poke(at::gdt + selector + 8, high);
    }
    void gate64(u8 vector, u64 offset, u16 selector, unsigned type, unsigned dpl = 0, unsigned ist = 0,
                bool present = true) {
        poke(at::idt + vector * 16, (offset & 0xffff) | u64{selector} << 16 | u64{ist} << 32 |
                                        u64{type | dpl << 5 | (present ? 0x80u : 0u)} << 40 |
                                        (offset >> 16 & 0xffff) << 48);
        poke(at::idt + vector * 16 + 8, offset >> 32);
    }
    void gate32(u8 vector, u32 offset, u16 selector, unsigned type, unsigned dpl = 0) {
        poke(at::idt + vector * 8, (offset & 0xffff) | u64{selector} << 16 |
                                       u64{type | dpl << 5 | 0x80u} << 40 | u64{offset >> 16} << 48);
    }
    static u64 handler(u8 vector) { return at::kernel_code + vector * 16; }
    /// The page at `gva` (below 2 MiB) becomes not present.
    void unmap(u64 gva) {
        poke(at::pt + (gva >> 12) * 8, u64{0});
        mmu.flush_all();
    }

    // -- modes ------------------------------------------------------------------------------------
    void long_mode() {
        st.cr0 = 0x80050033;
        st.cr4 = x86::cr4::pae | x86::cr4::pge | x86::cr4::osfxsr;
        st.cr3 = at::pml4;
        st.efer = x86::efer::sce | x86::efer::lme | x86::efer::lma | x86::efer::nxe;
        st.gdtr = {at::gdt, 0xfff, 0};
        st.idtr = {at::idt, 0xfff, 0};
        st.tr = {sel::tss, 0, 0x8b, at::tss, 0x1fff, 0};
        poke(at::tss + 4, at::kernel_stack);
        poke(at::tss + 0x24, at::ist1);
        poke<u16>(at::tss + 0x66, 0x68);
        for (unsigned v = 0; v < 256; ++v)
            gate64(static_cast<u8>(v), handler(static_cast<u8>(v)), sel::kcode64, 14);
        kernel();
        mmu.flush_all();
    }
    void kernel() {
        st.seg[Seg::cs] = flat_code(sel::kcode64, 0, true);
        st.seg[Seg::ss] = flat_stack(sel::kdata, 0);
        st.rip = 0x11000;
        st.gpr[x86::rsp] = at::kernel_stack - 0x100;
        st.rflags = 0x202;
    }
    void user() {
        st.seg[Seg::cs] = flat_code(sel::ucode64 | 3, 3, true);
        st.seg[Seg::ss] = flat_stack(sel::udata | 3, 3);
        st.rip = at::user_code;
        st.gpr[x86::rsp] = at::user_stack;
        st.rflags = 0x202;
    }
    void compat_user() {
        user();
        st.seg[Seg::cs] = flat_code(sel::ucode32 | 3, 3, false);
    }
    /// 32-bit protected mode, no paging.
    void protected_mode() {
        st.cr0 = 0x33;
        st.cr4 = 0;
        st.efer = 0;
        st.tr = {sel::tss, 0, 0x8b, at::tss, 0x1fff, 0};
        poke<u32>(at::tss + 4, at::kernel_stack);
        poke<u32>(at::tss + 8, sel::kdata);
        poke<u16>(at::tss + 0x66, 0x68);
        st.gdtr = {at::gdt, 0xfff, 0};
        st.idtr = {at::idt, 0x7ff, 0};
        for (unsigned v = 0; v < 256; ++v)
            gate32(static_cast<u8>(v), static_cast<u32>(handler(static_cast<u8>(v))), sel::kcode32, 14);
        kernel();
        st.seg[Seg::cs] = flat_code(sel::kcode32, 0, false);
        for (const Seg s : {Seg::ds, Seg::es, Seg::fs, Seg::gs}) st.seg[s] = flat_stack(sel::kdata, 0);
        mmu.flush_all();
    }
    void protected_user() {
        protected_mode();
        st.seg[Seg::cs] = flat_code(sel::ucode32 | 3, 3, false);
        for (const Seg s : {Seg::ss, Seg::ds, Seg::es, Seg::fs, Seg::gs})
            st.seg[s] = flat_stack(sel::udata | 3, 3);
        st.rip = at::user_code;
        st.gpr[x86::rsp] = at::user_stack;
    }
    void real_mode() {
        st.cr0 = 0x10;
        st.cr4 = st.efer = 0;
        st.idtr = {0, 0x3ff, 0};
        for (Segment& s : st.seg) s = {0, 0, 0x93, 0, 0xffff, 0};
        st.tr = st.ldtr = null_segment(0);
        st.rflags = 2;
        for (unsigned v = 0; v < 256; ++v) poke<u32>(v * 4, 0x30000000 | v * 16);
        mmu.flush_all();
    }
    void v8086(unsigned iopl) {
        protected_mode();
        st.rflags = flag::vm | flag::fixed | flag::if_ | iopl << 12;
        for (Segment& s : st.seg) s = v8086_segment(0x1000);
        st.rip = 0x100;
        st.gpr[x86::rsp] = 0x800;
    }
    /// The n-th item of `size` bytes above the stack pointer (a linear address here).
    u64 stack_item(unsigned n, unsigned size = 8) {
        return peek(st.gpr[x86::rsp] + n * size) & base::low_mask(size * 8);
    }

    x86::CpuModel model;
    std::unique_ptr<memory::GuestMemory> memory;
    std::unique_ptr<cpu::VcpuContext> vcpu = std::make_unique<cpu::VcpuContext>();
    std::unique_ptr<mmu::Tlb> tlb = std::make_unique<mmu::Tlb>();
    FakeIo io;
    FakeApic apic;
    VcpuState& st = vcpu->state;
    mmu::Mmu mmu{*vcpu, *tlb};
    System system{*vcpu, mmu};

private:
    void fill_gdt() {
        set_gdt(sel::kcode64, descriptor(0, 0xfffff, 0x9b, 0xa));
        set_gdt(sel::kdata, descriptor(0, 0xfffff, 0x93, 0xc));
        set_gdt(sel::kcode32, descriptor(0, 0xfffff, 0x9b, 0xc));
        set_gdt(sel::ucode32, descriptor(0, 0xfffff, 0xfb, 0xc));
        set_gdt(sel::udata, descriptor(0, 0xfffff, 0xf3, 0xc));
        set_gdt(sel::ucode64, descriptor(0, 0xfffff, 0xfb, 0xa));
        set_gdt(sel::tss, descriptor(at::tss, 0x1fff, 0x8b, 0), 0);
        set_gdt(sel::ldt, descriptor(at::ldt, 0xfff, 0x82, 0), 0);
        set_gdt(sel::conforming64, descriptor(0, 0xfffff, 0x9f, 0xa));
        set_gdt(sel::absent, descriptor(0, 0xfffff, 0x73, 0xc));
        set_gdt(sel::readonly, descriptor(0, 0xfffff, 0xf1, 0xc));
        set_gdt(sel::execonly, descriptor(0, 0xfffff, 0xf9, 0xc));
        set_gdt(sel::kcode16, descriptor(0, 0xffff, 0x9b, 0));
        set_gdt(sel::kdata16, descriptor(0, 0xffff, 0x93, 0));
        set_gdt(sel::task_gate, u64{sel::tss2} << 16 | u64{0xe5} << 40);
        set_gdt(sel::tss2, descriptor(at::tss2, 0x67, 0x89, 0));
        set_gdt(sel::conforming32, descriptor(0, 0xfffff, 0x9f, 0xc));
        set_gdt(sel::udata16, descriptor(0, 0xffff, 0xf3, 0));
        set_gdt(sel::expand_down, descriptor(0, 0xfff, 0x97, 4));
    }
};

class AmdSystemTest : public SystemTest {
protected:
    AmdSystemTest() : SystemTest(true) {}
};

}  // namespace triune::hypervisor::soft::system
