// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <random>
#include <thread>

#include "hypervisor/soft/bt/test_guest.h"
#include "hypervisor/soft/interp/interp.h"

namespace triune::differential {
namespace {

using hypervisor::soft::bt::TestGuest;
using hypervisor::soft::cpu::EngineExit;
using hypervisor::soft::interp::Interpreter;

/// Nothing is plugged in.
class NoDevices final : public hypervisor::Io {
    u32 port_read(u16, unsigned) override { return ~0u; }
    void port_write(u16, u32, unsigned) override {}
    u64 mmio_read(Gpa, unsigned) override { return ~u64{0}; }
    void mmio_write(Gpa, u64, unsigned) override {}
};

class NoApic final : public hypervisor::soft::cpu::LocalApic {
    [[nodiscard]] u64 apic_base() const override { return 0xfee00900; }
    bool set_apic_base(u64) override { return true; }
    std::optional<u64> read_x2apic(u32) override { return std::nullopt; }
    bool write_x2apic(u32, u64) override { return false; }
    u32 read_mmio(u32) override { return 0; }
    void write_mmio(u32, u32) override {}
    [[nodiscard]] u64 cr8() const override { return 0; }
    void set_cr8(u64) override {}
    [[nodiscard]] u64 tsc_deadline() const override { return 0; }
    void set_tsc_deadline(u64) override {}
    [[nodiscard]] bool has_interrupt() override { return false; }
    int acknowledge() override { return -1; }
    void reset(bool) override {}
};

/// Interrupts endless loops of the guest.
class Ticker {
public:
    explicit Ticker(hypervisor::soft::cpu::Signals& s)
        : thread_([this, &s] {
              while (!stop_) {
                  s.pending = 1;
                  std::this_thread::sleep_for(std::chrono::microseconds(200));
              }
          }) {}
    ~Ticker() {
        stop_ = true;
        thread_.join();
    }

private:
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

/// What a guest's kernel may do when it runs garbage: overwrite its own page tables and code, load
/// nonsense into control registers. It must harm nobody but itself.
TEST(RandomCode, HarmsNobodyButTheGuest) {
    const char* seed_text = std::getenv("TRIUNE_SEED");
    const u64 seed = seed_text ? std::strtoull(seed_text, nullptr, 0) : 20260103;
    SCOPED_TRACE(testing::Message() << "TRIUNE_SEED=" << seed);
    std::mt19937_64 random(seed);
    NoDevices io;
    NoApic apic;
    u64 ran = 0;
    for (int round = 0; round < 60; ++round) {
        TestGuest guest;
        guest.context().io = &io;
        guest.context().apic = &apic;
        Interpreter interp(guest.system());
        Ticker ticker(guest.context().signals);
        x86::VcpuState& s = guest.state();
        for (Gpa a = 0x6000; a < 0x400000; a += 8)
            if (a < 0x4000 || a >= 0x10000) guest.at<u64>(a) = random();
        // Handlers for every vector, in random code, and kernel data segments to get there.
        s.gdtr = {0x5000, 0xff, 0};
        guest.at<u64>(0x5008) = 0x00af9b000000ffff;
        guest.at<u64>(0x5010) = 0x00cf93000000ffff;
        s.idtr = {0x40000, 0xfff, 0};
        for (u64 v = 0; v < 256; ++v) {
            const u64 handler = 0x100000 + (random() & 0xfffff);
            guest.at<u64>(0x40000 + v * 16) =
                (handler & 0xffff) | 8 << 16 | u64{0x8e00} << 32 | (handler >> 16) << 48;
            guest.at<u64>(0x40008 + v * 16) = 0;
        }
        for (u64& r : s.gpr) r = random() & 0x3fffff;
        s.rip = 0x100000 + (random() & 0xfffff);
        for (int step = 0; step < 3000; ++step) {
            guest.context().signals.pending = 0;
            if (guest.translator().run() == EngineExit::shutdown) break;
            ++ran;
            if (interp.step() != Interpreter::Step::ok) break;
        }
    }
    EXPECT_GT(ran, 1000u) << "hardly anything ran";
}

}  // namespace
}  // namespace triune::differential
