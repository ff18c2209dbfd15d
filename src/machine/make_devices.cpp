// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <optional>
#include <vector>

#include "bus/pc_ports.h"
#include "bus/pci.h"
#include "device/uart.h"
#include "device/virtio_blk.h"
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
    PcDevices(MappedIo& io, hypervisor::Vm& vm) : io_(io), msi_(vm) {
        lines_.reserve(gsi_count);
        for (unsigned gsi = 0; gsi < gsi_count; ++gsi) lines_.emplace_back(vm, gsi);
        std::array<bus::IrqLine*, bus::pci_gsi_count> intx{};
        for (unsigned i = 0; i < intx.size(); ++i) intx[i] = &lines_[bus::pci_first_gsi + i];
        pci_.emplace(io_.ports, io_.mmio, msi_, intx);
    }
    ~PcDevices() override {
        if (uart_) io_.ports.remove(pc::com1_ports, *uart_);
        pci_.reset();
    }

    std::expected<void, VmError> add_all(Backends& backends, memory::GuestMemory& memory, base::EventLoop& loop,
                                         const GuestRequests& requests);

private:
    std::expected<void, VmError> plug(std::unique_ptr<bus::PciFunction> function) {
        if (!pci_->attach(next_slot_++, *function))
            return std::unexpected(VmError{fmt::format("too many devices: the PCI bus has {} slots", bus::pci_slots), true});
        functions_.push_back(std::move(function));
        return {};
    }

    MappedIo& io_;
    MsiBridge msi_;
    std::vector<GsiLine> lines_;
    std::unique_ptr<device::Uart> uart_;
    std::vector<std::unique_ptr<bus::PciFunction>> functions_;
    std::optional<bus::PciHost> pci_;
    unsigned next_slot_ = pc::first_free_slot;
};

std::expected<void, VmError> PcDevices::add_all(Backends& backends, memory::GuestMemory& memory, base::EventLoop& loop,
                                                const GuestRequests& requests) {
    (void)requests;
    uart_ = std::make_unique<device::Uart>(lines_[pc::com1_irq], *backends.serial, loop);
    if (!io_.ports.add(pc::com1_ports, pc::com_port_count, *uart_))
        return std::unexpected(VmError{"internal: port ranges overlap"});

    if (const auto ok = plug(std::make_unique<device::VirtioRng>(memory)); !ok) return ok;
    if (backends.net)
        if (const auto ok = plug(std::make_unique<device::VirtioNet>(memory, *backends.net, mac)); !ok) return ok;
    for (size_t i = 0; i < backends.disks.size(); ++i)
        if (const auto ok = plug(std::make_unique<device::VirtioBlk>(memory, *backends.disks[i], fmt::format("triune{}", i)));
            !ok)
            return ok;
    if (!pci_->assign_resources())
        return std::unexpected(VmError{"too many devices: the PCI memory window is full", true});
    return {};
}

}  // namespace

std::expected<std::unique_ptr<Devices>, VmError> make_devices(Backends& backends, memory::GuestMemory& memory,
                                                              MappedIo& io, hypervisor::Vm& vm, base::EventLoop& loop,
                                                              const GuestRequests& requests) {
    auto devices = std::make_unique<PcDevices>(io, vm);
    if (const auto added = devices->add_all(backends, memory, loop, requests); !added)
        return std::unexpected(added.error());
    return devices;
}

}  // namespace triune::machine
