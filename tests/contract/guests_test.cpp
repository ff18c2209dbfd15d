// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
//
// Every guest under every engine: the same program, the same verdict.
#include <gtest/gtest.h>

#include "guest.h"

namespace triune::contract {
namespace {

struct GuestCase {
    const char* name;
    unsigned cpus;
    const char* cpu = "host";
};

class Guests : public ::testing::TestWithParam<std::tuple<const char*, GuestCase>> {};

TEST_P(Guests, Pass) {
    const auto& [engine, guest] = GetParam();
    // VT-x forces CR0.NE to 1 (Intel SDM 3D A.7), and KVM has no FERR#: errors of the x87 come as #MF only.
    if (std::string_view(engine).starts_with("kvm") && std::string_view(guest.name) == "ferr")
        GTEST_SKIP() << "KVM has no FERR#";
    Bench bench(engine, guest.cpus, guest.cpu);
    if (!bench.unavailable.empty()) GTEST_SKIP() << bench.unavailable;
    bench.load_guest(guest.name);
    bench.run(60);  // a busy host may give four processors little time
    EXPECT_EQ(bench.result, passed) << bench.story();
    EXPECT_EQ(bench.trouble, "");
}

constexpr GuestCase guests[] = {
    {"long_mode", 1},
    {"page_fault", 1},
    {"syscall", 1},
    {"timer", 1},
    {"self_modifying", 1},
    {"strings", 1},
    {"exceptions", 1},
    {"vector", 1},
    {"real_mode", 1},
    {"protected32", 1},
    {"interrupts", 1},
    {"smp", 2},
    {"debug", 1},
    {"segments", 1},
    {"tasks", 1},
    {"v8086", 1},
    {"ferr", 1},
    {"paging32", 1},
    {"la57", 1, "host,+la57"},
    {"pku", 1, "host,+pku"},
    {"ipi", 2},
    {"litmus", 4},
    {"atomic", 2},
};

INSTANTIATE_TEST_SUITE_P(All, Guests,
                         ::testing::Combine(::testing::Values("interp", "bt", "kvm", "kvm_user_chips"),
                                            ::testing::ValuesIn(guests)),
                         [](const auto& p) {
                             return std::string(std::get<0>(p.param)) + "_" + std::get<1>(p.param).name;
                         });

// The translator's every block held against the reference engine; processors take turns.
constexpr GuestCase verified_guests[] = {
    {"long_mode", 1},
    {"page_fault", 1},
    {"syscall", 1},
    {"timer", 1},
    {"self_modifying", 1},
    {"strings", 1},
    {"vector", 1},
    {"real_mode", 1},
    {"protected32", 1},
    {"interrupts", 1},
    {"debug", 1},
    {"segments", 1},
    {"tasks", 1},
    {"v8086", 1},
    {"ferr", 1},
    {"paging32", 1},
    {"exceptions", 1},
    {"la57", 1, "host,+la57"},
    {"pku", 1, "host,+pku"},
    {"smp", 2},
    {"ipi", 2},
    {"atomic", 2},
    {"litmus", 4},
};

INSTANTIATE_TEST_SUITE_P(Verified, Guests,
                         ::testing::Combine(::testing::Values("verify"),
                                            ::testing::ValuesIn(verified_guests)),
                         [](const auto& p) { return std::string(std::get<1>(p.param).name); });

}  // namespace
}  // namespace triune::contract
