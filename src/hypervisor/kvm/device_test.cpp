// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/kvm/device.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

namespace triune::hypervisor::kvm {
namespace {

std::string message(const char* path) {
    const auto device = Device::open(path);
    return device ? "" : device.error().message;
}

TEST(Device, MissingFileIsSaidSo) {
    const std::string m = message("/nonexistent/kvm");
    EXPECT_NE(m.find("/nonexistent/kvm does not exist"), std::string::npos) << m;
    EXPECT_NE(m.find("--engine bt"), std::string::npos) << m;
    EXPECT_EQ(m.find('\n'), std::string::npos) << m;
}

TEST(Device, AnotherDeviceIsNotTakenForKvm) {
    const std::string m = message("/dev/null");
    EXPECT_NE(m.find("/dev/null does not answer as KVM does"), std::string::npos) << m;
}

TEST(Device, NoPermissionIsSaidSo) {
    if (::geteuid() == 0) GTEST_SKIP() << "root may open every file";
    const std::string path = ::testing::TempDir() + "/kvm-without-permission";
    std::ofstream(path) << "x";
    ::chmod(path.c_str(), 0);
    const std::string m = message(path.c_str());
    EXPECT_NE(m.find("permission denied"), std::string::npos) << m;
    ::unlink(path.c_str());
}

}  // namespace
}  // namespace triune::hypervisor::kvm
