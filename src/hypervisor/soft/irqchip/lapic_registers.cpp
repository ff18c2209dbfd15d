// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
//
// The local APIC's register file: tables 11-1 (xAPIC page) and 11-6 (x2APIC MSRs) of Intel SDM 3A.
#include "base/bits.h"
#include "hypervisor/soft/irqchip/lapic.h"

namespace triune::hypervisor::soft::irqchip {
namespace {

/// Register numbers: offset in the page / 16, MSR - 0x800.
enum Reg : u32 {
    reg_id = 0x02,
    reg_version = 0x03,
    reg_tpr = 0x08,
    reg_apr = 0x09,
    reg_ppr = 0x0a,
    reg_eoi = 0x0b,
    reg_rrd = 0x0c,
    reg_ldr = 0x0d,
    reg_dfr = 0x0e,
    reg_svr = 0x0f,
    reg_isr = 0x10,
    reg_tmr = 0x18,
    reg_irr = 0x20,
    reg_esr = 0x28,
    reg_icr = 0x30,
    reg_icr_high = 0x31,
    reg_lvt_timer = 0x32,
    reg_lvt_error = 0x37,
    reg_initial_count = 0x38,
    reg_current_count = 0x39,
    reg_divide = 0x3e,
    reg_self_ipi = 0x3f,
};

/// Integrated APIC, six LVT entries, no EOI-broadcast suppression.
constexpr u32 version_value = 0x0005'0014;
constexpr u32 svr_writable = 0x3ff;

/// Writable bits of the LVT entries, in register order (figure 11-8).
constexpr std::array<u32, 6> lvt_writable = {0x7'00ff, 0x1'07ff, 0x1'07ff, 0x1'a7ff, 0x1'a7ff, 0x1'00ff};
/// Read-only status bits that a write may carry: delivery status, remote IRR.
constexpr u32 lvt_status = 1 << 12 | 1 << 14;

}  // namespace

bool Lapic::read_register(u32 reg, u32& value) {
    switch (reg) {
        case reg_version: value = version_value; return true;
        case reg_tpr: value = tpr_; return true;
        case reg_ppr: value = ppr_; return true;
        case reg_svr: value = svr_; return true;
        case reg_esr: value = esr_; return true;
        case reg_initial_count: value = timer_.initial(); return true;
        case reg_current_count: value = timer_.current(); return true;
        case reg_divide: value = timer_.divide(); return true;
        default: break;
    }
    if (reg >= reg_isr && reg < reg_isr + 8)
        value = isr_.part(reg - reg_isr);
    else if (reg >= reg_tmr && reg < reg_tmr + 8)
        value = tmr_.part(reg - reg_tmr);
    else if (reg >= reg_irr && reg < reg_irr + 8)
        value = irr_.part(reg - reg_irr);
    else if (reg >= reg_lvt_timer && reg <= reg_lvt_error)
        value = lvt_[reg - reg_lvt_timer];
    else
        return false;
    return true;
}

bool Lapic::write_register(u32 reg, u32 value) {
    switch (reg) {
        case reg_tpr: set_tpr(static_cast<u8>(value)); return true;
        case reg_eoi: eoi(); return true;
        case reg_svr: set_svr(value); return true;
        case reg_esr: esr_ = errors_.exchange(0, std::memory_order_acq_rel); return true;
        case reg_initial_count: timer_.set_initial(value); return true;
        case reg_divide: timer_.set_divide(value); return true;
        default: break;
    }
    if (reg < reg_lvt_timer || reg > reg_lvt_error) return false;
    write_lvt(reg - reg_lvt_timer, value);
    return true;
}

void Lapic::set_svr(u32 value) {
    svr_ = value & svr_writable;
    if (svr_ & svr_enable) return;
    // A software-disabled APIC masks its local interrupts (11.4.7.2).
    for (unsigned i = 0; i < lvt_count; ++i) write_lvt(i, lvt_[i]);
}

void Lapic::write_lvt(unsigned index, u32 value) {
    value &= lvt_writable[index];
    if (!(svr_ & svr_enable)) value |= lvt_masked;
    if (index == lvt_timer) timer_.set_lvt(value);
    lvt_[index].store(value, std::memory_order_seq_cst);
    // The 8259A's request may have been waiting for this pin.
    if (index == lvt_lint0 && accepts_extint() && bus_.extint_pending()) notify();
}

// -- xAPIC ----------------------------------------------------------------------------------------

u32 Lapic::read_mmio(u32 offset) {
    const u32 reg = (offset & page_mask) >> 4;
    u32 value = 0;
    switch (reg) {
        case reg_id: return id() << 24;
        case reg_apr:
        case reg_rrd:
        case reg_eoi: return 0;
        case reg_ldr: return ldr_;
        case reg_dfr: return dfr_;
        case reg_icr: return static_cast<u32>(icr_);
        case reg_icr_high: return static_cast<u32>(icr_ >> 32);
        default: break;
    }
    if (!read_register(reg, value)) error(esr_illegal_register);
    return value;
}

void Lapic::write_mmio(u32 offset, u32 value) {
    const u32 reg = (offset & page_mask) >> 4;
    switch (reg) {
        case reg_id:  // set by the hardware; writes have no effect on current processors
        case reg_version:
        case reg_apr:
        case reg_ppr:
        case reg_current_count: return;
        case reg_ldr: ldr_ = value & 0xff00'0000; return;
        case reg_dfr: dfr_ = value | 0x0fff'ffff; return;
        case reg_icr:
            // Delivery status reads as idle: a message is delivered when the write ends.
            icr_ = (icr_ & ~u64{0xffff'ffff}) | (value & 0x000c'cfff);
            send_ipi(icr_, false);
            return;
        case reg_icr_high: icr_ = (icr_ & 0xffff'ffff) | u64{value & 0xff00'0000} << 32; return;
        default: break;
    }
    if (!write_register(reg, value)) error(esr_illegal_register);
}

// -- x2APIC ---------------------------------------------------------------------------------------

std::optional<u64> Lapic::read_x2apic(u32 msr) {
    const u32 reg = msr - 0x800;
    if (!x2apic() || reg > 0xff) return std::nullopt;
    u32 value = 0;
    switch (reg) {
        case reg_id: return id();
        case reg_ldr: return x2apic_ldr();
        case reg_icr: return icr_;
        default: break;
    }
    if (!read_register(reg, value)) return std::nullopt;
    return value;
}

bool Lapic::write_x2apic(u32 msr, u64 value) {
    const u32 reg = msr - 0x800;
    if (!x2apic() || reg > 0xff) return false;
    if (reg == reg_icr) {
        constexpr u64 reserved = base::low_mask(32) & ~u64{0x000c'dfff};
        if (value & reserved) return false;
        icr_ = value & ~u64{1 << 12};
        send_ipi(icr_, true);
        return true;
    }
    if (value >> 32) return false;
    const u32 v = static_cast<u32>(value);
    switch (reg) {
        case reg_self_ipi:
            if (v & ~0xffu) return false;
            if (v < 16)
                error(esr_send_illegal);
            else
                accept_fixed(static_cast<u8>(v), false);
            return true;
        case reg_tpr:
            if (v & ~0xffu) return false;
            break;
        case reg_eoi:
        case reg_esr:
            if (v) return false;
            break;
        case reg_svr:
            if (v & ~svr_writable) return false;
            break;
        case reg_divide:
            if (v & ~0xbu) return false;
            break;
        default:
            if (reg >= reg_lvt_timer && reg <= reg_lvt_error &&
                (v & ~(lvt_writable[reg - reg_lvt_timer] | lvt_status)))
                return false;
            break;
    }
    return write_register(reg, v);
}

}  // namespace triune::hypervisor::soft::irqchip
