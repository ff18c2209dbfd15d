// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "hypervisor/soft/cpu/context.h"

namespace triune::hypervisor::soft::verify {

/// What the checked engine asked the vCPU's local APIC in one step, with the answers. The reference
/// must ask the same in the same order, and gets the same answers; the APIC itself acts once.
class ApicLog {
public:
    enum class Call : u8 {
        apic_base,
        set_apic_base,
        read_x2apic,
        write_x2apic,
        read_mmio,
        write_mmio,
        cr8,
        set_cr8,
        tsc_deadline,
        set_tsc_deadline,
        ferr
    };
    struct Entry {
        Call call;
        u64 register_number = 0, value = 0;  ///< `value` is an argument or the answer
        bool ok = true;
        bool operator==(const Entry&) const = default;
    };

    void clear() {
        entries_.clear();
        rewind();
    }
    void rewind() { at_ = 0, wrong_ = false; }
    void record(const Entry& e) { entries_.push_back(e); }
    /// The recorded call that `asked` is, or null.
    const Entry* replay(const Entry& asked, bool value_is_argument);
    /// The reference asked something else, or less.
    [[nodiscard]] bool differs() const { return wrong_ || at_ != entries_.size(); }

private:
    std::vector<Entry> entries_;
    size_t at_ = 0;
    bool wrong_ = false;
};

/// The checked vCPU's APIC: the real one, and a record of what it was asked.
class RecordedApic final : public cpu::LocalApic {
public:
    RecordedApic(cpu::LocalApic& real, ApicLog& log) : real_(real), log_(log) {}

    [[nodiscard]] u64 apic_base() const override;
    bool set_apic_base(u64 value) override;
    std::optional<u64> read_x2apic(u32 msr) override;
    bool write_x2apic(u32 msr, u64 value) override;
    u32 read_mmio(u32 offset) override;
    void write_mmio(u32 offset, u32 value) override;
    [[nodiscard]] u64 cr8() const override;
    void set_cr8(u64 value) override;
    [[nodiscard]] u64 tsc_deadline() const override;
    void set_tsc_deadline(u64 guest_tsc) override;
    [[nodiscard]] bool has_interrupt() override { return real_.has_interrupt(); }
    int acknowledge() override { return real_.acknowledge(); }
    bool ferr(bool error) override;
    void reset(bool init) override { real_.reset(init); }

private:
    cpu::LocalApic& real_;
    ApicLog& log_;
};

/// The reference's APIC: the record. It has no interrupts: the run loop delivers them.
class ReplayedApic final : public cpu::LocalApic {
public:
    explicit ReplayedApic(ApicLog& log) : log_(log) {}

    [[nodiscard]] u64 apic_base() const override;
    bool set_apic_base(u64 value) override;
    std::optional<u64> read_x2apic(u32 msr) override;
    bool write_x2apic(u32 msr, u64 value) override;
    u32 read_mmio(u32 offset) override;
    void write_mmio(u32 offset, u32 value) override;
    [[nodiscard]] u64 cr8() const override;
    void set_cr8(u64 value) override;
    [[nodiscard]] u64 tsc_deadline() const override;
    void set_tsc_deadline(u64 guest_tsc) override;
    [[nodiscard]] bool has_interrupt() override { return false; }
    int acknowledge() override { return -1; }
    bool ferr(bool error) override;
    void reset(bool) override {}

private:
    ApicLog& log_;
};

/// The reference's devices: none. Translated code leaves port I/O and MMIO to the reference engine, so
/// an access here is a difference by itself.
class NoIo final : public Io {
public:
    u32 port_read(u16, unsigned) override { return touched(~u32{0}); }
    void port_write(u16, u32, unsigned) override { touched(0); }
    u64 mmio_read(Gpa, unsigned) override { return touched(~u64{0}); }
    void mmio_write(Gpa, u64, unsigned) override { touched(0); }
    bool was_touched = false;

private:
    template <class T>
    T touched(T value) {
        was_touched = true;
        return value;
    }
};

}  // namespace triune::hypervisor::soft::verify
