// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <chrono>

#include "guest.h"

namespace triune::contract {

/// A bench with one vCPU that the test itself runs.
class Contract : public ::testing::TestWithParam<const char*> {
protected:
    void SetUp() override {
        if (!bench.unavailable.empty()) GTEST_SKIP() << bench.unavailable;
    }
    /// One vCPU at 0:0x8000 with `code` there, on this thread.
    void start(std::initializer_list<u8> code) {
        bench.load(0x8000, std::vector<u8>(code));
        vcpu = std::move(bench.vm().create_vcpu(0).value());
        vcpu->set_state(real_mode_at(vcpu->state(), 0x8000));
    }
    /// Kicks the vCPU after a while.
    std::thread kick_later() {
        return std::thread([this] {
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            vcpu->kick();
        });
    }
    /// Runs until the guest writes to port 0xf7; false when it has not after some seconds.
    bool run_to_mark() {
        bool marked = false;
        bench.on_port_f7 = [&](u32) {
            marked = true;
            vcpu->kick();
        };
        std::atomic<bool> done{false};
        std::thread watchdog([&] {
            for (int i = 0; i < 2000 && !done; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
            vcpu->kick();
        });
        const bool kicked = std::holds_alternative<hypervisor::Kicked>(vcpu->run());
        done = true;
        watchdog.join();
        // The watchdog's own kick, if it came after the mark's.
        vcpu->kick();
        return kicked && marked && std::holds_alternative<hypervisor::Kicked>(vcpu->run());
    }

    Bench bench{GetParam()};
    std::unique_ptr<hypervisor::Vcpu> vcpu;
};

}  // namespace triune::contract
