// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "base/event_loop.h"
#include "base/fd.h"
#include "base/mutex.h"
#include "bus/pci.h"
#include "device/virtio_queue.h"

namespace triune::device {

/// Virtio over PCI, modern interface only (Virtio 1.2, 4.1): registers in BAR 4, MSI-X in BAR 1, one
/// MSI-X vector for configuration changes and one for each queue, INTx while MSI-X is off.
///
/// Threads: registers are reached from vCPU threads. Queues belong to the derived device between
/// activated() and the return of quiesce(), which it must guard against its own threads.
/// Lock order: this class' transport lock (held around activated() and quiesce()), then the derived
/// device's locks, then the interrupt lock. interrupt() and needs_reset() may be called with the
/// device's locks held; they never take the transport lock.
class VirtioPci : public bus::PciFunction {
public:
    struct Spec {
        u16 type = 0;                  ///< virtio device id (5): 1 network, 2 block, 3 console, 4 entropy
        u32 class_code = 0;            ///< PCI class
        u64 features = 0;              ///< device features; ring features and VERSION_1 are added
        std::vector<u16> queue_sizes;  ///< largest size of each queue: powers of two
        std::vector<u8> config;        ///< device-specific configuration, read-only
    };
    VirtioPci(memory::GuestMemory& memory, Spec spec);

    /// Notifications become signals that `loop` waits for, where the bus has WriteSignals. Before the
    /// function is attached; the loop outlives it.
    void use_doorbells(base::EventLoop& loop);

    static constexpr unsigned register_bar = 4, msix_bar = 1;
    // Offsets in BAR 4.
    static constexpr u64 common_offset = 0, isr_offset = 0x1000, config_offset = 0x2000,
                         notify_offset = 0x3000, register_bytes = 0x4000;
    static constexpr u32 notify_multiplier = 4;

    // Device status (2.1).
    static constexpr u8 status_acknowledge = 1, status_driver = 2, status_driver_ok = 4,
                        status_features_ok = 8, status_needs_reset = 64, status_failed = 128;

protected:
    /// The driver is ready (DRIVER_OK): queues are configured. On the vCPU's thread.
    virtual void activated() = 0;
    /// The driver notified a queue that is ready. On the vCPU's thread or the event loop's: be quick.
    virtual void notified(unsigned queue) = 0;
    /// Stop: when this returns the device touches neither queues nor guest memory.
    virtual void quiesce() = 0;

    VirtioQueue& queue(unsigned i) { return *queues_[i].ring; }
    [[nodiscard]] unsigned queue_count() const { return static_cast<unsigned>(queues_.size()); }
    memory::GuestMemory& memory() { return memory_; }
    /// What the driver accepted; valid from activated() to quiesce().
    [[nodiscard]] u64 features() const { return driver_features_; }

    /// Interrupts the driver for `queue` if it wants that. Any thread that owns the queue.
    void interrupt_if_needed(unsigned queue) {
        if (this->queue(queue).interrupt_needed()) interrupt(queue);
    }
    /// Any thread.
    void interrupt(unsigned queue);
    /// The driver broke the rules so that the device cannot go on: DEVICE_NEEDS_RESET (2.1.2).
    void needs_reset();

    /// For the derived class' destructor: stops the device while quiesce() can still be called.
    void shut_down();

private:
    struct Registers final : bus::RegisterBlock {
        explicit Registers(VirtioPci& d) : device(d) {}
        u64 read(u64 offset, unsigned size) override { return device.register_read(offset, size); }
        void write(u64 offset, u64 value, unsigned size) override {
            device.register_write(offset, value, size);
        }
        VirtioPci& device;
    };
    struct QueueState {
        u16 max_size = 0;
        VirtioQueue::Layout layout;
        bool enabled = false;
        std::atomic<u16> vector{0xffff};
        std::unique_ptr<VirtioQueue> ring;
    };

    void before_config_read(unsigned offset, unsigned size) override;
    void after_config_write(unsigned offset, unsigned size) override;
    void on_reset() override;

    void add_capabilities();
    u64 register_read(u64 offset, unsigned size);
    void register_write(u64 offset, u64 value, unsigned size);
    [[nodiscard]] u64 common_read(u64 offset, unsigned size) EXCLUDES(mutex_);
    void common_write(u64 offset, u64 value, unsigned size);
    void write_status(u8 value) REQUIRES(mutex_);
    void reset_device() REQUIRES(mutex_);
    void notify(u64 queue);
    void write_queue(QueueState& q, u64 offset, u64 value, unsigned size) REQUIRES(mutex_);
    void raise(u16 vector, u8 isr_bit);
    u8 take_isr();
    [[nodiscard]] u16 checked_vector(u64 v) const;
    /// The window in configuration space (4.1.4.9): what it points at, false when nothing.
    bool window(u64& offset, unsigned& size) const;

    memory::GuestMemory& memory_;
    Registers registers_{*this};
    const u64 offered_;
    const std::vector<u8> config_bytes_;
    std::vector<QueueState> queues_;
    base::EventLoop* loop_ = nullptr;  ///< null: no doorbells
    std::vector<base::Fd> doorbells_;  ///< an eventfd a queue
    unsigned window_capability_ = 0;

    base::Mutex mutex_;  // the transport lock
    u32 device_feature_select_ GUARDED_BY(mutex_) = 0, driver_feature_select_ GUARDED_BY(mutex_) = 0;
    u64 driver_features_ = 0;
    u16 queue_select_ GUARDED_BY(mutex_) = 0;
    bool active_ GUARDED_BY(mutex_) = false;

    std::atomic<u8> status_{0};
    std::atomic<u16> config_vector_{0xffff};
    base::Mutex interrupt_mutex_;  // isr_ and the pin change together
    u8 isr_ GUARDED_BY(interrupt_mutex_) = 0;
};

}  // namespace triune::device
