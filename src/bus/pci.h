// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// PCI: one host bus (bus 0, 32 slots of up to 8 functions) reached through configuration mechanism #1
/// (PCI Local Bus 3.0, 3.2.2.3.2), and the base of the functions on it.
///
/// A device derives from PciFunction, describes its BARs and capabilities in its constructor, is
/// attached to a PciHost by the machine, and from then on is called through the RegisterBlocks
/// that it gave to its BARs. After all devices are attached the machine calls
/// PciHost::assign_resources(), which does what firmware would: places BARs, tells where INTx arrives.
///
/// Threads: configuration accesses come from vCPU threads; signal_msix() and set_intx() may be
/// called from any thread, also with a lock of the device held. Lock order: the device's own locks,
/// then PciHost's mapping lock, then a function's lock, then the address maps' and interrupt lines'.
/// The virtual hooks are called with none of this module's locks held.
#include <array>
#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "bus/bus.h"
#include "bus/msix.h"

namespace triune::bus {

/// Where devices' memory BARs are placed below 4 GB: above RAM, below the IOAPIC. The ACPI tables
/// describe the same windows.
inline constexpr u64 pci_mmio_base = 0xe000'0000, pci_mmio_end = 0xfec0'0000;
/// I/O BARs.
inline constexpr u64 pci_io_base = 0xc000, pci_io_end = 0x1'0000;
/// INTx pins of all slots arrive at these eight IOAPIC inputs.
inline constexpr unsigned pci_first_gsi = 16, pci_gsi_count = 8;
inline constexpr unsigned pci_slots = 32, pci_slot_functions = 8;
/// GSI of a slot's pin (1 = INTA … 4 = INTD).
constexpr unsigned pci_gsi(unsigned slot, unsigned pin) {
    return pci_first_gsi + (slot + pin - 1) % pci_gsi_count;
}
/// The four wires to the interrupt router, which share the same pins: slot 1's INTA is PIRQA, as firmware for
/// the PIIX expects it.
inline constexpr unsigned pci_pirqs = 4;
constexpr unsigned pci_pirq(unsigned slot, unsigned pin) {
    return (slot + pin - 1 + pci_pirqs - 1) % pci_pirqs;
}
static_assert(pci_gsi_count % pci_pirqs == 0, "what shares a GSI shares a PIRQ");

/// Offsets in the configuration header (PCI Local Bus 3.0, 6.1).
namespace pci_reg {
inline constexpr unsigned vendor = 0x00, device = 0x02, command = 0x04, status = 0x06, revision = 0x08,
                          class_code = 0x09, header_type = 0x0e, bar0 = 0x10, subsystem_vendor = 0x2c,
                          subsystem = 0x2e, capabilities = 0x34, interrupt_line = 0x3c, interrupt_pin = 0x3d;
}
namespace pci_command {
inline constexpr u16 io = 1, memory = 2, bus_master = 4, intx_disable = 1 << 10;
}
namespace pci_cap {
inline constexpr u8 msix = 0x11, vendor = 0x09;
}

struct PciIds {
    u16 vendor = 0, device = 0;
    u32 class_code = 0;  ///< base class, subclass, interface: 24 bits, 0x010000 = SCSI controller
    u8 revision = 0;
    u16 subsystem_vendor = 0, subsystem = 0;
    bool uses_intx = false;  ///< has an interrupt pin (INTA)
};

enum class BarKind : u8 { io, memory32, memory64 };

class PciHost;

class PciFunction {
public:
    explicit PciFunction(const PciIds& ids);
    virtual ~PciFunction();
    PciFunction(const PciFunction&) = delete;
    PciFunction& operator=(const PciFunction&) = delete;

    /// Configuration space as the guest reaches it. `size` is 1, 2 or 4 and the access is within
    /// one aligned doubleword; offset < 256.
    u32 config_read(unsigned offset, unsigned size);
    void config_write(unsigned offset, u32 value, unsigned size);

    /// Power-on state: configuration space as after construction, MSI-X disabled, INTx low; then
    /// on_reset(). BARs are unplaced until PciHost::assign_resources().
    void reset();

    /// Where a BAR is decoded now, for tests and tables; 0 when it is not.
    [[nodiscard]] u64 mapped_bar(unsigned index) const;

protected:
    // Description: in the constructor of the derived class only.

    /// BAR `index` (a memory64 takes index+1 too) of `size` bytes, a power of two: at least 16 for
    /// memory, 4 to 256 for I/O. `block` sees offsets into the BAR and outlives the function.
    void add_bar(unsigned index, BarKind kind, u64 size, RegisterBlock& block);
    /// Appends a capability: `id`, the link, then `body`. Returns its offset in configuration
    /// space. Read-only to the guest, except where make_writable() says so.
    unsigned add_capability(u8 id, std::span<const u8> body);
    /// MSI-X with `vectors` vectors, its table and pending bits in BAR `bar` (memory32) of its own.
    void add_msix(unsigned bar, unsigned vectors);
    /// Writes of `size` bytes at `offset` of memory BAR `bar` signal an eventfd, which outlives the
    /// function's time on the bus, where the bus has WriteSignals; elsewhere they reach the BAR's block.
    void add_doorbell(unsigned bar, u64 offset, unsigned size, int eventfd) {
        doorbells_.push_back({bar, offset, size, eventfd});
    }
    /// Guest writes change the bits of `mask` in the `size` (1, 2, 4) bytes at `offset`.
    void make_writable(unsigned offset, u32 mask, unsigned size);

    // At run time, any thread.

