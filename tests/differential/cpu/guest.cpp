// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "differential/cpu/guest.h"

#include <cstring>

namespace triune::differential::cpu {

using hypervisor::soft::bt::Translator;
using hypervisor::soft::cpu::EngineExit;
using hypervisor::soft::interp::Interpreter;
namespace cr0 = x86::cr0;
namespace cr4 = x86::cr4;
namespace efer = x86::efer;

namespace {

constexpr u64 ram = u64{4} << 20;
/// The kernel's things, seen through the upper half.
constexpr u64 kernel = 0xffff'8000'0000'0000;
constexpr Gpa pml4 = 0x1000, low_pdpt = 0x2000, low_pd = 0x3000, low_pt = 0x4000 /* two */,
              high_pdpt = 0x6000, high_pd = 0x7000, gdt = 0x8000, idt = 0x9000, tss = 0xa000,
              stack_top = 0xc000, handlers = 0xd000;
constexpr u64 present = 1, writable = 2, user = 4, large = 0x80, no_execute = u64{1} << 63;

}  // namespace

FuzzGuest::FuzzGuest(const x86::CpuModel& model, bool translate, const hypervisor::soft::bt::Options& options)
    : memory_(std::move(*memory::GuestMemory::create(ram))),
      arena_(std::move(*hypervisor::soft::mmu::VcpuArena::create(translate ? u64{16} << 20 : 0))) {
    (void)memory_->add_slot(0, ram, 0);
    auto& c = arena_->context();
    c.memory = memory_.get();
    c.model = &model;
    mmu_ = std::make_unique<hypervisor::soft::mmu::Mmu>(c, arena_->tlb());
    system_ = std::make_unique<hypervisor::soft::system::System>(c, *mmu_);
    interp_ = std::make_unique<Interpreter>(*system_);
    if (translate) translator_ = std::make_unique<Translator>(*system_, *arena_, options);
    build_tables();
    x86::VcpuState& s = c.state;
    s.cr0 = cr0::pe | cr0::mp | cr0::et | cr0::ne | cr0::wp | cr0::am | cr0::pg;
    s.cr3 = pml4;
    s.cr4 = cr4::pae | cr4::osfxsr | cr4::osxmmexcpt | (model.has("xsave") ? cr4::osxsave : 0);
    s.efer = efer::sce | efer::lme | efer::lma | efer::nxe;
    s.xcr0 = model.xcr0_mask;
    s.gdtr = {kernel + gdt, 0x3f, 0};
    s.idtr = {kernel + idt, 0xfff, 0};
    s.tr = {0x40, 0, 0x8b, kernel + tss, 0x67, 0};
    s.ldtr.attr = 1u << 16;
}

void FuzzGuest::map(u64 from, u64 size, u64 rights) {
    for (u64 a = from; a < from + size; a += page_size)
        at<u64>(low_pt + (a >> 12) * 8) = a | present | user | rights;
}

void FuzzGuest::build_tables() {
    at<u64>(pml4) = low_pdpt | 7;
    at<u64>(low_pdpt) = low_pd | 7;
    at<u64>(low_pd) = low_pt | 7;
    at<u64>(low_pd + 8) = (low_pt + 0x1000) | 7;
    at<u64>(pml4 + 256 * 8) = high_pdpt | 3;
    at<u64>(high_pdpt) = high_pd | 3;
    at<u64>(high_pd) = large | writable | present;
    map(code_address, code_bytes, 0);
    map(data_at, data_writable, writable | no_execute);
    map(data_at + data_writable, data_size - data_writable, no_execute);
    map(stack_at, stack_size, writable | no_execute);
    at<u64>(gdt + 0x10) = 0x00af9b000000ffff;  // kernel
    at<u64>(gdt + 0x18) = 0x00cf93000000ffff;
    at<u64>(gdt + 0x28) = 0x00cff3000000ffff;  // user_data
    at<u64>(gdt + 0x30) = 0x00affb000000ffff;  // cs64
    at<u32>(tss + 4) = static_cast<u32>(kernel + stack_top);
    at<u32>(tss + 8) = static_cast<u32>((kernel + stack_top) >> 32);
    at<u16>(tss + 0x66) = 0x68;  // no I/O permission bitmap: every port is refused
    for (u64 v = 0; v < 256; ++v) {
        const u64 target = kernel + handlers + v;
        at<u8>(handlers + v) = 0xf4;
        const u64 rights = v == 3 || v == 4 ? 0xee00 : 0x8e00;  // INT3, INTO
        at<u64>(idt + v * 16) =
            (target & 0xffff) | u64{0x10} << 16 | rights << 32 | (target >> 16 & 0xffff) << 48;
        at<u64>(idt + v * 16 + 8) = target >> 32;
    }
}

void FuzzGuest::load(const Batch& batch) {
    std::memset(memory_->host(code_address, code_bytes), 0, code_bytes);
    for (const Program& p : batch.programs) (void)memory_->write(p.start, p.code.data(), p.code.size());
    if (translator_) translator_->invalidate(code_address, code_bytes);
    interp_->invalidate(code_address, code_bytes);
}

void FuzzGuest::run(const Program& p, const Image& image, Outcome& out) {
    std::memcpy(memory_->host(data_at, data_size), image.data(), data_size);
    std::memcpy(memory_->host(stack_at, stack_size), image.data() + data_size, stack_size);
    x86::VcpuState& s = arena_->context().state;
    s.gpr = p.in.gpr;
    s.rip = p.start;
    s.rflags = p.in.flags | x86::flag::fixed | x86::flag::if_;
    s.xsave = p.in.xsave;
    s.halted = 0;
    for (x86::Segment& seg : s.seg) seg = {0, 0, 0x10000, 0, 0, 0};
    s.seg[x86::cs] = {p.cs, 0, p.compat ? 0xc0fbu : 0xa0fbu, 0, 0xffffffff, 0};
    for (const auto n : {x86::ss, x86::ds, x86::es}) s.seg[n] = {user_data, 0, 0xc0f3, 0, 0xffffffff, 0};
    s.seg[x86::gs].base = gs_base;

    out.vector = -1;
    auto step = Interpreter::Step::ok;
    for (unsigned steps = 0; steps < 20000 && step == Interpreter::Step::ok; ++steps) {
        if (translator_ && translator_->run() == EngineExit::shutdown) break;
        step = interp_->step();
    }
    const u64 at_handler = s.rip - 1 - kernel - handlers;
    if (step == Interpreter::Step::halted && at_handler < 256) {
        out.vector = static_cast<i32>(at_handler);
        std::array<u64, 6> frame{};  // error code, RIP, CS, RFLAGS, RSP, SS
        const bool has_error = s.gpr[x86::rsp] == kernel + stack_top - 48;
        (void)memory_->read(stack_top - 48, frame.data(), 48);
        out.error = has_error ? static_cast<u32>(frame[0]) : 0;
        out.rip = frame[1];
        out.r.flags = frame[3];
        out.r.gpr = s.gpr;
        out.r.gpr[x86::rsp] = frame[4];
        out.cr2 = s.cr2;
    }
    out.r.xsave = s.xsave;
    std::memcpy(out.memory.data(), memory_->host(data_at, data_size), data_size);
    std::memcpy(out.memory.data() + data_size, memory_->host(stack_at, stack_size), stack_size);
}

}  // namespace triune::differential::cpu
