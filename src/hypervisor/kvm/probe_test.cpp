// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/kvm/probe.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <chrono>

#include "base/fd.h"

namespace triune::hypervisor::kvm {
namespace {

Probe figures(u64 native, u64 kernel, u64 user, u64 call) {
    return {.native_ns = native, .kernel_ns = kernel, .user_ns = user, .call_ns = call};
}

TEST(Probe, HardwareSpeedIsGood) {
    Probe p = figures(700'000, 720'000, 710'000, 60);
    judge(p, true);
    EXPECT_TRUE(p.good) << p.verdict;
    EXPECT_NE(p.verdict.find("hardware assist"), std::string::npos);
}

TEST(Probe, EmulatedKernelCodeIsNot) {
    Probe p = figures(700'000, 90'000'000, 710'000, 60);
    judge(p, true);
    EXPECT_FALSE(p.good);
    EXPECT_NE(p.verdict.find("emulates the guest's kernel code"), std::string::npos) << p.verdict;
}

TEST(Probe, EmulatedUserCodeIsNot) {
    Probe p = figures(700'000, 700'000, 9'000'000, 60);
    judge(p, true);
    EXPECT_FALSE(p.good);
}

TEST(Probe, SlowSystemCallsAreNot) {
    Probe p = figures(700'000, 700'000, 700'000, 9'000);
    judge(p, true);
    EXPECT_FALSE(p.good);
    EXPECT_NE(p.verdict.find("system calls"), std::string::npos) << p.verdict;
}

TEST(Probe, WithoutHardwareItIsNotTaken) {
    Probe p = figures(700'000, 720'000, 710'000, 60);
    judge(p, false);
    EXPECT_FALSE(p.good);
    EXPECT_NE(p.verdict.find("VT-x"), std::string::npos) << p.verdict;
}

TEST(Probe, EndsSoonAndSaysWhy) {
    const auto begin = std::chrono::steady_clock::now();
    const Probe& p = probe();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
    EXPECT_FALSE(p.verdict.empty());
    EXPECT_EQ(p.verdict.find('\n'), std::string::npos) << p.verdict;
    if (p.good) {
        EXPECT_TRUE(p.runs);
        EXPECT_TRUE(hardware_virtualization());
    }
    const base::Fd device(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
    if (!device) {
        EXPECT_FALSE(p.runs);
        EXPECT_NE(p.verdict.find("/dev/kvm"), std::string::npos) << p.verdict;
    }
}

}  // namespace
}  // namespace triune::hypervisor::kvm
