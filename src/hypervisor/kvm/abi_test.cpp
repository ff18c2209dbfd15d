// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/kvm/abi.h"

#include <gtest/gtest.h>

namespace triune::hypervisor::kvm::abi {
namespace {

// As a C compiler sees the kernel's headers (Linux Documentation/virt/kvm/api.rst names the requests).
TEST(Abi, RequestNumbersAreC) {
    EXPECT_EQ(get_supported_cpuid, 0xc008ae05u);
    EXPECT_EQ(set_gsi_routing, 0x4008ae6au);
    EXPECT_EQ(get_msrs, 0xc008ae88u);
    EXPECT_EQ(set_msrs, 0x4008ae89u);
    EXPECT_EQ(set_cpuid2, 0x4008ae90u);
    EXPECT_EQ(get_xsave, 0x9000aea4u);
    EXPECT_EQ(set_xsave, 0x5000aea5u);
}

TEST(Abi, TablesHoldWhatWentIn) {
    std::vector<kvm_msr_entry> entries(3);
    entries[2].index = 7;
    Table<kvm_msr_entry> table(entries);
    EXPECT_EQ(table.header()->count, 3u);
    EXPECT_EQ(table.entries()[2].index, 7u);
    table.header()->count = 100;  // more than there is room for
    EXPECT_EQ(table.entries().size(), 3u);
}

}  // namespace
}  // namespace triune::hypervisor::kvm::abi
