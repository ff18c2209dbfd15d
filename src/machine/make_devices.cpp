// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <vector>

#include "boot/acpi.h"
#include "boot/layout.h"
#include "bus/pc_ports.h"
#include "bus/pci.h"
#include "device/acpi_pm.h"
#include "device/chipset.h"
#include "device/debug_ports.h"
#include "device/fw_cfg.h"
#include "device/pc_testdev.h"
#include "device/rtc.h"
#include "device/uart.h"
#include "device/virtio_blk.h"
#include "device/virtio_console.h"
#include "device/virtio_net.h"
#include "device/virtio_rng.h"
#include "machine/devices.h"

namespace triune::machine {
namespace {

namespace pc = bus::pc;

constexpr unsigned gsi_count = 24;
/// Locally administered; every VM has a network of its own.
constexpr backend::MacAddress mac = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

/// Members are destroyed in reverse: the bus lets go of the functions, these stop their threads.
class PcDevices final : public Devices {
public:
    PcDevices(const VmDefinition& definition, MappedIo& io, hypervisor::Vm& vm, const Trace& trace)
        : io_(io),
          msi_(vm, trace),
          signals_(vm),
          // A traced write has to come here.
          use_signals_(vm.io_events_save_exits() && !trace.any()) {
        lines_.reserve(gsi_count);
        for (unsigned gsi = 0; gsi < gsi_count; ++gsi) lines_.emplace_back(vm, gsi, trace);
        std::vector<bus::IrqLine*> legacy_irqs;
        for (unsigned irq = 0; irq < 16; ++irq) legacy_irqs.push_back(&lines_[irq]);
        isa_bridge_ = definition.firmware.empty()
                          ? std::make_unique<device::IsaBridge>(std::move(legacy_irqs), pc::pirq_irqs)
                          : std::make_unique<device::IsaBridge>(std::move(legacy_irqs));
        std::array<bus::IrqLine*, bus::pci_gsi_count> intx{};
        for (unsigned i = 0; i < intx.size(); ++i) {
            // What slot 0's first pin is at: wire 0 is one before PIRQA.
            constexpr unsigned pirq_offset = bus::pci_pirq(0, 1);
            pci_wires_[i].emplace(lines_[bus::pci_first_gsi + i], *isa_bridge_, i + pirq_offset);
            intx[i] = &*pci_wires_[i];
        }
        pci_.emplace(io_.ports, io_.mmio, msi_, intx);
        if (use_signals_) pci_->set_write_signals(&signals_);
    }
    ~PcDevices() override {
        for (const auto& [base, block] : claimed_) io_.ports.remove(base, *block);
    }

    std::expected<void, VmError> add_fixed(const VmDefinition& definition, Backends& backends,
                                           memory::GuestMemory& memory, base::EventLoop& loop,
                                           const GuestRequests& requests);
    std::expected<void, VmError> add_fw_cfg(const VmDefinition& definition, memory::GuestMemory& memory);
    std::expected<void, VmError> add_testdev();
    std::expected<void, VmError> add_extra(const std::vector<DeviceConfig>& wanted, Backends& backends,
                                           base::EventLoop& loop, const GuestRequests& requests);
    std::expected<void, VmError> add_pci(const VmDefinition& definition, Backends& backends,
                                         memory::GuestMemory& memory, base::EventLoop& loop,
                                         const GuestRequests& requests);

private:
    /// Gives a device its ports.
    bool claim(u16 base, u16 count, bus::RegisterBlock& block) {
        if (!io_.ports.add(base, count, block)) return false;
        claimed_.emplace_back(base, &block);
        return true;
    }
    std::expected<void, VmError> plug(std::unique_ptr<bus::PciFunction> function) {
        if (!pci_->attach(next_slot_++, *function))
            return std::unexpected(
                VmError{fmt::format("too many devices: the PCI bus has {} slots", bus::pci_slots), true});
        functions_.push_back(std::move(function));
        return {};
    }

