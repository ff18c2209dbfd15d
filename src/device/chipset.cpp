// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/chipset.h"

#include <utility>

#include "bus/pc_ports.h"

namespace triune::device {

namespace {

constexpr unsigned pam0 = 0x59, pam6 = 0x5f;
constexpr u8 read_enable = 1, write_enable = 2, both = read_enable | write_enable;

/// PAM0's high nibble is the last segment, the nibbles of PAM1 to PAM6 are the others in order.
struct Nibble {
    unsigned offset, shift;
};
constexpr Nibble nibble_of(unsigned segment) {
    if (segment == pam_segments - 1) return {pam0, 4};
    return {pam0 + 1 + segment / 2, segment % 2 * 4};
}

}  // namespace

// Its subsystem is the mark by which SeaBIOS knows that fw_cfg is there.
HostBridge::HostBridge(std::function<void(unsigned, const PamSegment&)> changed)
    : PciFunction({.vendor = 0x8086,
                   .device = 0x1237,
                   .class_code = 0x060000,
                   .revision = 2,
                   .subsystem_vendor = 0x1af4,
                   .subsystem = 0x1100}),
      changed_(std::move(changed)) {
    for (unsigned at = pam0; at <= pam6; ++at) make_writable(at, at == pam0 ? 0x30 : 0x33, 1);
    if (changed_) return;
    for (unsigned i = 0; i < pam_segments; ++i) {
        const Nibble n = nibble_of(i);
        config_set(n.offset, config_get(n.offset, 1) | u32{both} << n.shift, 1);
    }
}

PamSegment HostBridge::segment(unsigned index) const {
    const Nibble n = nibble_of(index);
    const u32 bits = config_get(n.offset, 1) >> n.shift;
    constexpr Gpa area = 0xc0000;
    constexpr u64 small = 0x4000, large = 0x10000;
    return {.gpa = area + index * small,
            .size = index == pam_segments - 1 ? large : small,
            .read_ram = (bits & read_enable) != 0,
            .write_ram = (bits & write_enable) != 0};
}

void HostBridge::after_config_write(unsigned offset, unsigned size) {
    if (offset <= pam6 && offset + size > pam0) tell();
}

void HostBridge::tell() {
    if (!changed_) return;
    const base::MutexLock lock(mutex_);
    for (unsigned i = 0; i < pam_segments; ++i) {
        const PamSegment s = segment(i);
        const u8 now = static_cast<u8>((s.read_ram ? read_enable : 0) | (s.write_ram ? write_enable : 0));
        if (std::exchange(known_[i], now) != now) changed_(i, s);
    }
}

namespace {
constexpr unsigned pirqrc = 0x60;
constexpr u8 pirq_irq = 0x0f;
constexpr u16 routable_irqs = 0xdef8;  // 3-7, 9-12, 14, 15: the others are the chipset's own
}  // namespace

IsaBridge::IsaBridge(std::vector<bus::IrqLine*> irqs, const Routes& routes)
    : PciFunction({.vendor = 0x8086, .device = 0x7000, .class_code = 0x060100, .revision = 0}),
      irqs_(std::move(irqs)),
      routes_(routes) {
    for (unsigned i = 0; i < routes.size(); ++i) {
        config_set(pirqrc + i, routes[i], 1);
        make_writable(pirqrc + i, not_routed | pirq_irq, 1);
    }
    // DLC: delayed transactions and passive release, which guests turn on.
    make_writable(0x82, 0x0f, 1);
}

void IsaBridge::after_config_write(unsigned offset, unsigned size) {
    if (offset < pirqrc + std::tuple_size_v<Routes> && offset + size > pirqrc) route();
}

void IsaBridge::route() {
    const base::MutexLock lock(mutex_);
    for (unsigned i = 0; i < routes_.size(); ++i) routes_[i] = static_cast<u8>(config_get(pirqrc + i, 1));
    drive_locked();
}

void IsaBridge::set_pirq(unsigned wire, bool level) {
    const base::MutexLock lock(mutex_);
    const u32 bit = u32{1} << (wire & 31);
    wires_ = level ? wires_ | bit : wires_ & ~bit;
    drive_locked();
}

void IsaBridge::drive_locked() {
    u32 wanted = 0;
    for (unsigned wire = 0; wire < 32; ++wire)
        if (const u8 route = routes_[wire % routes_.size()]; (wires_ >> wire & 1) && !(route & not_routed))
            wanted |= u32{1} << (route & pirq_irq);
    wanted &= routable_irqs;
    const u32 changed = std::exchange(driven_, wanted) ^ wanted;
    for (unsigned irq = 0; irq < irqs_.size(); ++irq)
        if ((changed >> irq & 1) && irqs_[irq]) irqs_[irq]->set(wanted >> irq & 1);
}

namespace {
constexpr unsigned pmba = 0x40, pmregmisc = 0x80, devacta = 0x58;
constexpr u16 pmba_bits = 0xffc0;
constexpr u8 pmba_is_io = 1, pm_io_enable = 1;
}  // namespace

Piix4Pm::Piix4Pm(bus::AddressMap& ports, bus::RegisterBlock& registers, bool placed)
    : PciFunction({.vendor = 0x8086,
                   .device = 0x7113,
                   .class_code = 0x068000,
                   .revision = 3,
                   .subsystem_vendor = 0x1af4,
                   .subsystem = 0x1100}),
      ports_(ports),
      registers_(registers) {
    // APMC_EN is the mark by which SeaBIOS knows that it has no system management mode to set up.
    constexpr u32 apmc_enabled = 1 << 25;
    config_set(devacta, apmc_enabled, 4);
    config_set(pmba, (placed ? bus::pc::pm_ports : 0) | pmba_is_io, 4);
    config_set(pmregmisc, placed ? pm_io_enable : 0, 1);
    make_writable(pmba, pmba_bits, 4);
    make_writable(pmregmisc, pm_io_enable, 1);
    map();
}

Piix4Pm::~Piix4Pm() {
    if (mapped_) ports_.remove(mapped_, registers_);
}

void Piix4Pm::after_config_write(unsigned offset, unsigned size) {
    if ((offset < pmba + 4 && offset + size > pmba) || (offset <= pmregmisc && offset + size > pmregmisc))
        map();
}

u16 Piix4Pm::place() const {
    return config_get(pmregmisc, 1) & pm_io_enable ? static_cast<u16>(config_get(pmba, 2) & pmba_bits)
                                                   : u16{0};
}

void Piix4Pm::map() {
    const base::MutexLock lock(mutex_);
    const u16 wanted = config_get(pmregmisc, 1) & pm_io_enable ? config_get(pmba, 2) & pmba_bits : u16{0};
    if (wanted == mapped_) return;
    if (mapped_) ports_.remove(mapped_, registers_);
    mapped_ = wanted && ports_.add(wanted, bus::pc::pm_port_count, registers_) ? wanted : u16{0};
}

namespace {
constexpr u8 reset_cpu = 4, reset_bits = 6;
}

u8 ResetControl::read8(u64) { return value_; }

void ResetControl::write8(u64, u8 value) {
    const u8 old = value_.exchange(value & reset_bits);
    if (!(old & reset_cpu) && (value & reset_cpu) && reset_) reset_();
}

u8 KeyboardReset::read8(u64) { return 0xff; }

void KeyboardReset::write8(u64, u8 value) {
    // 0xf0-0xff pulse the output port's bits that are zero in the command; bit 0 is the reset line.
    if ((value & 0xf1) == 0xf0 && reset_) reset_();
}

u8 PostPort::read8(u64) { return value_; }
void PostPort::write8(u64, u8 value) { value_ = value; }

}  // namespace triune::device
