// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "control/options.h"

#include <gtest/gtest.h>

namespace triune::control {
namespace {

TEST(ParseSize, AcceptsWholeNumbersWithUnit) {
    EXPECT_EQ(parse_size("512M"), std::uint64_t{512} << 20);
    EXPECT_EQ(parse_size("2G"), std::uint64_t{2} << 30);
    EXPECT_EQ(parse_size("64k"), std::uint64_t{64} << 10);
    EXPECT_EQ(parse_size("1T"), std::uint64_t{1} << 40);
}

TEST(ParseSize, RefusesEverythingElse) {
    for (const char* text : {"", "M", "512", "512MB", "-1M", "1.5G", " 1M", "1M ", "0x10M",
                             "99999999999999999999M", "18446744073709551615K"})
        EXPECT_FALSE(parse_size(text)) << text;
}

TEST(ParseDisk, FileAndReadonly) {
    EXPECT_EQ(parse_disk("a.img")->path, "a.img");
    EXPECT_FALSE(parse_disk("a.img")->readonly);
    EXPECT_TRUE(parse_disk("a.img,readonly")->readonly);
    EXPECT_EQ(parse_disk("a,,b.img,readonly")->path, "a,b.img");
    EXPECT_FALSE(parse_disk(""));
    EXPECT_FALSE(parse_disk(",readonly"));
    EXPECT_FALSE(parse_disk("a.img,ro"));
}

TEST(ParseNet, UserWithForwards) {
    EXPECT_FALSE(parse_net("none").value());
    EXPECT_TRUE(parse_net("user").value()->forwards.empty());
    const auto net = parse_net("user,hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=udp::53-10.0.2.9:5353");
    ASSERT_TRUE(net);
    const auto& f = (*net)->forwards;
    ASSERT_EQ(f.size(), 2u);
    EXPECT_FALSE(f[0].udp);
    EXPECT_EQ(f[0].host_address, "127.0.0.1");
    EXPECT_EQ(f[0].host_port, 2222);
    EXPECT_EQ(f[0].guest_address, "");
    EXPECT_EQ(f[0].guest_port, 22);
    EXPECT_TRUE(f[1].udp);
    EXPECT_EQ(f[1].host_address, "");
    EXPECT_EQ(f[1].guest_address, "10.0.2.9");
}

TEST(ParseNet, RefusesMalformed) {
    for (const char* text :
         {"", "bridge", "none,hostfwd=tcp::1-:2", "user,x=1", "user,hostfwd=", "user,hostfwd=tcp:1-2",
          "user,hostfwd=tcp::0-:22", "user,hostfwd=tcp::70000-:22", "user,hostfwd=tcp:host:1-:2",
          "user,hostfwd=tcp:1.2.3:1-:2", "user,hostfwd=sctp::1-:2", "user,hostfwd=tcp::1:2"})
        EXPECT_FALSE(parse_net(text)) << text;
}

TEST(ParseSerial, AllForms) {
    using Kind = SerialConfig::Kind;
    EXPECT_EQ(parse_serial("stdio")->kind, Kind::stdio);
    EXPECT_EQ(parse_serial("none")->kind, Kind::none);
    EXPECT_EQ(parse_serial("pty")->kind, Kind::pty);
    EXPECT_EQ(parse_serial("file:/x")->path, "/x");
    EXPECT_EQ(parse_serial("unix:s")->kind, Kind::unix_socket);
    EXPECT_FALSE(parse_serial("file:"));
    EXPECT_FALSE(parse_serial("tcp:1"));
}

TEST(ParseModule, FileAndText) {
    EXPECT_EQ(parse_module("a.bin")->path, "a.bin");
    EXPECT_EQ(parse_module("a.bin")->text, "");
    EXPECT_EQ(parse_module("a,,b,x=1,y=2")->path, "a,b");
    EXPECT_EQ(parse_module("a,,b,x=1,y=2")->text, "x=1,y=2") << "commas of the text are the text's";
    EXPECT_FALSE(parse_module(""));
    EXPECT_FALSE(parse_module(",text"));
}

TEST(ParseLoad, AddressesAndModes) {
    using Mode = FlatBinary::Mode;
    EXPECT_EQ(parse_load("0x7c00")->address, 0x7c00u);
    EXPECT_EQ(parse_load("0x7c00")->mode, Mode::by_address);
    EXPECT_EQ(parse_load("31744,real")->address, 31744u);
    EXPECT_EQ(parse_load("31744,real")->mode, Mode::real);
    EXPECT_EQ(parse_load("1M,protected")->address, 1u << 20);
    EXPECT_EQ(parse_load("1M,protected")->mode, Mode::protected32);
    EXPECT_EQ(parse_load("0X100000,long")->mode, Mode::long64);
    for (const char* text :
         {"", ",real", "x", "0x", "0xg", "-1", "1.5M", "0x10000000000000000", "4096,", "4096,big"})
        EXPECT_FALSE(parse_load(text)) << text;
}

TEST(ParseDevice, NamesAndOptions) {
    using Kind = DeviceConfig::Kind;
    EXPECT_EQ(parse_device("isa-debug-exit")->kind, Kind::isa_debug_exit);
    EXPECT_EQ(parse_device("isa-debug-exit")->port, 0xf4);
    EXPECT_EQ(parse_device("isa-debug-exit,port=0x501")->port, 0x501);
    EXPECT_EQ(parse_device("debugcon")->port, 0xe9);
    EXPECT_EQ(parse_device("pc-testdev")->kind, Kind::pc_testdev);
    EXPECT_EQ(parse_device("debugcon,file=a,,b,port=1026")->path, "a,b");
    EXPECT_EQ(parse_device("debugcon,file=a,port=1026")->port, 0x402);
    for (const char* text :
         {"", "vga", "isa-debug-exit,port=", "isa-debug-exit,port=0x10000", "isa-debug-exit,file=x",
          "debugcon,file=", "debugcon,", "debugcon,speed=3", "isa-debug-exit,0xf4", "pc-testdev,port=0xe0"})
        EXPECT_FALSE(parse_device(text)) << text;
}

}  // namespace
}  // namespace triune::control