    MappedIo& io_;
    MsiBridge msi_;
    EventSignals signals_;
    const bool use_signals_;
    std::vector<GsiLine> lines_;
    std::array<std::optional<PciWire>, bus::pci_gsi_count> pci_wires_;
    std::vector<std::pair<u16, bus::RegisterBlock*>> claimed_;
    std::unique_ptr<device::Uart> uart_;
    std::unique_ptr<device::Rtc> rtc_;
    std::unique_ptr<device::AcpiPm> pm_;
    std::unique_ptr<device::ResetControl> reset_control_;
    std::unique_ptr<device::KeyboardReset> keyboard_reset_;
    device::PostPort post_;
    std::unique_ptr<device::FwCfg> fw_cfg_;
    std::vector<std::unique_ptr<bus::RegisterBlock>> extra_;
    std::unique_ptr<device::PcTestdev> testdev_;
    std::unique_ptr<device::IsaBridge> isa_bridge_;
    std::unique_ptr<device::Piix4Pm> power_management_;
    std::vector<std::unique_ptr<bus::PciFunction>> functions_;
    std::optional<bus::PciHost> pci_;
    unsigned next_slot_ = pc::host_bridge_slot;
};

std::expected<void, VmError> PcDevices::add_fixed(const VmDefinition& definition, Backends& backends,
                                                  memory::GuestMemory& memory, base::EventLoop& loop,
                                                  const GuestRequests& requests) {
    uart_ = std::make_unique<device::Uart>(lines_[pc::com1_irq], *backends.serial, loop);
    rtc_ = std::make_unique<device::Rtc>(lines_[pc::rtc_irq], loop);
    const u64 low = std::min(definition.memory_bytes, boot::low_ram_limit);
    rtc_->set_memory_size(low, definition.memory_bytes - low);
    rtc_->set_cpu_count(definition.cpus);
    pm_ = std::make_unique<device::AcpiPm>(lines_[pc::sci_irq], loop, requests.power_off);
    power_management_ = std::make_unique<device::Piix4Pm>(io_.ports, *pm_, definition.firmware.empty());
    reset_control_ = std::make_unique<device::ResetControl>(requests.reset);
    pci_->set_reset_port(reset_control_.get());
    keyboard_reset_ = std::make_unique<device::KeyboardReset>(requests.reset);
    if (!claim(pc::com1_ports, pc::com_port_count, *uart_) ||
        !claim(pc::rtc_ports, pc::rtc_port_count, *rtc_) ||
        !claim(pc::keyboard_status_port, 1, *keyboard_reset_) || !claim(pc::post_port, 1, post_))
        return std::unexpected(VmError{"internal error: the port ranges of two devices overlap"});
    return add_fw_cfg(definition, memory);
}

/// What firmware and kernels under test ask of the machine. The names are QEMU's.
std::expected<void, VmError> PcDevices::add_fw_cfg(const VmDefinition& definition,
                                                   memory::GuestMemory& memory) {
    using device::FwCfg;
    fw_cfg_ = std::make_unique<FwCfg>(memory);
    fw_cfg_->add_number(FwCfg::ram_size, definition.memory_bytes, 8);
    fw_cfg_->add_number(FwCfg::no_graphic, 1, 2);
    fw_cfg_->add_number(FwCfg::cpu_count, definition.cpus, 2);
    fw_cfg_->add_number(FwCfg::max_cpus, definition.cpus, 2);
    const auto number = [](u64 v, unsigned size) {
        std::vector<u8> bytes;
        for (unsigned i = 0; i < size; ++i) bytes.push_back(static_cast<u8>(v >> (8 * i)));
        return bytes;
    };
    std::vector<u8> e820;
    const auto add_ram = [&](u64 base, u64 size) {
        for (const auto& [v, bytes] : {std::pair{base, 8u}, {size, 8u}, {u64{1}, 4u}})
            std::ranges::copy(number(v, bytes), std::back_inserter(e820));
    };
    const u64 low = std::min(definition.memory_bytes, boot::low_ram_limit);
    add_ram(0, low);
    if (definition.memory_bytes > low) add_ram(boot::high_ram_base, definition.memory_bytes - low);
    fw_cfg_->add_file("etc/e820", std::move(e820));
    if (!definition.firmware.empty()) {
        const auto make_acpi = [this, cpus = definition.cpus] {
            const u16 pm = power_management_->place();
            return boot::make_acpi_files({.cpus = cpus, .com1 = true, .pm_ports = pm ? pm : pc::pm_ports});
        };
        auto acpi = make_acpi();
        if (!acpi) return std::unexpected(VmError{acpi.error().message});
        // They tell where firmware has placed the PM registers by then.
        fw_cfg_->add_file(std::string(boot::acpi_tables_file), [make_acpi] {
            auto files = make_acpi();
            return files ? std::move(files->tables) : std::vector<u8>{};
        });
        fw_cfg_->add_file(std::string(boot::acpi_rsdp_file), std::move(acpi->rsdp));
        fw_cfg_->add_file(std::string(boot::acpi_loader_file), std::move(acpi->loader));
        // There is no display: the screen goes to the serial line. No menu, no retry after 60 s.
        fw_cfg_->add_file("etc/sercon-port", number(pc::com1_ports, 2));
        fw_cfg_->add_file("etc/show-boot-menu", number(0, 2));
        fw_cfg_->add_file("etc/boot-fail-wait", number(0xffff'ffff, 4));
    }
    fw_cfg_->finish();
    if (!claim(FwCfg::ports, FwCfg::port_count, *fw_cfg_))
        return std::unexpected(VmError{"internal error: the ports of fw_cfg are taken"});
    return {};
}

std::expected<void, VmError> PcDevices::add_testdev() {
    using device::PcTestdev;
    std::vector<bus::IrqLine*> lines;
    for (GsiLine& line : lines_)
        if (lines.size() < PcTestdev::line_count) lines.push_back(&line);
    if (testdev_) return std::unexpected(VmError{"--device pc-testdev: there is one at most", true});
    testdev_ = std::make_unique<PcTestdev>(std::move(lines));
    if (!claim(PcTestdev::ports, PcTestdev::port_count, testdev_->port_registers()) ||
        !claim(PcTestdev::line_ports, PcTestdev::line_count, testdev_->line_registers()))
        return std::unexpected(VmError{
            "--device pc-testdev: another device has its ports, 0xe0 to 0xe7 or 0x2000 to 0x2017; give "
            "that one others with port=",
            true});
    if (!io_.mmio.add(PcTestdev::memory, PcTestdev::memory_bytes, testdev_->memory_registers()))
        return std::unexpected(VmError{"internal error: the memory of pc-testdev is taken"});
    return {};
}

/// `--device`: on top of the fixed ones, and never in their place.
std::expected<void, VmError> PcDevices::add_extra(const std::vector<DeviceConfig>& wanted, Backends& backends,
                                                  base::EventLoop& loop, const GuestRequests& requests) {
    size_t consoles = 0;
    for (const DeviceConfig& d : wanted) {
        if (d.kind == DeviceConfig::Kind::pc_testdev) {
            if (const auto added = add_testdev(); !added) return added;
            continue;
        }
        const bool exit = d.kind == DeviceConfig::Kind::isa_debug_exit;
        const u16 count = exit ? pc::debug_exit_port_count : u16{1};
        if (exit)
            extra_.push_back(std::make_unique<device::IsaDebugExit>(requests.debug_exit));
        else
            extra_.push_back(
                std::make_unique<device::DebugConsole>(*backends.debug_consoles[consoles++], loop));
        bool free = d.port <= 0x10000 - count;
        for (u16 i = 0; i < count && free; ++i)
            free = !pc::is_interrupt_chip_port(static_cast<u16>(d.port + i));
        if (!free || !claim(d.port, count, *extra_.back()))
            return std::unexpected(VmError{
                fmt::format("--device {}: port {:#x} belongs to another device; choose one with port=",
                            exit ? "isa-debug-exit" : "debugcon", d.port),
                true});
    }
    return {};
}

std::expected<void, VmError> PcDevices::add_pci(const VmDefinition& definition, Backends& backends,
                                                memory::GuestMemory& memory, base::EventLoop& loop,
                                                const GuestRequests& requests) {
    std::vector<std::unique_ptr<bus::PciFunction>> wanted;
    if (!pci_->attach(pc::isa_bridge_slot, *isa_bridge_) ||
        !pci_->attach(pc::isa_bridge_slot, *power_management_, pc::pm_function))
        return std::unexpected(VmError{"internal error: the chipset's PCI slots are taken"});
    wanted.push_back(std::make_unique<device::HostBridge>(requests.shadow));
    for (size_t i = 0; i < backends.disks.size(); ++i)
        wanted.push_back(
            std::make_unique<device::VirtioBlk>(memory, *backends.disks[i], fmt::format("triune{}", i)));
    if (backends.net) wanted.push_back(std::make_unique<device::VirtioNet>(memory, *backends.net, mac));
    if (backends.console)
        wanted.push_back(std::make_unique<device::VirtioConsole>(memory, *backends.console));
    wanted.push_back(std::make_unique<device::VirtioRng>(memory));
    for (auto& function : wanted) {
        if (auto* const virtio = dynamic_cast<device::VirtioPci*>(function.get()); virtio && use_signals_)
            virtio->use_doorbells(loop);
        if (const auto plugged = plug(std::move(function)); !plugged) return plugged;
        if (next_slot_ == pc::isa_bridge_slot) next_slot_ = pc::first_free_slot;
    }
    // Firmware does that itself.
    if (definition.firmware.empty() && !pci_->assign_resources(pc::pirq_irqs))
        return std::unexpected(VmError{"too many devices: the PCI memory window is full", true});
    return {};
}

}  // namespace

std::expected<std::unique_ptr<Devices>, VmError> make_devices(
    const VmDefinition& definition, Backends& backends, memory::GuestMemory& memory, MappedIo& io,
    hypervisor::Vm& vm, base::EventLoop& loop, const GuestRequests& requests, const Trace& trace) {
    auto devices = std::make_unique<PcDevices>(definition, io, vm, trace);
    if (const auto added = devices->add_fixed(definition, backends, memory, loop, requests); !added)
        return std::unexpected(added.error());
    if (const auto added = devices->add_extra(definition.devices, backends, loop, requests); !added)
        return std::unexpected(added.error());
    if (const auto added = devices->add_pci(definition, backends, memory, loop, requests); !added)
        return std::unexpected(added.error());
    return devices;
}

}  // namespace triune::machine