    /// Sends an MSI-X message; false when MSI-X is off (then use set_intx()).
    bool signal_msix(unsigned vector) { return msix_ && msix_->signal(vector); }
    [[nodiscard]] bool msix_enabled() const;
    /// Level of the interrupt pin; reaches the line unless MSI-X is on or INTx is disabled.
    void set_intx(bool level);
    /// True when the guest lets the device read and write memory. A device that is told to DMA
    /// while it is off does nothing.
    [[nodiscard]] bool bus_master() const;
    /// The device's own view of its configuration space, no write mask, no side effects.
    [[nodiscard]] u32 config_get(unsigned offset, unsigned size) const;
    void config_set(unsigned offset, u32 value, unsigned size);

    /// A guest's configuration access to [offset, offset+size): before the bytes are read (the
    /// device may config_set() them first), after they were written.
    virtual void before_config_read(unsigned /*offset*/, unsigned /*size*/) {}
    virtual void after_config_write(unsigned /*offset*/, unsigned /*size*/) {}
    virtual void on_reset() {}

private:
    friend class PciHost;
    struct Bar {
        BarKind kind = BarKind::memory32;
        u64 size = 0;  ///< 0: no such BAR
        RegisterBlock* block = nullptr;
        u64 mapped_at = 0;
        bool mapped = false;
    };
    static constexpr unsigned bar_count = 6;
    struct Doorbell {
        unsigned bar;
        u64 offset;
        unsigned size;
        int eventfd;
    };

    [[nodiscard]] u32 get_locked(unsigned offset, unsigned size) const REQUIRES(mutex_);
    void set_locked(unsigned offset, u32 value, unsigned size) REQUIRES(mutex_);
    [[nodiscard]] u64 bar_address_locked(unsigned index) const REQUIRES(mutex_);
    void set_bar_address(unsigned index, u64 address);
    void update_intx_locked() REQUIRES(mutex_);
    void update_msix();

    mutable base::Mutex mutex_;
    std::array<u8, 256> config_{}, write_mask_{}, initial_{};
    std::array<Bar, bar_count> bars_{};
    std::vector<Doorbell> doorbells_;
    std::unique_ptr<Msix> msix_;
    unsigned msix_offset_ = 0;
    unsigned next_capability_ = 0x40, last_capability_ = 0;
    bool intx_level_ GUARDED_BY(mutex_) = false, intx_driven_ GUARDED_BY(mutex_) = false;
    PciHost* host_ = nullptr;
    IrqLine* line_ = nullptr;
    bool attached_ = false;
};

/// Several inputs wired to one level-triggered line: it is high while any input is.
class WiredOr {
public:
    explicit WiredOr(IrqLine& output) : output_(output) {}
    std::unique_ptr<IrqLine> make_input();

private:
    class Input;
    void change(int delta);
    IrqLine& output_;
    base::Mutex mutex_;
    int high_ GUARDED_BY(mutex_) = 0;
};

/// The host bus. Claims ports 0xcf8-0xcff for as long as it lives.
class PciHost final : public RegisterBlock {
public:
    /// `intx[i]` is GSI pci_first_gsi + i. All references outlive the bus.
    PciHost(AddressMap& ports, AddressMap& mmio, MsiSink& msi, std::array<IrqLine*, pci_gsi_count> intx);
    ~PciHost() override;

    /// Plugs a function in, before vCPUs run. False when the slot or the number within it does not exist or
    /// is taken, or when a slot's function 0, by which guests find the others, does not come first. The
    /// function outlives the bus or is detached with it.
    bool attach(unsigned slot, PciFunction& function, unsigned number = 0);
    /// Places all BARs, writes interrupt lines (the router's, as `legacy_irqs` says for each PIRQ) and turns
    /// decoding on. False when a window is full.
    bool assign_resources(const std::array<u8, pci_pirqs>& legacy_irqs = unrouted);
    /// Bus reset: every function, then assign_resources() again.
    void reset();
    /// Byte accesses to port 0xcf9, which lies among the bus' own ports, go here (offset 0).
    void set_reset_port(RegisterBlock* block) { reset_port_ = block; }
    /// Before functions are attached; outlives the bus.
    void set_write_signals(WriteSignals* signals) { signals_ = signals; }
    [[nodiscard]] PciFunction* function(unsigned slot) const {
        return slot < pci_slots ? functions_[slot * pci_slot_functions] : nullptr;
    }

    /// Interrupt Line of a pin that is not connected (PCI Local Bus 3.0, 6.2.4).
    static constexpr std::array<u8, pci_pirqs> unrouted = {0xff, 0xff, 0xff, 0xff};

    // Ports 0xcf8-0xcff.
    u64 read(u64 offset, unsigned size) override;
    void write(u64 offset, u64 value, unsigned size) override;

private:
    friend class PciFunction;
    /// Makes the address maps agree with all BARs.
    void update_mappings();
    /// The BAR was mapped, or is about to go.
    void update_doorbells(const PciFunction& f, unsigned bar, bool mapped);
    [[nodiscard]] PciFunction* selected(u32 address) const;

    AddressMap& ports_;
    AddressMap& mmio_;
    MsiSink& msi_;
    std::array<std::unique_ptr<WiredOr>, pci_gsi_count> lines_;
    std::vector<std::unique_ptr<IrqLine>> inputs_;
    std::array<PciFunction*, pci_slots * pci_slot_functions> functions_{};  ///< slot * 8 + number
    base::Mutex mapping_mutex_;
    std::atomic<u32> address_{0};
    std::array<u8, pci_pirqs> legacy_irqs_ = unrouted;
    RegisterBlock* reset_port_ = nullptr;
    WriteSignals* signals_ = nullptr;  ///< null: none
};

}  // namespace triune::bus
