// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/virtio_pci.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace triune::device {
namespace {

constexpr u16 vendor_virtio = 0x1af4, no_vector = 0xffff;
constexpr u8 isr_queue = 1, isr_config = 2;

// Common configuration structure (4.1.4.3).
namespace common {
constexpr u64 device_feature_select = 0, device_feature = 4, driver_feature_select = 8, driver_feature = 12,
              config_vector = 16, num_queues = 18, device_status = 20, config_generation = 21,
              queue_select = 22, queue_size = 24, queue_vector = 26, queue_enable = 28, queue_notify_off = 30,
              queue_desc = 32, queue_driver = 40, queue_device = 48, end = 56;
}

// Capability types (4.1.4).
constexpr u8 cap_common = 1, cap_notify = 2, cap_isr = 3, cap_device = 4, cap_pci = 5;

/// struct virtio_pci_cap without id and link.
std::vector<u8> capability(u8 type, u8 bar, u32 offset, u32 length, size_t extra = 0) {
    std::vector<u8> body(14 + extra);
    body[0] = static_cast<u8>(body.size() + 2);
    body[1] = type;
    body[2] = bar;
    std::memcpy(&body[6], &offset, 4);
    std::memcpy(&body[10], &length, 4);
    return body;
}

/// Replaces half or all of a 64-bit register.
void set_half(u64& reg, u64 byte_offset, u64 value, unsigned size) {
    if (size == 8)
        reg = value;
    else if (byte_offset == 0)
        reg = (reg & ~u64{0xffff'ffff}) | (value & 0xffff'ffff);
    else
        reg = (reg & 0xffff'ffff) | value << 32;
}

}  // namespace

VirtioPci::VirtioPci(memory::GuestMemory& memory, Spec spec)
    : PciFunction({.vendor = vendor_virtio,
                   .device = static_cast<u16>(0x1040 + spec.type),
                   .class_code = spec.class_code,
                   .revision = 1,
                   .subsystem_vendor = vendor_virtio,
                   .subsystem = static_cast<u16>(0x1040 + spec.type),
                   .uses_intx = true}),
      memory_(memory),
      offered_(spec.features | virtio_feature::version_1 | virtio_feature::indirect_desc |
               virtio_feature::event_idx),
      config_bytes_(std::move(spec.config)),
      queues_(spec.queue_sizes.size()) {
    for (size_t i = 0; i < queues_.size(); i++) {
        queues_[i].max_size = spec.queue_sizes[i];
        queues_[i].layout.size = spec.queue_sizes[i];
        queues_[i].ring = std::make_unique<VirtioQueue>(memory);
    }
    add_bar(register_bar, bus::BarKind::memory64, register_bytes, registers_);
    add_msix(msix_bar, static_cast<unsigned>(queues_.size()) + 1);
    add_capabilities();
}

void VirtioPci::add_capabilities() {
    using bus::pci_cap::vendor;
    add_capability(vendor, capability(cap_common, register_bar, common_offset, common::end));
    add_capability(vendor, capability(cap_isr, register_bar, isr_offset, 1));
    if (!config_bytes_.empty())
        add_capability(vendor, capability(cap_device, register_bar, config_offset,
                                          static_cast<u32>(config_bytes_.size())));
    auto notify = capability(cap_notify, register_bar, notify_offset,
                             notify_multiplier * static_cast<u32>(queues_.size()), 4);
    std::memcpy(&notify[14], &notify_multiplier, 4);
    add_capability(vendor, notify);
    window_capability_ = add_capability(vendor, capability(cap_pci, 0, 0, 0, 4));
    make_writable(window_capability_ + 4, 0xff, 1);
    make_writable(window_capability_ + 8, 0xffff'ffff, 4);
    make_writable(window_capability_ + 12, 0xffff'ffff, 4);
    make_writable(window_capability_ + 16, 0xffff'ffff, 4);
}

// Registers -----------------------------------------------------------------------------------------

u64 VirtioPci::register_read(u64 offset, unsigned size) {
    if (offset >= notify_offset) return 0;
    if (offset >= config_offset) {
        u64 v = 0;
        offset -= config_offset;
        for (unsigned i = 0; i < size; i++)
            if (offset + i < config_bytes_.size()) v |= u64{config_bytes_[offset + i]} << (8 * i);
        return v;
    }
    if (offset >= isr_offset) return offset == isr_offset ? take_isr() : 0;
    return common_read(offset, size);
}

void VirtioPci::register_write(u64 offset, u64 value, unsigned size) {
    if (offset < common::end) {
        common_write(offset, value, size);
    } else if (offset >= notify_offset) {
        notify((offset - notify_offset) / notify_multiplier);
    }
}

// No lock here: this is the hot path, and a notification that comes while the driver resets the device
// finds the device quiesced.
void VirtioPci::notify(u64 queue) {
    const u8 status = status_.load(std::memory_order_acquire);
    if (queue < queues_.size() && (status & status_driver_ok) && !(status & status_needs_reset) &&
        bus_master())
        notified(static_cast<unsigned>(queue));
}

// Drivers write the queue's index in 16 bits (4.1.5.2); other sizes reach register_write().
void VirtioPci::use_doorbells(base::EventLoop& loop) {
    loop_ = &loop;
    for (unsigned i = 0; i < queues_.size(); ++i) {
        base::Fd fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
        if (!fd) return;  // out of descriptors: this queue's notifications stay calls
        add_doorbell(register_bar, notify_offset + u64{notify_multiplier} * i, 2, fd.get());
        loop.watch(fd.get(), EPOLLIN, [this, i, fd = fd.get()](u32) {
            u64 count = 0;
            if (::read(fd, &count, sizeof count) == sizeof count) notify(i);
        });
        doorbells_.push_back(std::move(fd));
    }
}

u64 VirtioPci::common_read(u64 offset, unsigned size) {
    const base::MutexLock lock(mutex_);
    const QueueState* q = queue_select_ < queues_.size() ? &queues_[queue_select_] : nullptr;
    const auto wide = [&](u64 reg, u64 at) { return size == 4 && offset == at + 4 ? reg >> 32 : reg; };
    u64 v = 0;
    switch (offset) {
        case common::device_feature_select: v = device_feature_select_; break;
        case common::device_feature:
            v = device_feature_select_ < 2 ? offered_ >> (32 * device_feature_select_) & 0xffff'ffff : 0;
            break;
        case common::driver_feature_select: v = driver_feature_select_; break;
        case common::driver_feature:
            v = driver_feature_select_ < 2 ? driver_features_ >> (32 * driver_feature_select_) & 0xffff'ffff
                                           : 0;
            break;
        case common::config_vector: v = config_vector_; break;
        case common::num_queues: v = queues_.size(); break;
        case common::device_status: v = status_; break;
        case common::config_generation: v = 0; break;  // the configuration never changes
        case common::queue_select: v = queue_select_; break;
        case common::queue_size: v = q ? q->layout.size : 0; break;
        case common::queue_vector: v = q ? q->vector.load() : no_vector; break;
        case common::queue_enable: v = q && q->enabled; break;
        case common::queue_notify_off: v = q ? queue_select_ : 0; break;
        case common::queue_desc:
        case common::queue_desc + 4: v = q ? wide(q->layout.descriptors, common::queue_desc) : 0; break;
        case common::queue_driver:
        case common::queue_driver + 4: v = q ? wide(q->layout.driver, common::queue_driver) : 0; break;
        case common::queue_device:
        case common::queue_device + 4: v = q ? wide(q->layout.device, common::queue_device) : 0; break;
        default: break;
    }
    return size == 8 ? v : v & ((u64{1} << (8 * size)) - 1);
}

void VirtioPci::common_write(u64 offset, u64 value, unsigned size) {
    const base::MutexLock lock(mutex_);
    switch (offset) {
        case common::device_feature_select: device_feature_select_ = static_cast<u32>(value); return;
        case common::driver_feature_select: driver_feature_select_ = static_cast<u32>(value); return;
        case common::driver_feature:
            if (driver_feature_select_ < 2 && !(status_ & status_features_ok))
                set_half(driver_features_, 4 * driver_feature_select_, value, 4);
            return;
        case common::config_vector: config_vector_ = checked_vector(value); return;
        case common::device_status: write_status(static_cast<u8>(value)); return;
        case common::queue_select: queue_select_ = static_cast<u16>(value); return;
        default: break;
    }
    if (queue_select_ < queues_.size()) write_queue(queues_[queue_select_], offset, value, size);
}

void VirtioPci::write_queue(QueueState& q, u64 offset, u64 value, unsigned size) {
    if (offset == common::queue_vector) {
        q.vector = checked_vector(value);
        return;
    }
    // Where the rings lie is settled when the queue is enabled (4.1.5.1.3).
    if (q.enabled || active_) return;
    switch (offset) {
        case common::queue_size:
            if (value <= q.max_size) q.layout.size = static_cast<u32>(value);
            return;
        case common::queue_enable:
            if (value == 1 && q.layout.size != 0) q.enabled = true;
            return;
        case common::queue_desc:
        case common::queue_desc + 4:
            return set_half(q.layout.descriptors, offset - common::queue_desc, value, size);
        case common::queue_driver:
        case common::queue_driver + 4:
            return set_half(q.layout.driver, offset - common::queue_driver, value, size);
        case common::queue_device:
        case common::queue_device + 4:
            return set_half(q.layout.device, offset - common::queue_device, value, size);
        default: return;
    }
}

u16 VirtioPci::checked_vector(u64 v) const {
    return v <= queues_.size() ? static_cast<u16>(v) : no_vector;  // queues + 1 vectors
}

// Status ---------------------------------------------------------------------------------------------

void VirtioPci::write_status(u8 value) {
    if (value == 0) return reset_device();
    const u8 now = status_;
    value |= now;  // bits are only ever added (2.1.1)
    if ((value & ~now) & status_features_ok) {
        const bool acceptable =
            !(driver_features_ & ~offered_) && (driver_features_ & virtio_feature::version_1);
        if (!acceptable) value &= static_cast<u8>(~status_features_ok);  // the driver reads it back (3.1.1)
    }
    if (!(value & status_features_ok)) value &= static_cast<u8>(~status_driver_ok);
    // NEEDS_RESET is the device's to set, perhaps from another thread just now.
    status_.fetch_or(value & static_cast<u8>(~(status_needs_reset | status_driver_ok)));
    if (!((value & ~now) & status_driver_ok)) return;

    bool sound = true;
    for (QueueState& q : queues_)
        if (q.enabled && !q.ring->configure(q.layout, driver_features_)) sound = false;
    active_ = true;
    activated();
    status_.fetch_or(status_driver_ok, std::memory_order_release);
    if (!sound) return needs_reset();
    // Requests may have been queued before DRIVER_OK, when notifications were not listened to.
    if (bus_master())
        for (unsigned i = 0; i < queues_.size(); i++)
            if (queues_[i].enabled) notified(i);
}

void VirtioPci::reset_device() {
    if (active_) {
        status_.fetch_and(static_cast<u8>(~status_driver_ok));
        quiesce();
        active_ = false;
    }
    for (QueueState& q : queues_) {
        q.ring->clear();
        q.layout = {.size = q.max_size};
        q.enabled = false;
        q.vector = no_vector;
    }
    config_vector_ = no_vector;
    device_feature_select_ = driver_feature_select_ = 0;
    driver_features_ = 0;
    queue_select_ = 0;
    take_isr();
    status_ = 0;
}

void VirtioPci::on_reset() {
    const base::MutexLock lock(mutex_);
    reset_device();
}

void VirtioPci::shut_down() {
    for (const base::Fd& fd : doorbells_) loop_->unwatch(fd.get());
    on_reset();
}

// Interrupts -----------------------------------------------------------------------------------------

void VirtioPci::raise(u16 vector, u8 isr_bit) {
    if (signal_msix(vector) || msix_enabled()) return;
    const base::MutexLock lock(interrupt_mutex_);
    isr_ |= isr_bit;
    set_intx(true);
}

u8 VirtioPci::take_isr() {
    const base::MutexLock lock(interrupt_mutex_);
    const u8 v = isr_;
    isr_ = 0;
    if (v) set_intx(false);
    return v;
}

void VirtioPci::interrupt(unsigned queue) { raise(queues_[queue].vector, isr_queue); }

void VirtioPci::needs_reset() {
    const u8 before = status_.fetch_or(status_needs_reset);
    if (!(before & status_needs_reset) && (before & status_driver_ok)) raise(config_vector_, isr_config);
}

// The window in configuration space -------------------------------------------------------------------

bool VirtioPci::window(u64& offset, unsigned& size) const {
    const u32 bar = config_get(window_capability_ + 4, 1);
    offset = config_get(window_capability_ + 8, 4);
    size = config_get(window_capability_ + 12, 4);
    if (bar != register_bar || (size != 1 && size != 2 && size != 4)) return false;
    return offset % size == 0 && offset <= register_bytes - size;
}

void VirtioPci::before_config_read(unsigned offset, unsigned /*size*/) {
    u64 at = 0;
    unsigned size = 0;
    if ((offset & ~3U) != window_capability_ + 16 || !window(at, size)) return;
    config_set(window_capability_ + 16, static_cast<u32>(register_read(at, size)), size);
}

void VirtioPci::after_config_write(unsigned offset, unsigned /*size*/) {
    u64 at = 0;
    unsigned size = 0;
    if ((offset & ~3U) != window_capability_ + 16 || !window(at, size)) return;
    register_write(at, config_get(window_capability_ + 16, size), size);
}

}  // namespace triune::device
